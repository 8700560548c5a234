#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hostile.py source|destination|merge|jobs HOME MNT SECONDS: a user who wants what is not theirs.

Runs as that user, on the backing directory HOME, which is theirs, while others copy from and to it.
What is found that should not be seen is written to HOME/loot. Prints how often something was tried.

source       directories and files of HOME/src change places with symbolic links, again and again
destination  whatever copies are staged in HOME is exchanged with HOME/precious (somebody else's), with a
             directory open to all, with a symbolic link, or renamed; everything in it is read that can be
merge        directories and files of HOME/merged change places with symbolic links, again and again
jobs         looks at other people's jobs through MNT, and cancels them
"""
import ctypes
import json
import os
import random
import sys
import time

RENAME_EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)


def exchange(one, other):
    return libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), RENAME_EXCHANGE) == 0


def loot(text):
    with open("loot", "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text + "\n")


def source():
    pairs = [("src/d", "src.link"), ("src/d/e", "d.link"), ("src/file", "file.link")]
    return sum(exchange(*pair) for pair in pairs for _ in range(2)) + exchange(*random.choice(pairs))


def read_all(path):
    """Reads what can be read below path."""
    for at, _, files in os.walk(path):
        for name in files:
            try:
                with open(os.path.join(at, name), "rb") as file:
                    if b"CLASSIFIED" in file.read():
                        loot("read %s/%s" % (at, name))
            except OSError:
                pass


def destination():
    tried = 0
    for name in os.listdir("."):
        if not name.startswith(".arsync-"):
            continue
        trick = random.randrange(6)
        if trick < 3:
            other = ("precious", "trap", "src.link")[trick]
            if exchange(name, other):
                tried += 1
                read_all("trap")
                time.sleep(random.random() / 500)
                read_all(name)
                exchange(name, other)
        elif trick == 3:
            try:
                os.rename(name, "stolen")
                tried += 1
                read_all("stolen")
                time.sleep(random.random() / 500)
                os.rename("stolen", name)
            except OSError:
                pass
        else:
            read_all(name)
    return tried


def merge():
    tried = 0
    for name, links in (("sub", ("src.link", "vault.link")), ("file", ("file.link",)), ("fifo", ("file.link",))):
        other = random.choice(links)
        if exchange("merged/" + name, other):
            tried += 1
            time.sleep(random.random() / 500)
            exchange("merged/" + name, other)
    return tried


def jobs():
    tried = 0
    for number in range(1, 1000):
        for what in ("job", "wait"):
            try:
                told = json.loads(os.getxattr(mnt, "user.arsync.%s.%d" % (what, number)))
                if told["uid"] != os.getuid():
                    loot("saw job %d" % number)
            except OSError:
                tried += 1
        try:
            os.setxattr(mnt + "/h", "user.arsync.cancel", b"%d" % number)
            loot("cancelled job %d" % number)
        except OSError:
            tried += 1
    loot_all = json.loads(os.getxattr(mnt, "user.arsync.jobs"))
    if any(job["uid"] != os.getuid() for job in loot_all):
        loot("saw a list of jobs")
    return tried


what, home, mnt, seconds = sys.argv[1:]
os.chdir(home)
end = time.monotonic() + float(seconds)
times = 0
while time.monotonic() < end:
    times += globals()[what]()
print(times)
