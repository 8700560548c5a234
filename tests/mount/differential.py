#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""differential.py - random trees, and what copies of them have in common with them.

  differential.py make SEED DIRECTORY        fills the directory; the same seed, the same tree
  differential.py record DIRECTORY FILE      what there is, before reading changes it
  differential.py compare SOURCE COPY [WHAT...]
                                             prints how the copy differs, but not in WHAT; SOURCE is a
                                             directory or a record

WHAT: kind, mode, owner, device, size, content, atime, mtime, links, xattrs, flags, holes.
"""
import errno
import fcntl
import hashlib
import os
import pickle
import random
import socket
import stat
import struct
import sys

GETFLAGS = 0x80086601
SETFLAGS = 0x40086602
IMMUTABLE, APPEND, NODUMP, NOCOW = 0x10, 0x20, 0x40, 0x00800000
FLAGS = IMMUTABLE | APPEND | NODUMP | NOCOW
SIZES = [0, 1, 511, 4095, 4096, 4097, 65536, 100000, 524288, 524289, 1048577, 3000000]
UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EPERM, errno.ENOSPC, errno.E2BIG,
               errno.ERANGE)


def flags_of(path):
    """Inode flags, None where there are none."""
    mode = os.lstat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return None
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME)
    try:
        return struct.unpack("l", fcntl.ioctl(fd, GETFLAGS, struct.pack("l", 0)))[0] & FLAGS
    except OSError:
        return None
    finally:
        os.close(fd)


def set_flags(path, flags):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME)
    try:
        old = struct.unpack("l", fcntl.ioctl(fd, GETFLAGS, struct.pack("l", 0)))[0]
        fcntl.ioctl(fd, SETFLAGS, struct.pack("l", old & ~FLAGS | flags))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(fd)


def acl(rng):
    """A valid ACL as an extended attribute: linux/posix_acl_xattr.h."""
    entries = [(1, rng.randrange(8), 0xFFFFFFFF)]
    entries += [(2, rng.randrange(8), uid) for uid in sorted(rng.sample(range(1, 70000), 2))]
    entries += [(4, rng.randrange(8), 0xFFFFFFFF)]
    entries += [(8, rng.randrange(8), gid) for gid in sorted(rng.sample(range(1, 70000), 1))]
    entries += [(16, rng.randrange(8), 0xFFFFFFFF), (32, rng.randrange(8), 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


class Maker:
    def __init__(self, seed, root):
        self.rng = random.Random(seed)
        self.root = os.fsencode(root)
        self.dirs = [self.root]
        self.files = []  # what can be linked
        self.all = [self.root]

    def name(self):
        rng = self.rng
        kind = rng.randrange(10)
        if kind < 5:
            length = rng.randrange(1, 12)
        elif kind < 9:
            length = rng.randrange(1, 60)
        else:
            length = 255
        bad = b"\0/"
        while True:
            if kind == 0:
                name = bytes(b for b in rng.randbytes(length) if b not in bad)
            else:
                name = bytes(rng.choice(b"abcdefghijklmnopqrstuvwxyz-. \n'\"*\\") for _ in range(length))
            if name not in (b"", b".", b".."):
                return name

    def new(self):
        while True:
            path = os.path.join(self.rng.choice(self.dirs), self.name())
            if not os.path.lexists(path) and len(path) < 3500:
                return path

    def file(self, path):
        rng = self.rng
        size = rng.choice(SIZES)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if rng.randrange(8) == 0:
            set_flags(path, NOCOW)  # only while it is empty, and only on btrfs
        try:
            if rng.randrange(4) == 0:  # holes
                os.ftruncate(fd, size)
                for _ in range(rng.randrange(4)):
                    at = rng.randrange(size + 1)
                    os.pwrite(fd, rng.randbytes(min(size - at, rng.randrange(1, 40000))), at)
            else:
                os.pwrite(fd, rng.randbytes(size), 0)
        finally:
            os.close(fd)

    def entry(self):
        rng = self.rng
        kind = rng.choices(["file", "dir", "link", "symlink", "fifo", "socket", "device"],
                           [40, 14, 14, 12, 4, 3, 4])[0]
        path = self.new()
        if kind == "dir":
            os.mkdir(path)
            self.dirs.append(path)
        elif kind == "link":
            if not self.files:
                return
            os.link(rng.choice(self.files), path, follow_symlinks=False)
            return
        elif kind == "symlink":
            target = rng.choice([b"x", b"../" * 5, b"t" * rng.randrange(1, 300), self.name(), b"/etc"])
            os.symlink(target, path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            here = os.getcwd()
            os.chdir(os.path.dirname(path))
            try:  # sun_path is short
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.bind(b"short-name")
                os.rename(b"short-name", path)
            finally:
                os.chdir(here)
        elif kind == "device":
            mode = rng.choice([stat.S_IFCHR, stat.S_IFBLK])
            os.mknod(path, mode | 0o600, os.makedev(rng.randrange(1, 200), rng.randrange(1, 100000)))
        else:
            self.file(path)
        self.all.append(path)
        if kind != "dir":
            self.files.append(path)

    def xattr(self, path, name, value):
        try:
            os.setxattr(path, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise

    def attributes(self, path):
        rng = self.rng
        mode = os.lstat(path).st_mode
        os.lchown(path, rng.choice([0, 0, 1000, 65534, 4000000]), rng.choice([0, 0, 1000, 12345]))
        if rng.randrange(4) == 0:
            self.xattr(path, b"trusted.t" + str(rng.randrange(9)).encode(),
                       rng.randbytes(rng.randrange(200)))
        if stat.S_ISLNK(mode):
            return
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            for _ in range(rng.choice([0, 0, 0, 1, 3])):
                name = b"user." + bytes(rng.choice(b"abc.XYZ-_") for _ in range(rng.randrange(1, 20)))
                self.xattr(path, name, rng.randbytes(rng.choice([0, 1, 30, 300])))
        os.chmod(path, rng.choice([0o644, 0o755, 0o600, rng.randrange(0o10000)]))
        if rng.randrange(5) == 0:
            self.xattr(path, "system.posix_acl_access", acl(rng))
        if stat.S_ISDIR(mode) and rng.randrange(4) == 0:
            self.xattr(path, "system.posix_acl_default", acl(rng))
        if stat.S_ISREG(mode) and rng.randrange(8) == 0:  # cap_net_raw+ep
            self.xattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))

    def times(self, path):
        rng = self.rng
        stamp = lambda: rng.randrange(1, 2_000_000_000) * 10**9 + rng.randrange(10**9)
        os.utime(path, ns=(stamp(), stamp()), follow_symlinks=False)

    def flags(self, path):
        rng = self.rng
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return
        chosen = rng.choice([0, 0, 0, NODUMP, IMMUTABLE, APPEND, NODUMP | APPEND])
        if path == self.root:
            chosen &= NODUMP
        if chosen:
            set_flags(path, chosen | (flags_of(path) or 0) & NOCOW)

    def make(self):
        for _ in range(250):
            self.entry()
        for path in self.all:
            self.attributes(path)
        for path in sorted(self.all, key=len, reverse=True):
            self.times(path)
        for path in self.all:
            self.flags(path)


def content_of(path, status):
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(status.st_mode):
        return None
    digest = hashlib.sha1()
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_NOFOLLOW)
    with os.fdopen(fd, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def xattrs_of(path):
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if not name.startswith("security.") or name == "security.capability":
            found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found


def describe(root):
    """{path: {what: value}}"""
    root = os.fsencode(root)
    found, first = {}, {}
    paths = [root]
    for directory, dirs, files in os.walk(root, followlinks=False):
        paths += [os.path.join(directory, name) for name in dirs + files]
    for path in sorted(paths):
        status = os.lstat(path)
        is_dir = stat.S_ISDIR(status.st_mode)
        relative = os.path.relpath(path, root)
        inode = (status.st_dev, status.st_ino)
        found[relative] = {
            "kind": stat.S_IFMT(status.st_mode),
            "mode": stat.S_IMODE(status.st_mode),
            "owner": (status.st_uid, status.st_gid),
            "device": status.st_rdev,
            "size": None if is_dir else status.st_size,
            "atime": None if is_dir or stat.S_ISLNK(status.st_mode) else status.st_atime_ns,
            "mtime": status.st_mtime_ns,
            "links": None if is_dir else (first.setdefault(inode, relative), status.st_nlink),
            "xattrs": xattrs_of(path),
            "content": content_of(path, status),
            "flags": flags_of(path),
            "holes": status.st_blocks if stat.S_ISREG(status.st_mode) else 0,
        }
    return found


def load(source):
    if os.path.isdir(source):
        return describe(source)
    with open(source, "rb") as file:
        return pickle.load(file)


def compare(source, copy, without):
    a, b = load(source), load(copy)
    different = 0
    for path in sorted(a.keys() | b.keys()):
        if path not in a or path not in b:
            print(f"{path!r}: only in the {'source' if path in a else 'copy'}")
            different += 1
            continue
        for what, value in a[path].items():
            if what in without:
                continue
            if what == "holes":
                # Clusters and what is allocated ahead may differ a little.
                same = b[path][what] <= value + 256
            else:
                same = b[path][what] == value
            if not same:
                print(f"{path!r}: {what} is {b[path][what]!r} instead of {value!r}")
                different += 1
    if not a:
        print("there is nothing to compare")
        different += 1
    return 1 if different else 0


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "make":
        Maker(int(sys.argv[2]), sys.argv[3]).make()
        return 0
    if len(sys.argv) == 4 and sys.argv[1] == "record":
        with open(sys.argv[3], "wb") as file:
            pickle.dump(describe(sys.argv[2]), file)
        return 0
    if len(sys.argv) >= 4 and sys.argv[1] == "compare":
        return compare(sys.argv[2], sys.argv[3], sys.argv[4:])
    print(__doc__, file=sys.stderr)
    return 2


sys.exit(main())
