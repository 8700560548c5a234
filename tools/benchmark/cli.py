# SPDX-License-Identifier: MIT
"""The command line of tools/bench."""
import argparse
import contextlib
import fractions
import os
import shutil
import signal
import sys
import tempfile

from . import machine, plot, report
from .base import BenchError, Interrupted, end_on_signals, needed, program, undisturbed, warn
from .places import (ENGINE_OPTIONS, KINDS, MOUNT_ONLY_OPTIONS, check_programs, check_space,
                     on_disk, why_missing)
from .processes import adopt_orphans
from .work import Progress, Settings
from .works import QUICK, WORKS

INSIDE = "ARSYNC_BENCH_INSIDE"  # set in the environment of the half with its own mounts
DESCRIPTION = """Measures how fast arsyncfs copies, beside cp, rsync and others, on freshly made
file systems, and verifies every copy. Needs root and a machine that does nothing else."""


def names_of(known, more=lambda _name: ()):
    """A parser of comma-separated names that must be known, or of which `more` makes several;
    upper and lower case are the same."""
    def parse(text):
        lookup = {name.lower(): name for name in known}
        wanted = {}
        for name in filter(None, (part.strip().lower() for part in text.split(","))):
            found = [lookup[name]] if name in lookup else more(name)
            if not found:
                raise argparse.ArgumentTypeError(f"'{name}' is not among {', '.join(known)}")
            wanted.update(dict.fromkeys(found))
        if not wanted:
            raise argparse.ArgumentTypeError("no name")
        return list(wanted)
    return parse


def several_works(name):
    """The works of a group, or those whose names begin with `name` and a hyphen."""
    return [work.name for work in WORKS.values()
            if work.group == name or work.name.lower().startswith(f"{name}-")]


def scale(text):
    """1/16, 0.25 or 1."""
    try:
        value = fractions.Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = 0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a fraction like 1/16")
    return value


def option(text):
    """NAME=VALUE of the mount or the engine."""
    name, separator, value = text.partition("=")
    known = ENGINE_OPTIONS + MOUNT_ONLY_OPTIONS
    if name not in known or not separator:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE with a NAME among "
                                         f"{', '.join(known)}")
    return name, value


def executable(text):
    """A program, or nothing."""
    if text and not os.access(text, os.X_OK):
        raise argparse.ArgumentTypeError(f"'{text}' is not a program")
    return text and os.path.abspath(text)


