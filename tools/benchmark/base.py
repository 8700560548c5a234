# SPDX-License-Identifier: MIT
"""What all parts use: errors, signals, sizes, small commands, and the table of mounts."""
import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class BenchError(Exception):
    """Something that ends the benchmark, said in one sentence."""


class Interrupted(BaseException):
    """A signal that asks for the end; its number is in args[0]."""


class TimeLimit(BenchError):
    """Something took longer than it may."""


def end_on_signals():
    """Turns the first ending signal into an exception; later ones do not disturb the cleanup."""
    def end(number, _frame):
        for other in ENDING_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    for number in ENDING_SIGNALS:
        signal.signal(number, end)


@contextlib.contextmanager
def undisturbed():
    """Holds ending signals back for a moment in which something must not be half done."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextlib.contextmanager
def time_limit(seconds, what):
    """Raises TimeLimit in the main thread when the block takes longer than this."""
    def expired(_number, _frame):
        raise TimeLimit(f"{what} did not end within {seconds} s")

    old = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def warn(message):
    """One line on standard error."""
    print(f"bench: {message}", file=sys.stderr)


def format_size(size):
    """1073741824 -> '1 GiB'; exact where a whole number fits, otherwise with one digit."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}" if size % unit == 0 else f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def format_seconds(seconds):
    """Seconds as '1.234 s', or as milliseconds where that reads better."""
    return f"{seconds:.3f} s" if seconds >= 0.1 else f"{seconds * 1000:.2f} ms"


@functools.lru_cache(maxsize=None)
def program(name):
    """The path of a program, or None when this machine does not have it."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def needed(name):
    """The path of a program that must be there."""
    path = program(name)
    if not path:
        raise BenchError(f"there is no {name} on this machine; tools/setup --bench installs it")
    return path


def run(*command, timeout=60):
    """Runs a small command, returns what it printed; a failure is a BenchError with its words."""
    try:
        done = subprocess.run([needed(command[0]), *command[1:]], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"'{' '.join(command)}' did not answer within {timeout} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise BenchError(f"'{' '.join(command)}' ended with {done.returncode}: {said}")
    return done.stdout


def read_text(path, otherwise=""):
    """The contents of a small file, stripped."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return otherwise


def mounts():
    """What is mounted here, in order: dictionaries with at, minor, type, options."""
    unescape = functools.partial(re.sub, r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)))
    found = []
    for line in read_text("/proc/self/mountinfo").splitlines():
        before, after = line.split(" - ", 1)
        fields, rest = before.split(" "), after.split(" ")
        options = dict.fromkeys(f"{fields[5]},{rest[2]}".split(","))  # of the mount, of the fs
        found.append({"at": unescape(fields[4]), "minor": fields[2].split(":")[1],
                      "type": rest[0], "options": ",".join(options)})
    return found


def mount_at(path):
    """The topmost mount at exactly this directory, or None."""
    return next((m for m in reversed(mounts()) if m["at"] == path), None)
