# SPDX-License-Identifier: MIT
"""Works that look at what everyday requests cost through the mount, over /dev/fuse and io_uring."""
import os
import shutil
import time

from . import data, shapes
from .base import BenchError, KIB, MIB, format_size, needed, run
from .contenders import Contender, Sample, TreeCopies, fio_job
from .processes import resident_memory, time_steps
from .work import Work

TRANSPORTS = ("dev", "ring")
SYSTEMS = ("ext4", "xfs")
NOWHERE = "in-no-file-of-the-tree-7f3a"  # what grep looks for: it has to read everything


class RequestWork(Work):
    """What these works have in common."""

    group = "requests"
    file_systems = SYSTEMS
    mounts = TRANSPORTS
    share = None


class TreeRequests(RequestWork):
    """A tree that looks like a real one is there."""

    shape = shapes.INCLUDE
    quick_files = 1000
    flags = "-r"

    def __init__(self, settings):
        super().__init__(settings)
        self.files = settings.number(self.shape.files, self.quick_files)

    def space(self):
        return 2 * self.files * 20 * KIB

    def inodes(self):
        return 3 * self.files

    def prepare(self, place):
        place.notes.append(shapes.make_like(place.below("tree"), self.shape, self.files))
        return ["tree"]


class TreeCp(TreeRequests):
    """cp of a tree within the mount: mostly requests, little data."""

    mounts = (*TRANSPORTS, "hp")

    def __init__(self, settings):
        super().__init__(settings)
        self.title = (f"cp {self.flags} of a tree like {self.shape.real} ({self.files} files), in "
                      "page cache")

    def contenders(self, place):
        return TreeCopies(place, "tree", self.flags).make_all("cp", *self.mounts)


class TreeCpR(TreeCp):
    """Contents and modes."""

    name = "TREE-CP-R"


class TreeCpA(TreeCp):
    """Everything."""

    name = "TREE-CP-A"
    flags = "-a"


class ColdCpR(TreeRequests):
    """cp -r of what nobody has looked at before."""

    name = "COLD-CP-R"
    shape = shapes.SHARE
    quick_files = 4000
    needs_disk = True
    cold = True
    rounds = 3

    def __init__(self, settings):
        super().__init__(settings)
        self.title = f"cp -r of a tree like {self.shape.real} ({self.files} files), from the disk"

    def contenders(self, place):
        return TreeCopies(place, "tree").make_all("cp", *self.mounts)


class Walk(TreeRequests):
    """Looking at a whole tree for the second time."""

    def __init__(self, settings):
        super().__init__(settings)
        self.title = (f"{self.what} of a tree like {self.shape.real} ({self.files} files), the "
                      "second time")

    what = ""

    def command(self, tree):
        """The command, with the path of the tree."""
        raise NotImplementedError

    def contenders(self, place):
        return [self._contender(place, name, path("tree")) for name, path in place.ways()]

    def _contender(self, place, name, tree):
        step = [[self.command(tree)]]

        def measure():
            first = time_steps(step)
            return Sample(time_steps(step), {"first time ms": 1000 * first})

        def check():
            self.check(place.below("tree"), tree)

        return Contender(name, measure, check, lambda: None, "backing")

    def check(self, below, tree):
        """What was looked at is what is there."""
        data.check_tree(below, tree, True)


class WalkFind(Walk):
    """Names and attributes."""

    name = "WALK-FIND"
    what = "find -ls"
    programs = ("find",)

    def command(self, tree):
        return [needed("find"), tree, "-ls"]


class WalkGrep(Walk):
    """Contents."""

    name = "WALK-GREP"
    what = "grep -r"
    programs = ("grep",)

    def command(self, tree):
        # Status 1: it has read everything and found nothing. 2 would be an error.
        return [needed("sh"), "-c", 'grep -r "$1" "$2"; [ $? -eq 1 ]', "sh", NOWHERE, tree]


class WalkGit(Walk):
    """Names and attributes, compared with what git knows."""

    name = "WALK-GIT"
    what = "git status"
    programs = ("git",)

    def space(self):
        return 3 * self.files * 20 * KIB

    def prepare(self, place):
        sources = super().prepare(place)
        shapes.make_repository(place.below("tree"))
        return sources

    def command(self, tree):
        return [needed("git"), "-C", tree, "status"]

    def check(self, below, tree):
        said = run("git", "-C", tree, "status", "--porcelain", timeout=600)
        if said:
            raise BenchError(f"git sees changes in {tree}: {said[:400]}")


