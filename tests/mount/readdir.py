#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# readdir.py DIRECTORY BACKING COUNT ROUNDS: lists DIRECTORY, where COUNT files named "stays-N" are, while
# one process makes, renames and removes others in it, and another does so in BACKING, the same directory
# seen from below. No name ever comes again. Says what is wrong: names that are listed twice, or that stay
# and are missing.
"""Listing a large directory while entries come and go."""
import ctypes
import itertools
import multiprocessing
import os
import sys

KEPT = 200  # names of each of those who come and go, at a time
SEEK_EVERY = 997

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for function in (libc.readdir, libc.telldir, libc.closedir):
    function.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Dirent(ctypes.Structure):
    """struct dirent"""

    _fields_ = [
        ("ino", ctypes.c_ulong),
        ("off", ctypes.c_long),
        ("size", ctypes.c_ushort),
        ("type", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    ]


def come_and_go(directory, prefix, end):
    """Makes files, renames them to names that nobody had, removes them."""
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for number in itertools.count():
        os.close(os.open(f"{prefix}-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=at))
        if number >= KEPT:
            old = f"{prefix}-{number - KEPT}"
            os.rename(old, old + "-moved", src_dir_fd=at, dst_dir_fd=at)
        if number >= 2 * KEPT:
            os.unlink(f"{prefix}-{number - 2 * KEPT}-moved", dir_fd=at)
        if end.is_set():
            print(f"# {prefix}: {number} files came and went")
            return


def read_one(directory):
    """The next name, or None."""
    entry = libc.readdir(directory)
    return ctypes.cast(entry, ctypes.POINTER(Dirent)).contents.name.decode() if entry else None


def list_all(path, seeks):
    """All names, now and then going back to where it was told to be."""
    directory = libc.opendir(os.fsencode(path))
    names = []
    while True:
        place = libc.telldir(directory)
        name = read_one(directory)
        if name is None:
            break
        names.append(name)
        if seeks and len(names) % SEEK_EVERY == 0 and name.startswith("stays-"):
            libc.seekdir(directory, place)
            again = read_one(directory)
            if again != name:
                print(f"after seekdir {again} instead of {name}")
    libc.closedir(directory)
    return names


def check(names, count):
    """Returns how many are wrong."""
    seen = set()
    wrong = 0
    for name in names:
        if name in seen:
            print(f"twice: {name}")
            wrong += 1
        seen.add(name)
    missing = [name for name in (f"stays-{i}" for i in range(count)) if name not in seen]
    for name in missing[:10]:
        print(f"missing: {name}")
    return wrong + len(missing)


def main():
    """See above."""
    path, backing = sys.argv[1:3]
    count, rounds = int(sys.argv[3]), int(sys.argv[4])
    end = multiprocessing.Event()
    others = [
        multiprocessing.Process(target=come_and_go, args=(where, prefix, end))
        for where, prefix in ((path, "mount"), (backing, "below"))
    ]
    for process in others:
        process.start()
    wrong = 0
    for number in range(rounds):
        names = list_all(path, number % 2 == 1)
        wrong += check(names, count)
        print(f"# {len(names)} names")
    end.set()
    for process in others:
        process.join()
        wrong += process.exitcode != 0
    sys.exit(wrong != 0)


main()
