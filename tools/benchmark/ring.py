# SPDX-License-Identifier: MIT
"""The kernel's switch for FUSE over io_uring, which is for the whole machine.

It is on as long as somebody needs it. Everybody who does, tests/mount/run too, holds a shared lock
on a file that is not empty when one of them switched it on; the last one switches it off again. If
that one is killed, the file stays, and the next last one does it.
"""
import contextlib
import fcntl
import os

from .base import BenchError, read_text, undisturbed

SWITCH = "/sys/module/fuse/parameters/enable_uring"
MARK = "/run/arsyncfs-test.enable_uring"


def why_missing():
    """Why there is no FUSE over io_uring on this machine, or an empty string."""
    if not os.path.exists(SWITCH):
        return "this kernel has no FUSE over io_uring"
    return "" if os.access(SWITCH, os.W_OK) else "FUSE over io_uring cannot be switched on here"


@contextlib.contextmanager
def switched_on():
    """FUSE over io_uring is on while the `with` block lasts."""
    lock = None
    try:
        with undisturbed():
            lock = _shared_lock()
            if read_text(SWITCH) == "N":
                os.write(lock, b"N\n")
                _switch("Y")
        yield
    finally:
        if lock is not None:
            _release(lock)


def _shared_lock():
    while True:
        lock = os.open(MARK, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(MARK), os.fstat(lock)):
                return lock
        os.close(lock)  # the last user has just removed it


def _release(lock):
    with undisturbed():
        with contextlib.suppress(BlockingIOError):  # others still need it
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_size:
                _switch("N")
            os.unlink(MARK)
        os.close(lock)


def _switch(state):
    try:
        with open(SWITCH, "w", encoding="ascii") as file:
            file.write(state + "\n")
    except OSError as error:
        raise BenchError(f"cannot switch FUSE over io_uring: {SWITCH}: {error.strerror}") from None
