#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What power.sh needs besides the shell.

    power.py make ROOT               the sources, and what is copied onto
    power.py drive ROOT MNT LOG      copies by turns until it is killed; LOG says how far it is
    power.py check ROOT BEFORE AFTER whether ROOT, as a power cut has left it, is what was promised
    power.py list ROOT               everything but what copies have staged, to be compared

ROOT is the directory that is mounted. LOG has lines "begin KIND NUMBER", "done KIND NUMBER" and "drop KIND
NUMBER" (about to be removed): BEFORE and AFTER are LOG as it was before and after the power cut.
"""
import hashlib
import os
import random
import re
import shutil
import stat
import sys

STAGED = re.compile(r"\.arsync-[0-9a-f]{16}(-[0-9a-f]{16})?\Z")
DECOYS = (".arsync-0123456789abcdef", ".arsync-fedcba9876543210")
KEPT = 2  # copies of a kind
# Each kind of copy and its options. Copies of new trees, merges into a tree and replacing one have a directory
# of that name each.
NEW = {"new-tree": "fsync=tree", "new-file": "fsync=file", "new-never": "fsync=never"}
MERGE = {
    "merge-tree": "existing=merge\nfsync=tree",
    "merge-file": "existing=merge\nfsync=file",
}
REPLACE = {
    "replace-tree": "existing=replace\nfsync=tree",
    "replace-file": "existing=replace\nfsync=file",
    "replace-one": "existing=replace\nfsync=tree",
}


def describe(path, info, contents):
    """What a copy of this file must keep."""
    what = [stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid]
    what.append(info.st_mtime_ns)
    if stat.S_ISLNK(info.st_mode):
        what.append(os.readlink(path))
    else:
        what += [(name, os.getxattr(path, name)) for name in sorted(os.listxattr(path))]
    if stat.S_ISREG(info.st_mode):
        what += [info.st_size, info.st_nlink]
        if contents:
            with open(path, "rb") as file:
                what.append(hashlib.md5(file.read()).hexdigest())
    return tuple(what)


def look(root, staged=True, contents=True):
    """Path below root -> describe(), of everything. Without staged: not below names as copies have them."""
    found = {"": describe(root, os.lstat(root), contents)}
    if not stat.S_ISDIR(os.lstat(root).st_mode):
        return found
    for at, directories, files in os.walk(root):
        if not staged:
            directories[:] = [name for name in directories if name in DECOYS or not STAGED.match(name)]
            files = [name for name in files if name in DECOYS or not STAGED.match(name)]
        for name in directories + files:
            path = os.path.join(at, name)
            found[os.path.relpath(path, root)] = describe(path, os.lstat(path), contents)
    return found


def make_source(root, version):
    numbers = random.Random(version)
    for directory in ("", "a", "a/b", "a/b/c", "d", "d/empty"):
        os.makedirs(os.path.join(root, directory))
    for i in range(90):
        path = os.path.join(root, ("", "a", "a/b/c", "d")[i % 4], f"file{i}")
        size = numbers.choice((0, 5, 700, 5000, 40000, 200000)) if i else 3 << 20
        with open(path, "wb") as file:
            file.write(numbers.randbytes(size))
        os.utime(path, ns=(10**18, 10**18 + 1000 * version + i))
        os.chmod(path, (0o644, 0o400, 0o755)[i % 3])
    for i in range(6):
        os.symlink(f"target of {version}, {i}", os.path.join(root, "a", f"symlink{i}"))
        os.utime(os.path.join(root, "a", f"symlink{i}"), ns=(10**18, 10**18 + version), follow_symlinks=False)
    os.link(os.path.join(root, "file4"), os.path.join(root, "d", "link"))
    os.mkfifo(os.path.join(root, "d", "fifo"))
    os.utime(os.path.join(root, "d", "fifo"), ns=(10**18, 10**18 + version))
    os.setxattr(os.path.join(root, "a", "file1"), "user.version", b"%d" % version)
    for at, _, _ in os.walk(root, topdown=False):
        os.utime(at, ns=(10**18, 10**18 + version))


def make(root):
    for version in (0, 1):
        make_source(os.path.join(root, f"source{version}"), version)
    for kind in (*NEW, *MERGE, *REPLACE):
        directory = os.path.join(root, kind)
        os.mkdir(directory)
        # What others have called so.
        os.mkdir(os.path.join(directory, DECOYS[0]))
        for decoy in (os.path.join(DECOYS[0], "file"), DECOYS[1]):
            with open(os.path.join(directory, decoy), "w", encoding="ascii") as file:
                file.write("precious")
        if kind == "replace-one":
            shutil.copy2(os.path.join(root, "source0", "file0"), os.path.join(directory, "copy"))
        elif kind not in NEW:
            os.system(f"cp -a '{root}/source0' '{directory}/copy'")


def drive(root, mnt, log):
    def tell(what, kind, number):
        os.write(log_fd, f"{what} {kind} {number}\n".encode())

    def copy(kind, number, source, name, options):
        tell("begin", kind, number)
        os.setxattr(f"{mnt}/{source}", "user.arsync.copy", f"{kind}/{name}\n{options}".encode())
        tell("done", kind, number)

    log_fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    number = 0
    kinds = list({**NEW, **MERGE, **REPLACE}.items())
    while True:
        random.shuffle(kinds)
        for kind, options in kinds:
            source = f"source{number % 2}"
            name = f"copy{number}" if kind in NEW else "copy"
            if kind == "replace-one":
                source += "/file0"
            copy(kind, number, source, name, options)
            if kind in NEW and number >= KEPT:
                tell("drop", kind, number - KEPT)
                shutil.rmtree(f"{root}/{kind}/copy{number - KEPT}")
        number += 1


def read_log(path):
    told = {"begin": set(), "done": set(), "drop": set()}
    with open(path, encoding="ascii") as file:
        for line in file:
            what, kind, number = line.split()
            told[what].add((kind, int(number)))
    return told


def complain(where, good, found):
    names = [name for name in sorted({*good, *found}) if good.get(name) != found.get(name)]
    print(f"{where}: not as it should be: {len(names)} of {len(good)} names")
    for name in names[:5]:
        print(f"    {name or '.'}: {good.get(name)} -> {found.get(name)}")
    return 1


def check_new(root, kind, sources, before, after):
    bad = 0
    for name in sorted(os.listdir(f"{root}/{kind}")):
        if not name.startswith("copy"):
            continue
        number = int(name[4:])
        if (kind, number) in after["drop"]:
            continue
        found = look(f"{root}/{kind}/{name}")
        if found != sources[number % 2]:
            bad += complain(f"{kind}/{name}", sources[number % 2], found)
    for done, number in before["done"] - after["drop"]:
        if done == kind and not os.path.lexists(f"{root}/{kind}/copy{number}"):
            print(f"{kind}/copy{number}: complete, but not there")
            bad += 1
    return bad


def check_merge(root, kind, sources):
    """Every file is that of one source or of the other, and as a whole. Directories may have the times of now."""
    found = {name: what for name, what in look(f"{root}/{kind}/copy").items()
             if not STAGED.match(os.path.basename(name))}
    bad = [name for name, what in found.items()
           if not stat.S_ISDIR(what[0]) and without_links(what) not in
           [without_links(source.get(name)) for source in sources]]
    bad += [name for name in sources[0] if name not in found]
    for name in bad[:5]:
        print(f"{kind}/copy/{name}: {found.get(name)}, sources: {[source.get(name) for source in sources]}")
    return len(bad)


def without_links(what):
    """A merge makes its names one after the other."""
    return what and (what[:-2] + what[-1:] if stat.S_ISREG(what[0]) else what)


def check(root, before, after):
    before, after = read_log(before), read_log(after)
    sources = [look(f"{root}/source{version}") for version in (0, 1)]
    bad = 0
    for kind in NEW:
        if kind != "new-never":
            bad += check_new(root, kind, sources, before, after)
    for kind in MERGE:
        bad += check_merge(root, kind, sources)
    for kind in REPLACE:
        good = [{"": source["file0"]} for source in sources] if kind == "replace-one" else sources
        found = look(f"{root}/{kind}/copy")
        if found not in good:
            bad += complain(f"{kind}/copy", good[0], found)
    return bad == 0


def main():
    command, *arguments = sys.argv[1:]
    if command == "make":
        make(*arguments)
    elif command == "drive":
        drive(*arguments)
    elif command == "check":
        sys.exit(0 if check(*arguments) else 1)
    elif command == "list":
        for name, what in sorted(look(arguments[0], staged=False).items()):
            # Times of directories change when something in them is removed, and it may have been a link.
            print(name, without_links(what) if not stat.S_ISDIR(what[0]) else what[:4])
    else:
        sys.exit("usage: see the beginning of this file")


main()
