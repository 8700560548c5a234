# SPDX-License-Identifier: MIT
"""Works that look at more than one copy's time: others' cache, small requests, small copies beside
a big one."""
import os
import random
import threading
import time

from . import data, machine
from .base import BenchError, GIB, KIB, MIB, format_size, needed
from .contenders import Contender, Sample, raw_cp, remove_path
from .processes import Loop, time_calls, time_steps
from .figures import percentile
from .work import Work

PROBE_INTERVAL = 0.02  # seconds between two small writes
SMALL = 64 * KIB  # bytes of a small file of FAIR


class WriteProbe:
    """Appends 4 KiB to a file every 20 ms while the `with` block lasts; `longest` is in seconds."""

    def __init__(self, path):
        self.path = path
        self.longest = 0.0
        self.failure = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.ended.set()
        self.thread.join(60)
        if os.path.exists(self.path):
            os.unlink(self.path)
        if self.failure and kind is None:
            raise BenchError(f"a small write beside the copy failed: {self.failure}")

    def _work(self):
        try:
            with open(self.path, "wb", buffering=0) as file:
                while not self.ended.wait(PROBE_INTERVAL):
                    start = time.monotonic()
                    file.write(bytes(4 * KIB))
                    self.longest = max(self.longest, time.monotonic() - start)
        except OSError as error:
            self.failure = error


class Huge(Work):
    """More than may be dirty at once: what a copy does to somebody else on the machine."""

    name = "HUGE"
    file_systems = ("ext4",)
    needs_disk = True
    quick = False
    rounds = 3

    def __init__(self, settings):
        super().__init__(settings)
        limit = machine.dirty_thresholds()[1]
        self.size = settings.scaled(limit * 5 // 4) // MIB * MIB
        self.bystander = settings.scaled(512 * MIB)
        self.title = (f"one file of {format_size(self.size)}, 1.25 times what may be dirty, beside "
                      f"{format_size(self.bystander)} of somebody else's in page cache")

    def space(self):
        return 2 * self.size + self.bystander

    def prepare(self, place):
        data.make_file(os.path.join(place.root, "bystander"), self.bystander)
        data.make_file(place.below("big"), self.size)
        return ["big"]

    def contenders(self, place):
        return self.copies(place, ["big"]).make_all("cp", "mount", "engine")

    def run(self, place, contender):
        bystander = os.path.join(place.root, "bystander")
        data.warm(bystander)
        with WriteProbe(os.path.join(place.root, "probe")) as probe:
            sample = contender.measure()
        sample.metrics = {"others' cache left %": 100 * machine.cached_fraction(bystander),
                          "longest write ms": 1000 * probe.longest}
        return sample


class Range(Work):
    """Many small requests of one process: what the way through the mount costs."""

    name = "RANGE"
    file_systems = ("ext4", "btrfs")
    share = None

    def __init__(self, settings):
        super().__init__(settings)
        self.size = settings.scaled(256 * MIB, least=MIB)
        self.ranges = self._ranges(settings.scaled(1000, least=10))
        self.title = (f"{len(self.ranges)} calls of copy_file_range, 4 to 256 KiB each, between "
                      f"two files of {format_size(self.size)}")

    def _ranges(self, number):
        """Random ranges (offset, end), unaligned, the same in every run of the benchmark."""
        chance = random.Random(data.SEED)
        lengths = [chance.randint(4 * KIB, 256 * KIB) for _ in range(number)]
        starts = [chance.randint(0, self.size - length) for length in lengths]
        return [(start, start + length) for start, length in zip(starts, lengths)]

    def space(self):
        return 2 * self.size

    def prepare(self, place):
        data.make_file(place.below("big"), self.size)
        return ["big"]

    def contenders(self, place):
        return [self._contender("backing", place, place.below),
                self._contender("mount", place, place.inside)]

    def _contender(self, name, place, path):
        source, copy = path("big"), path(f"big.copy-{name}")

        def make():
            with open(copy, "wb") as file:
                file.truncate(self.size)

        def check():
            data.check_ranges(place.below("big"), place.below(f"big.copy-{name}"), self.ranges,
                              self.size)

        def copy_all():
            copy_ranges(source, copy, self.ranges)

        return Contender(name, lambda: Sample(time_calls(copy_all, "copy_file_range")), check,
                         lambda: remove_path(copy), "backing", make)


def copy_ranges(source, copy, ranges):
    """Copies ranges (offset, end) to the same offsets of another file."""
    with open(source, "rb", buffering=0) as first, open(copy, "r+b", buffering=0) as second:
        for start, end in ranges:
            while start < end:
                copied = os.copy_file_range(first.fileno(), second.fileno(), end - start, start,
                                            start)
                if copied == 0:
                    raise BenchError(f"copy_file_range came to an end at byte {start}")
                start += copied


class Fair(Work):
    """How long small copies wait while a big one runs; in the mount, and on the raw file system."""

    name = "FAIR"
    file_systems = ("ext4", "tmpfs")

    def __init__(self, settings):
        super().__init__(settings)
        self.size = settings.scaled(GIB)
        self.number = settings.scaled(100, least=10)
        self.title = (f"{self.number} cp of {format_size(SMALL)} one after another, alone and then "
                      f"beside a loop of cp of {format_size(self.size)}; seconds: the latter")

    def space(self):
        return 2 * self.size + 3 * self.number * SMALL

    def prepare(self, place):
        data.make_file(place.below("big"), self.size)
        data.make_file(place.below("small"), SMALL)
        return ["big", "small"]

    def contenders(self, place):
        raw = raw_cp(self.share_on(place.kind))
        return [self._contender("cp", place, place.below, raw),
                self._contender("mount", place, place.inside, [needed("cp")])]

    def _contender(self, name, place, path, command):
        """Copies with `command` below what path() gives. Its seconds have no ratio: see metrics."""
        names = [f"small.copy-{name}-{when}-{number}" for when in ("alone", "beside")
                 for number in range(self.number)]
        big = path(f"big.copy-{name}")

        def measure():
            def times(which):
                return [time_steps([[[*command, path("small"), path(copy)]]]) for copy in which]

            alone = times(names[:self.number])
            with Loop([*command, path("big"), big]):
                beside = times(names[self.number:])
            return Sample(sum(beside), latency_metrics(alone, beside))

        def check():
            for copy in names:
                data.check_file(place.below("small"), place.below(copy))

        def remove():
            for copy in names:
                remove_path(path(copy))
            remove_path(big)

        return Contender(name, measure, check, remove, None)


def latency_metrics(alone, beside):
    """Median and 99th percentile of two lists of seconds, and how many times as long."""
    metrics = {}
    for percent in (50, 99):
        first, second = percentile(alone, percent), percentile(beside, percent)
        metrics[f"p{percent} alone ms"] = 1000 * first
        metrics[f"p{percent} beside ms"] = 1000 * second
        metrics[f"p{percent} times"] = second / first
    return metrics