class Fio(RequestWork):
    """Reading or writing one file that is in page cache."""

    mode, block = "", MIB
    runtime, quick_runtime = 3, 1  # seconds
    programs = ("fio",)

    def __init__(self, settings):
        super().__init__(settings)
        self.size = settings.scaled(512 * MIB, least=16 * MIB) // MIB * MIB
        self.runtime = self.quick_runtime if settings.quick else self.runtime
        self.title = (f"fio --rw={self.mode} --bs={format_size(self.block)} in a file of "
                      f"{format_size(self.size)} in page cache; seconds: for one pass over it")

    def space(self):
        return self.size

    def prepare(self, place):
        data.make_file(place.below("big"), self.size)
        return ["big"]

    def contenders(self, place):
        return [self._contender(place, name, path("big")) for name, path in place.ways()]

    def _contender(self, place, name, path):
        writes = "write" in self.mode
        bytes_done = 0
        tag = 0  # what this run's blocks consist of

        def measure():
            nonlocal bytes_done, tag
            tag = time.monotonic_ns() & (1 << 62) - 1 | 1 << 62
            job = fio_job(f"--filename={path}", f"--rw={self.mode}", f"--bs={self.block}",
                          f"--size={self.size}", "--time_based", f"--runtime={self.runtime}",
                          "--ioengine=psync", "--allow_file_create=0", "--invalidate=0",
                          "--fadvise_hint=0",  # in the mount it would not reach the file
                          f"--buffer_pattern=0x{tag:016x}" if writes else "--readonly")
            side = job["write" if writes else "read"]
            bytes_done = side["io_bytes"]
            return Sample(side["runtime"] / 1000 * self.size / bytes_done,
                          {"MiB/s": bytes_done / MIB / (side["runtime"] / 1000)})

        def check():
            if writes:
                expected = min(self.size, bytes_done) // self.block
                data.check_tagged(place.below("big"), tag.to_bytes(8, "big"), self.block, expected)
            data.check_file(place.below("big"), path)

        return Contender(name, measure, check, lambda: None, "backing")


class FioRead(Fio):
    """In order."""

    name, mode = "FIO-READ", "read"


class FioWrite(Fio):
    """In order."""

    name, mode = "FIO-WRITE", "write"


class FioRandRead(Fio):
    """Here and there."""

    name, mode, block = "FIO-RANDREAD", "randread", 4 * KIB


class FioRandWrite(Fio):
    """Here and there."""

    name, mode, block = "FIO-RANDWRITE", "randwrite", 4 * KIB


class Build(RequestWork):
    """A compiler that reads sources and many headers, and writes objects."""

    name = "BUILD"
    programs = ("cc", "ninja")
    rounds = 3
    sources, quick_sources = 150, 30

    def __init__(self, settings):
        super().__init__(settings)
        self.number = settings.number(self.sources, self.quick_sources)
        self.title = f"ninja: a C program of {self.number} sources, all in the mount"
        self.output = ""

    def space(self):
        return 3 * 64 * MIB

    def prepare(self, place):
        self.output = shapes.make_project(place.below("project"), self.number)
        return ["project"]

    def contenders(self, place):
        return [self._contender(name, path("project")) for name, path in place.ways()]

    def _contender(self, name, project):
        def check():
            said = run(os.path.join(project, "out", "program")).strip()
            if said != self.output:
                raise BenchError(f"the program that was built says {said} instead of {self.output}")

        def remove():
            shutil.rmtree(os.path.join(project, "out"))
            for trace in (".ninja_deps", ".ninja_log"):
                os.unlink(os.path.join(project, trace))

        command = [needed("ninja"), "--quiet", "-C", project]
        return Contender(name, lambda: Sample(time_steps([[command]])), check, remove, "backing")


class Inodes(RequestWork):
    """What the daemon's memory holds when the kernel knows very many names."""

    name = "INODES"
    mounts = ("mount",)
    warm_up = False
    rounds = 1
    quick = False
    files = 1_000_000

    def __init__(self, settings):
        super().__init__(settings)
        self.number = settings.scaled(self.files, least=10)
        self.title = (f"find -ls of {self.number} empty files; the daemon's memory while the "
                      "kernel knows them")

    def space(self):
        return 0

    def inodes(self):
        return self.number + self.number // 500 + 1000

    def prepare(self, place):
        shapes.make_empty(place.below("tree"), self.number)
        return []  # nothing to read

    def contenders(self, place):
        command = [needed("find"), place.inside("tree"), "-ls"]

        def measure():
            before = resident_memory(place.pid("mount"))
            seconds = time_steps([[command]])
            known = place.statistics("mount")["mount"]["inodes"]
            if known < self.number:
                raise BenchError(f"the kernel knows only {known} of {self.number} inodes: this "
                                 "machine has too little memory for them")
            return Sample(seconds, {"RSS MiB": resident_memory(place.pid("mount")) / MIB,
                                    "RSS before MiB": before / MIB, "inodes": known})

        def check():
            data.check_names(place.below("tree"), place.inside("tree"))

        return [Contender("mount", measure, check, lambda: None, None)]
