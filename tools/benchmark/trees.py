# SPDX-License-Identifier: MIT
"""Works that copy whole trees: setfattr in the mount beside cp -a and rsync -a outside of it."""
import dataclasses
import itertools
import os
import time

from . import data, machine, shapes
from .base import BenchError, GIB, KIB, MIB, format_size, needed
from .contenders import Contender, Sample, TreeCopies, remove_path
from .figures import percentile
from .processes import resident_memory, time_beside, time_steps
from .work import Work

SYSTEMS = ("ext4", "xfs", "btrfs", "tmpfs")


class TreeWork(Work):
    """What these works have in common."""

    group = "trees"
    file_systems = SYSTEMS
    share = None
    rounds = 3
    options = {"trigger_wait": "0"}  # setfattr ends when the copy is complete
    programs = ("setfattr",)

    def prepare(self, place):
        self.make(place)
        return ["tree"]

    def make(self, place):
        """Makes the tree."""
        raise NotImplementedError

    def contenders(self, place):
        return TreeCopies(place, "tree", "-a").make_all("cp", "tree", "engine", "rsync")


class TreeHot(TreeWork):
    """The plainest: a tree that is in page cache."""

    name = "TREE-HOT"
    files, quick_files = shapes.SHARE.files, 4000

    def __init__(self, settings):
        super().__init__(settings)
        self.number = settings.number(self.files, self.quick_files)
        self.title = f"a tree like {shapes.SHARE.real} ({self.number} files), in page cache"

    def space(self):
        return 2 * self.number * 20 * KIB

    def inodes(self):
        return 3 * self.number

    def make(self, place):
        place.notes.append(shapes.make_like(place.below("tree"), shapes.SHARE, self.number))


class TreeCold(TreeHot):
    """A tree that must be read from the disk."""

    name = "TREE-COLD"
    file_systems = ("ext4", "xfs")
    needs_disk = True
    cold = True

    def __init__(self, settings):
        super().__init__(settings)
        self.title = f"a tree like {shapes.SHARE.real} ({self.number} files), from the disk"


class Flat(TreeWork):
    """One directory, so one lock, one task."""

    name = "FLAT"
    file_systems = ("ext4", "xfs", "tmpfs")
    files, quick_files = 100_000, 5000
    size = 4 * KIB

    def __init__(self, settings):
        super().__init__(settings)
        self.number = settings.number(self.files, self.quick_files)
        self.title = (f"one directory of {self.number} files of {format_size(self.size)}, in page "
                      "cache")

    def space(self):
        return 2 * self.number * self.size

    def inodes(self):
        return 2 * self.number + 1000

    def make(self, place):
        shapes.make_flat(place.below("tree"), self.number, self.size)