def positive(text):
    """A whole number from 1."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1")
    return int(text)


def parser(repository):
    """What the command line may say."""
    made = argparse.ArgumentParser(prog="tools/bench", description=DESCRIPTION)
    add = made.add_argument
    add("--quick", action="store_true", help="a few works with smaller files, about a minute")
    add("--work", type=names_of(WORKS, several_works), metavar="NAMES",
        help="only these works, with commas; also the groups files, requests and trees, and the "
        "beginning of several names: FIO, WALK")
    add("--fs", type=names_of(KINDS), metavar="NAMES",
        help="all of these file systems for each work, instead of the work's own choice")
    add("--rounds", type=positive, default=0, metavar="N", help="rounds of each work (mostly 5)")
    add("--option", type=option, action="append", default=[], metavar="NAME=VALUE",
        help="an option of the mount and the engine, for instance workers=1; may be repeated")
    add("--json", metavar="FILE", help="write everything there, after each work")
    add("--plot", metavar="DIR", help="draw the ratios there, as bench-*.svg")
    add("--from", dest="saved", metavar="FILE", help="measure nothing, show what --json wrote")
    add("--dir", default=os.environ.get("TMPDIR", "/var/tmp"), metavar="DIR",
        help="where the images of the file systems go ($TMPDIR or /var/tmp)")
    add("--build", default=os.path.join(repository, "build"), metavar="DIR",
        help="where arsyncfs is built (build)")
    add("--passthrough-hp", type=executable, default=program("passthrough_hp") or "",
        metavar="FILE",
        help="libfuse's own passthrough, to compare with; by default the one in $PATH, if any")
    add("--scale", type=scale, default=fractions.Fraction(1), metavar="FRACTION",
        help="shrink all sizes, to try the benchmark itself: 1/64; measures nothing")
    add("--list", action="store_true", help="list works and file systems")
    return made


def plan(arguments, settings):
    """What to do: pairs (work, file system), and sentences about what is left out."""
    chosen = arguments.work or list(QUICK) if arguments.quick else arguments.work or [
        name for name, work in WORKS.items() if not work.on_request]
    pairs, skipped = [], []
    for name in chosen:
        work = WORKS[name](settings)
        systems = work.file_systems
        if arguments.fs:
            systems = arguments.fs
        elif arguments.quick and not arguments.work:
            systems = QUICK[name]
        for kind in systems:
            missing, unfit = why_missing(kind), work.why_not_on(kind)
            if missing:
                skipped.append(f"{kind}: {missing}")
            elif unfit:
                skipped.append(f"{name} on {kind}: the work {unfit}")
            else:
                pairs.append((work, kind))
    return pairs, list(dict.fromkeys(skipped))


def check_plan(pairs, directory):
    """Everything that can be known before the first work, each in one sentence."""
    sizes = {True: [0], False: [0]}
    for work, kind in pairs:
        sizes[on_disk(kind)].append(work.file_system_size(kind))
    check_space(directory, max(sizes[True]), max(sizes[False]), machine.meminfo()["MemAvailable"])


def measure(arguments):
    """Runs the works and prints the report as it grows."""
    build, directory = os.path.abspath(arguments.build), os.path.abspath(arguments.dir)
    if not os.path.isdir(directory):
        raise BenchError(f"there is no directory {directory} for the images")
    check_programs(build)
    with private_directory(directory) as private:
        settings = Settings(build, private, dict(arguments.option), arguments.scale,
                            arguments.quick, arguments.rounds, arguments.passthrough_hp)
        pairs, skipped = plan(arguments, settings)
        check_plan(pairs, private)
        done = report.Report(str(settings.scale), settings.quick, settings.options,
                             machine.describe(os.path.join(build, "arsyncfs")), [], skipped)
        show(report.head_lines(done))
        progress = Progress()
        for work, kind in pairs:
            progress.work(work.name, kind)
            try:
                done.results.append(work.execute(kind, progress))
            finally:
                progress.clear()
            show(report.result_lines(done.results[-1]))
            if arguments.json:
                report.save(done, arguments.json)
    return done


@contextlib.contextmanager
def private_directory(parent):
    """A directory that is removed at the end. What is mounted there has been unmounted by then."""
    with undisturbed():
        path = tempfile.mkdtemp(prefix="arsyncfs-bench.", dir=parent)
    try:
        yield os.path.realpath(path)
    finally:
        shutil.rmtree(path)


def show(lines):
    """Prints lines at once, so that a long run can be watched."""
    print("\n".join(lines), flush=True)


def list_all():
    """What --list prints."""
    rows = [["work", "group", "file systems", "what"]]
    settings = Settings("", "", {}, fractions.Fraction(1), False, 0, "")
    rows += [[name, work.group, " ".join(work.file_systems), work(settings).title]
             for name, work in WORKS.items()]
    show([*report.table(rows, left=4, indent=""), "", f"file systems: {' '.join(KINDS)}"])


def enter_namespace():
    """Starts again, in the same process, with mounts of our own: they vanish with us."""
    if os.environ.pop(INSIDE, None):
        return
    if os.geteuid() != 0:
        raise BenchError("this needs root, to make and mount file systems")
    unshare = needed("unshare")
    os.environ[INSIDE] = "yes"
    os.execv(unshare, ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv])


def act(arguments):
    """Does what the command line says."""
    if arguments.list:
        list_all()
        return
    if arguments.saved:
        done = report.load(arguments.saved)
        show(report.head_lines(done))
        for result in done.results:
            show(report.result_lines(result))
    else:
        enter_namespace()
        end_on_signals()
        adopt_orphans()
        os.umask(0o022)
        os.environ["LC_ALL"] = "C"
        os.environ.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1")
        done = measure(arguments)
    show(report.summary_lines(done))
    if arguments.plot:
        for path in plot.draw(done, arguments.plot):
            show([f"wrote {path}"])


def main(repository):
    """Returns the exit status: 0, 1 for an error, 130 or 143 for a signal."""
    arguments = parser(repository).parse_args()
    try:
        act(arguments)
    except BenchError as error:
        warn(error)
        return 1
    except Interrupted as interruption:
        number = interruption.args[0]
        warn(f"ended by {signal.Signals(number).name}; everything is cleaned up")
        return 128 + number
    return 0
