# SPDX-License-Identifier: MIT
"""What every work shares: the state before each run, the rounds, the verification."""
import contextlib
import dataclasses
import fractions
import os
import sys
import time

from . import data, machine
from .base import BenchError, GIB, KIB, MIB, format_seconds, program
from .contenders import FileCopies
from .places import (ENGINE_OPTIONS, FileSystem, make_place, on_disk, option_arguments,
                     shares_blocks)

DEFAULT_ROUNDS = 5
QUICK_ROUNDS = 3
INODE_BYTES = 2 * KIB  # of an inode and its name, on any file system
# The mounts that a work may ask for: options of arsyncfs, or None for libfuse's own passthrough.
MOUNTS = {"mount": {}, "dev": {"transport": "dev"}, "ring": {"transport": "ring"}, "hp": None}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line says about all works."""
    build: str  # directory of the programs
    directory: str  # private; images and mount points go here
    options: dict  # of the mount and the engine
    scale: fractions.Fraction
    quick: bool
    rounds: int  # 0: the work's own number
    passthrough_hp: str  # the program, or an empty string

    def scaled(self, size, least=4096):
        """A size, or a number of files, at this scale."""
        return max(least, int(size * self.scale))

    def number(self, full, quick):
        """How many files: as many as that at this scale."""
        return self.scaled(quick if self.quick else full, least=10)


@dataclasses.dataclass
class Result:
    """What one work gave on one file system; `seconds` and `metrics` have one entry a round."""
    work: str
    title: str
    fs: str
    mount_options: str
    against: dict  # contender: what its ratio is to; contenders in their order
    seconds: dict
    metrics: dict  # contender: {metric with its unit: numbers}
    notes: list


class Work:
    """One kind of work. A subclass says what is there before, and who does it in which way.

    Each work on each file system gets a new file system, and a mount that lasts for all rounds.
    """

    name = ""
    group = "files"  # see cli.GROUPS
    title = ""  # what it is, with sizes; filled in by __init__ where they depend on the settings
    file_systems = ("ext4",)  # where it runs unless told otherwise
    needs_disk = False  # makes no sense in memory
    needs_clones = False  # makes no sense where files cannot share blocks
    share = False  # where files can share blocks: False forbids it, None leaves it to everybody
    quick = True  # may be part of --quick
    on_request = False  # only where it is named
    rounds = DEFAULT_ROUNDS
    warm_up = True
    mounts = ("mount",)  # of MOUNTS
    options = {}  # of arsyncfs in all its mounts
    programs = ()  # what it needs besides
    cold = False  # caches are dropped before each run, instead of the sources being read

    def __init__(self, settings):
        self.settings = settings

    # --- What a subclass defines ---

    def space(self):
        """Bytes of file data that exist at once, at most."""
        raise NotImplementedError

    def inodes(self):
        """Files, directories and links that exist at once, at most; where they are many."""
        return 0

    def prepare(self, place):
        """Makes the sources; returns their names below the backing directory."""
        raise NotImplementedError

    def contenders(self, place):
        """The contenders, the one that others are compared with first."""
        raise NotImplementedError

    def run(self, place, contender):
        """One timed run; a Sample. For what must go on beside it, or be looked at afterwards."""
        del place
        return contender.measure()

    # --- What is the same for all ---

    def share_on(self, kind):
        """Whether copies share blocks on this file system: see FileCopies."""
        return self.share if shares_blocks(kind) else None

    def copies(self, place, names, **more):
        """The maker of contenders that copy these files."""
        return FileCopies(place, names, self.share_on(place.kind), **more)

    def why_not_on(self, kind):
        """Why this work is not for this file system, or an empty string."""
        if self.settings.quick and not self.quick:
            return "is not part of --quick"
        if self.needs_disk and not on_disk(kind):
            return "needs a disk"
        if self.needs_clones and not shares_blocks(kind):
            return "needs a file system that can share blocks"
        missing = [name for name in self.programs if not program(name)]
        return f"needs {', '.join(missing)}: tools/setup --bench installs it" if missing else ""

    def file_system_size(self, kind):
        """Bytes of the file system made for it: some slack where there is metadata."""
        size = self.space() + self.inodes() * INODE_BYTES
        return int(size * 1.5) + GIB if on_disk(kind) else size + 64 * MIB

    def number_of_rounds(self):
        """As the command line says, otherwise the work's own."""
        return self.settings.rounds or (QUICK_ROUNDS if self.settings.quick else self.rounds)

    def mount_options(self, kind):
        """Options of arsyncfs and the engine; the command line has the last word."""
        own = {"reflink": "never"} if self.share_on(kind) is False else {}
        return own | self.options | self.settings.options

    def mount_commands(self, kind):
        """{name of a mount: the daemon's command without the directories}."""
        commands = {}
        for name in self.mounts:
            options = MOUNTS[name]
            if options is not None:
                options = {"log": "warn"} | self.mount_options(kind) | options
                commands[name] = [os.path.join(self.settings.build, "arsyncfs"), "-f",
                                  *option_arguments(options)]
            elif self.settings.passthrough_hp:
                commands[name] = [self.settings.passthrough_hp, "--foreground"]
        return commands

    def execute(self, kind, progress):
        """Everything: file system, sources, warm-up, rounds. Returns the Result."""
        settings = self.settings
        engine = {name: value for name, value in self.mount_options(kind).items()
                  if name in ENGINE_OPTIONS}
        with contextlib.ExitStack() as stack:
            system = FileSystem(kind, self.file_system_size(kind), self.inodes(),
                                settings.directory)
            place = make_place(stack, system, settings.directory, settings.build,
                               self.mount_commands(kind), engine)
            return _Rounds(self, place, progress).run()


