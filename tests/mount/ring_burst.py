#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# Requests that come at once from one processor: ring_burst.py MNT ATTRIBUTE COUNT ROUNDS
# Each of COUNT processes reads ATTRIBUTE of MNT, ROUNDS times. Prints how many got an answer within
# LIMIT seconds, the milliseconds until the last, and those that a LOOKUP took beside them. Those that
# got no answer are killed.
"""A burst of getxattr(2), each one request."""
import ctypes
import os
import signal
import sys
import time

LIMIT = 10
libc = ctypes.CDLL(None, use_errno=True)


def ask(mnt, attribute, rounds, gate):
    """One process. Python's own getxattr() asks several times."""
    buffer = ctypes.create_string_buffer(65536)
    os.read(gate, 1)
    for _ in range(rounds):
        if libc.getxattr(mnt, attribute, buffer, len(buffer)) < 0:
            os.write(2, os.strerror(ctypes.get_errno()).encode() + b"\n")
            os._exit(1)
    os._exit(0)


def look_up(mnt):
    """Seconds that it takes for a name that nobody knows."""
    begin = time.monotonic()
    try:
        os.stat(os.path.join(mnt, b"%d.none" % os.getpid()))
    except OSError:
        pass
    return time.monotonic() - begin


def main():
    """See above."""
    mnt, attribute = (os.fsencode(word) for word in sys.argv[1:3])
    count, rounds = (int(word) for word in sys.argv[3:5])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    gate, release = os.pipe()
    running = set()
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(release)
            ask(mnt, attribute, rounds, gate)
        running.add(pid)
    time.sleep(0.3)  # all of them wait at the gate
    os.stat(mnt)  # so that the burst is of nothing else
    begin = last = time.monotonic()
    os.close(release)
    time.sleep(0.2)
    beside = look_up(mnt)
    answered = 0
    while running and time.monotonic() - begin < LIMIT:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            time.sleep(0.005)
            continue
        running.discard(pid)
        answered += status == 0
        last = time.monotonic()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    print(answered, round((last - begin) * 1000), round(beside * 1000))


main()
