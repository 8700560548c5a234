# SPDX-License-Identifier: MIT
"""The ways of making a copy, and how each is timed, checked and removed."""
import dataclasses
import json
import os
import shutil
import subprocess
import typing

from . import data
from .base import BenchError, needed, program, time_limit
from .processes import RUN_LIMIT, time_steps


@dataclasses.dataclass
class Sample:
    """What one run gave."""
    seconds: float
    metrics: dict = dataclasses.field(default_factory=dict)  # name with unit: number


@dataclasses.dataclass
class Contender:
    """One way of doing a work's job. `against` names what its ratio is to; None: no ratio."""
    name: str
    measure: typing.Callable[[], Sample]
    check: typing.Callable[[], None]  # raises BenchError when what it made is not right
    remove: typing.Callable[[], None]
    against: typing.Optional[str] = "cp"
    before: typing.Callable[[], None] = lambda: None  # untimed, just before each run


def remove_path(path):
    """Removes what a run may have made."""
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def raw_cp(share):
    """cp on the raw file system; share: see FileCopies. --reflink=never changes how cp copies, so
    it is only for where blocks would be shared otherwise."""
    return [needed("cp"), *{None: [], False: ["--reflink=never"],
                            True: ["--reflink=always"]}[share]]


class FileCopies:
    """Contenders that copy one or more files, all at once, each by a process of its own.

    names: of the sources, below the backing directory. share: None leaves it to everybody whether
    blocks are shared, False forbids it to cp, True demands it of cp (of the raw one: in the mount
    it is the engine's decision). durable: a run ends when the copy is on stable storage.
    """

    def __init__(self, place, names, share=None, durable=False, sparse=False):
        self.place, self.names = place, names
        self.share, self.durable, self.sparse = share, durable, sparse

    def make(self, kind, against="cp", name=None, **engine_options):
        """The contender of a kind: mount, engine, queued, cp, rsync or dd; None if it is not
        installed."""
        if kind not in ("mount", "engine", "queued") and not program(kind):
            return None
        name = name or kind
        path = self.place.inside if kind == "mount" else self.place.below
        copies = [(source, f"{source}.copy-{name.replace('=', '-')}") for source in self.names]
        command = getattr(self, f"_{kind}")
        steps = [[command(path(a), path(b), **engine_options) for a, b in copies]]
        if self.durable and kind in ("cp", "mount"):
            steps.append([[needed("sync"), path(b)] for _, b in copies])

        def check():
            for source, copy in copies:
                data.check_file(self.place.below(source), self.place.below(copy), self.sparse)

        def remove():
            for _, copy in copies:
                remove_path(path(copy))

        return Contender(name, lambda: Sample(time_steps(steps)), check, remove, against)

    def make_all(self, *kinds):
        """The contenders of these kinds, without those that are not installed."""
        return [made for made in map(self.make, kinds) if made]

    def _cp(self, source, destination):
        return [*raw_cp(self.share), source, destination]

    def _mount(self, source, destination):
        return [needed("cp"), source, destination]

    def _engine(self, source, destination, **options):
        if self.durable:
            options["fsync"] = "file"
        return self.place.engine_command(source, destination, **options)

    def _queued(self, source, destination, number):
        return [self.place.queued, str(number), source, destination]

    def _rsync(self, source, destination):
        flags = ["-aS"] if self.sparse else ["-a"]
        return [needed("rsync"), *flags, *(["--fsync"] if self.durable else []), source,
                destination]

    def _dd(self, source, destination):
        conversions = ["fsync"] * self.durable + ["sparse"] * self.sparse
        return [needed("dd"), f"if={source}", f"of={destination}", "bs=1M", "status=none",
                *([f"conv={','.join(conversions)}"] if conversions else [])]


class TreeCopies:
    """Contenders that copy one tree below the backing directory.

    flags: of cp, for the kind cp and for those that are named after a mount.
    """

    PROGRAMS = {"engine": None, "tree": "setfattr", "rsync": "rsync"}  # others: cp
    ON_BACKING = ("cp", "engine", "rsync")

    def __init__(self, place, name, flags="-r"):
        self.place, self.name, self.flags = place, name, flags

    def make(self, kind):
        """The contender of a kind: cp, engine, tree, rsync or a mount; None if its program is not
        installed, or there is no such mount."""
        needs = self.PROGRAMS.get(kind, "cp")
        if needs and not program(needs):
            return None
        if kind not in self.ON_BACKING and self._mount(kind) not in self.place.mounts:
            return None
        command, copy = self.command(kind), self._copy(kind)
        keeps_all = self.flags == "-a" or kind in self.PROGRAMS
        return Contender(
            kind, lambda: Sample(time_steps([[command]])),
            lambda: data.check_tree(self.place.below(self.name), self.place.below(copy),
                                    keeps_all),
            lambda: remove_path(self._path(kind, copy)))

    def command(self, kind):
        """What makes the copy."""
        source, destination = self._path(kind, self.name), self._path(kind, self._copy(kind))
        return {
            # The destination is a path in the mount.
            "tree": [program("setfattr"), "-n", "user.arsync.copy", "-v", self._copy(kind), source],
            "engine": self.place.engine_command(source, destination),
            "rsync": [program("rsync"), "-a", source + "/", destination],
        }.get(kind, [program("cp"), self.flags, source, destination])

    def _copy(self, kind):
        return f"{self.name}.copy-{kind}"

    def _path(self, kind, name):
        if kind in self.ON_BACKING:
            return self.place.below(name)
        return self.place.inside(name, self._mount(kind))

    @staticmethod
    def _mount(kind):
        return "mount" if kind == "tree" else kind

    def make_all(self, *kinds):
        """The contenders of these kinds, without those that are not installed."""
        return [made for made in map(self.make, kinds) if made]


def fio_job(*arguments, methods=()):
    """Runs fio with one job; returns what it says about the job. methods: the first one of these
    I/O engines that works."""
    command = [needed("fio"), "--name=job", "--output-format=json", *arguments]
    with time_limit(RUN_LIMIT, "fio"):
        for choice in [[f"--ioengine={method}"] for method in methods] or [[]]:
            done = subprocess.run([*command, *choice], capture_output=True,
                                  stdin=subprocess.DEVNULL, text=True, check=False)
            if done.returncode == 0:
                return json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    raise BenchError(f"'{' '.join(command)}' failed: {done.stderr.strip()}")


def fio_read(path):
    """A contender that only reads a file, past the page cache: what the disk can give."""
    if not program("fio"):
        return None

    def measure():
        job = fio_job(f"--filename={path}", "--rw=read", "--bs=1M", "--direct=1", "--iodepth=16",
                      "--readonly", methods=("io_uring", "libaio"))
        # Its own count: starting fio takes longer than starting cp.
        return Sample(job["read"]["runtime"] / 1000)

    return Contender("fio", measure, lambda: None, lambda: None)