class _Rounds:
    """The rounds of one work on one file system."""

    def __init__(self, work, place, progress):
        self.work, self.place, self.progress = work, place, progress
        self.sources = work.prepare(place)
        self.contenders = work.contenders(place)
        self.unsettled = 0
        names = [c.name for c in self.contenders]
        self.result = Result(work.name, work.title, place.kind, place.mount_options,
                             {c.name: c.against for c in self.contenders},
                             {name: [] for name in names}, {name: {} for name in names},
                             place.notes)

    def run(self):
        """One warm-up, then the rounds; who begins a round changes from one to the next."""
        rounds, order = self.work.number_of_rounds(), self.contenders
        for number in range(0 if self.work.warm_up else 1, rounds + 1):
            for contender in order:
                label = f"round {number} of {rounds}" if number else "warm-up"
                sample = self._one(contender, label)
                if number:
                    self._keep(contender, sample)
            order = order[1:] + order[:1]
        if self.unsettled:
            self.result.notes.append(f"{self.unsettled} runs began while the machine was still "
                                     "writing")
        return self.result

    def _one(self, contender, label):
        """The same state for everyone, one run, verification, removal."""
        where = f"{self.work.name} on {self.place.kind}, {contender.name}, {label}"
        self.progress.running(where)
        self.unsettled += not machine.settle(self.place.root)
        try:
            contender.before()
            self._prime()
            sample = self.work.run(self.place, contender)
            contender.check()
            contender.remove()
        except (BenchError, OSError) as error:
            raise BenchError(f"{where}: {error}") from None
        self.progress.ran(where, sample.seconds)
        return sample

    def _prime(self):
        if self.work.cold:
            machine.drop_caches()
            return
        for name in self.sources:
            data.warm(self.place.below(name))

    def _keep(self, contender, sample):
        self.result.seconds[contender.name].append(sample.seconds)
        for metric, value in sample.metrics.items():
            self.result.metrics[contender.name].setdefault(metric, []).append(value)


class Progress:
    """Tells on standard error what is under way: each run on a terminal, otherwise each work."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.started = time.monotonic()

    def _line(self, text):
        if self.terminal:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def work(self, name, kind):
        """A work begins."""
        if not self.terminal:
            elapsed = time.monotonic() - self.started
            print(f"[{elapsed:5.0f} s] {name} on {kind} ...", file=sys.stderr, flush=True)

    def running(self, where):
        """A run begins."""
        self._line(f"{where} ...")

    def ran(self, where, seconds):
        """A run has ended."""
        self._line(f"{where}: {format_seconds(seconds)}")

    def clear(self):
        """Nothing is under way."""
        self._line("")