class Mix(TreeWork):
    """Files that are neither small nor large."""

    name = "MIX"
    file_systems = ("ext4", "xfs-noreflink")
    all, quick_bytes = 10 * GIB, 256 * MIB

    def __init__(self, settings):
        super().__init__(settings)
        self.bytes = settings.scaled(self.quick_bytes if settings.quick else self.full_size())
        self.title = (f"a tree of files of 64 KiB to 1 MiB, {format_size(self.bytes)} in all, in "
                      "page cache")

    def full_size(self):
        """As much as the kernel does not begin to write while it is copied."""
        return min(self.all, machine.dirty_thresholds()[0] * 9 // 10 // MIB * MIB)

    def space(self):
        return 2 * self.bytes

    def make(self, place):
        shapes.make_mix(place.below("tree"), self.bytes)


class MixAll(Mix):
    """More of them than may be dirty, on most machines."""

    name = "MIX-ALL"
    on_request = True

    def full_size(self):
        return self.all


class Enters(TreeWork):
    """How many system calls the files' contents take."""

    name = "ENTERS"
    file_systems = ("ext4", "xfs")
    files, quick_files = 10_000, 2000

    def __init__(self, settings):
        super().__init__(settings)
        self.number = settings.number(self.files, self.quick_files)
        self.title = f"a tree of {self.number} files of 4 KiB: calls of io_uring_enter"

    def space(self):
        return 2 * self.number * 8 * KIB

    def make(self, place):
        data.make_tree(place.below("tree"), self.number)

    def contenders(self, place):
        return [dataclasses.replace(TreeCopies(place, "tree", "-a").make("tree"), against=None)]

    def run(self, place, contender):
        before = place.statistics("mount")["engine"]
        sample = contender.measure()
        after = place.statistics("mount")["engine"]
        if after["io"] != "uring":
            raise BenchError("the engine does not use io_uring here")
        enters = after["io_uring_enters"] - before["io_uring_enters"]
        sample.metrics = {"enters per 1,000 files": 1000 * enters / self.number}
        return sample


class TreeLatency(TreeHot):
    """How long others wait in the mount while a tree is copied there."""

    name = "TREE-LATENCY"
    file_systems = ("ext4", "xfs")
    quick_files = 20_000
    others = 100  # files of those who look on

    def __init__(self, settings):
        super().__init__(settings)
        self.title = (f"ls of {self.others} files and cat of one, by turns, alone and beside a "
                      f"copy of a tree like {shapes.SHARE.real} ({self.number} files); seconds: "
                      "the copy")

    def make(self, place):
        super().make(place)
        shapes.make_flat(place.below("others"), self.others, 4 * KIB)

    def contenders(self, place):
        return [self._contender(place, kind, path("others"))
                for kind, path in (("cp", place.below), ("tree", place.inside))]

    def _contender(self, place, kind, others):
        """The copy of this kind with ls and cat of `others` beside it."""
        copies = TreeCopies(place, "tree", "-a")
        command, copy = copies.command(kind), copies.make(kind)
        files = [os.path.join(others, name) for name in sorted(os.listdir(place.below("others")))]
        chosen = itertools.cycle(files)

        def look(ls, cat):
            ls.append(1000 * time_steps([[[needed("ls"), others]]]))
            cat.append(1000 * time_steps([[[needed("cat"), next(chosen)]]]))

        def measure():
            alone, beside = {"ls": [], "cat": []}, {"ls": [], "cat": []}
            for _ in files:
                look(**alone)
            seconds = time_beside(command, lambda: look(**beside))
            metrics = {"calls": len(beside["ls"])}
            for name, waited in beside.items():
                metrics[f"{name} p99 alone ms"] = percentile(alone[name], 99)
                metrics[f"{name} p50 ms"] = percentile(waited, 50)
                metrics[f"{name} p99 ms"] = percentile(waited, 99)
            return Sample(seconds, metrics)

        return Contender(kind, measure, copy.check, copy.remove, None)


class TreeMemory(TreeWork):
    """What the daemon needs for a copy of very many files."""

    name = "TREE-MEMORY"
    file_systems = ("ext4", "xfs")
    warm_up = False
    rounds = 1
    quick = False
    files = 1_000_000

    def __init__(self, settings):
        super().__init__(settings)
        self.number = settings.scaled(self.files, least=10)
        self.title = f"a tree of {self.number} empty files: the daemon's memory and descriptors"

    def space(self):
        return 0

    def inodes(self):
        return 2 * (self.number + self.number // 500) + 1000

    def prepare(self, place):
        shapes.make_empty(place.below("tree"), self.number)
        return []  # nothing to read

    def contenders(self, place):
        command = [needed("setfattr"), "-n", "user.arsync.copy", "-v", "copy", place.inside("tree")]

        def measure():
            pid, fds = place.pid("mount"), [0]

            def look():
                fds.append(len(os.listdir(f"/proc/{pid}/fd")))
                time.sleep(0.005)

            seconds = time_beside(command, look)
            return Sample(seconds, {"RSS MiB": resident_memory(pid, "VmHWM") / MIB,
                                    "fds": max(fds)})

        return [Contender("tree", measure,
                          lambda: data.check_names(place.below("tree"), place.below("copy")),
                          lambda: remove_path(place.below("copy")), None)]
