# SPDX-License-Identifier: MIT
"""What ladder.sh does with copy_file_range(2): `python3 ladder.py COMMAND ARGUMENT...`

Every command says what is wrong on standard error and ends with 1 then. `answer_*` print what the
file system answered, so that the mount and the raw file system can be compared.
"""
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

MIB = 1 << 20
CALLS_MAX = 100000  # no copy here takes so many


def pattern(size, seed):
    return random.Random(seed).randbytes(size)


def fail(text):
    sys.exit(f"ladder.py: {text}")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def copy(src, src_at, dst, dst_at, length):
    """All of it, in as many calls as it takes: what was copied, and the errno that ended it."""
    copied = 0
    for _ in range(CALLS_MAX):
        if copied == length:
            return copied, 0
        try:
            n = os.copy_file_range(src, dst, length - copied, src_at + copied, dst_at + copied)
        except OSError as e:
            return copied, e.errno
        if n == 0:
            return copied, 0
        copied += n
    fail("copy_file_range does not come to an end")


def copy_paths(src, src_at, dst, dst_at, length, flags=0):
    a = os.open(src, os.O_RDONLY)
    b = os.open(dst, os.O_RDWR | flags)
    try:
        return copy(a, src_at, b, dst_at, length)
    finally:
        os.close(a)
        os.close(b)


def same(what, expected, path):
    got = read(path)
    if len(got) != len(expected):
        fail(f"{what}: {path} has {len(got)} bytes instead of {len(expected)}")
    if got != expected:
        at = next(i for i in range(len(got)) if got[i] != expected[i])
        fail(f"{what}: byte {at} of {path} is {got[at]:#x} instead of {expected[at]:#x}")


def blocks(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return os.stat(path).st_blocks


def ranges(mnt, backing, cut):
    """Aligned, congruent and odd offsets, to the end of file, beyond it. With `cut` what is not
    aligned may be refused with EINVAL, and then nothing of it may be there."""
    size = 5 * MIB
    source = pattern(size + 4321, 1)
    write(f"{backing}/ranges-in", source)
    for src_at, dst_at, length in (
        (0, 0, 5 * MIB + 4321), (0, 0, 1), (4096, 8192, MIB), (65536, 0, 3 * MIB),
        (4097, 4097, 2 * MIB), (5000, 9096, 2 * MIB), (4097, 1, MIB), (1, 4097, MIB),
        (12345, 777777, 1000003), (511, 512, 513), (len(source) - 100, 7, 1000),
        (len(source), 0, 1000), (MIB, len(source) + MIB, MIB), (0, 3 * MIB + 1, 4 * MIB),
    ):
        name = f"range of {length} from {src_at} to {dst_at}"
        old = pattern(size, 2)
        write(f"{backing}/ranges-out", old)
        os.stat(f"{mnt}/ranges-out")
        expected = max(0, min(length, len(source) - src_at))
        copied, error = copy_paths(f"{mnt}/ranges-in", src_at, f"{mnt}/ranges-out", dst_at, length)
        if cut and error == errno.EINVAL:
            expected = copied
        elif error or copied != expected:
            fail(f"{name}: {copied} bytes copied, error {error}")
        new = bytearray(old)
        if expected:
            new.extend(bytes(max(0, dst_at + expected - len(new))))
            new[dst_at:dst_at + expected] = source[src_at:src_at + expected]
        same(name, new, f"{mnt}/ranges-out")
        same(f"{name}, below", new, f"{backing}/ranges-out")
        os.unlink(f"{mnt}/ranges-out")


def holes(mnt, backing):
    """A hole over existing data: zeros afterwards, and no more blocks."""
    data = pattern(8 * MIB, 3)
    source = bytearray(8 * MIB)
    with open(f"{backing}/holes-in", "wb") as file:
        for at in (0, 6):
            source[at * MIB:(at + 1) * MIB] = data[at * MIB:(at + 1) * MIB]
            file.seek(at * MIB)
            file.write(data[at * MIB:(at + 1) * MIB])
        file.truncate(8 * MIB)
        os.fsync(file.fileno())
    write(f"{backing}/holes-out", pattern(8 * MIB, 4))
    os.stat(f"{mnt}/holes-out")
    before = blocks(f"{backing}/holes-out")
    result = copy_paths(f"{mnt}/holes-in", 0, f"{mnt}/holes-out", 0, 8 * MIB)
    if result != (8 * MIB, 0):
        fail(f"holes: copied and error are {result}")
    same("holes", source, f"{mnt}/holes-out")
    same("holes, below", source, f"{backing}/holes-out")
    after = blocks(f"{backing}/holes-out")
    if after > before:
        fail(f"holes: {after} blocks, {before} before")
    # Only the hole: the data around it stays.
    old = bytearray(pattern(8 * MIB, 5))
    write(f"{backing}/holes-out", old)
    result = copy_paths(f"{mnt}/holes-in", 2 * MIB, f"{mnt}/holes-out", MIB, 3 * MIB)
    if result != (3 * MIB, 0):
        fail(f"only a hole: copied and error are {result}")
    old[MIB:4 * MIB] = bytes(3 * MIB)
    same("only a hole", old, f"{mnt}/holes-out")
    os.unlink(f"{mnt}/holes-out")


def same_file(mnt, backing):
    data = bytearray(pattern(4 * MIB, 6))
    path = f"{mnt}/same"
    write(f"{backing}/same", data)
    if copy_paths(path, 0, path, 2 * MIB, MIB) != (MIB, 0):
        fail("within a file")
    data[2 * MIB:3 * MIB] = data[:MIB]
    same("within a file", data, path)
    same("within a file, below", data, f"{backing}/same")
    for src_at, dst_at, length in ((0, MIB, 2 * MIB), (0, 0, MIB), (MIB, MIB - 1, 4096)):
        result = copy_paths(path, src_at, path, dst_at, length)
        if result != (0, errno.EINVAL):
            fail(f"overlapping {src_at} {dst_at} {length}: copied and error are {result}")
    same("within a file, overlapping", data, path)
    os.unlink(path)


def refused(mnt, source, target, number):
    """All of it must fail with this errno, and the target, which exists, stay as it was."""
    old = pattern(123456, 7)
    write(target, old)
    result = copy_paths(source, 0, target, 0, os.stat(source).st_size)
    if result != (0, int(number)):
        fail(f"copied and errno are {result}")
    same("refused", old, target)


def drop(path):
    """Takes a file out of the page cache."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def say(result):
    print(result[0], errno.errorcode.get(result[1], result[1]))


def answer_append(directory):
    write(f"{directory}/append-in", pattern(100000, 8))
    write(f"{directory}/append-out", b"old")
    say(copy_paths(f"{directory}/append-in", 0, f"{directory}/append-out", 3, 100000, os.O_APPEND))
    print(len(read(f"{directory}/append-out")))


def answer_limit(directory):
    """RLIMIT_FSIZE of the caller: a prefix, then EFBIG and SIGXFSZ."""
    signals = []
    signal.signal(signal.SIGXFSZ, lambda number, frame: signals.append(number))
    write(f"{directory}/limit-in", pattern(4 * MIB, 9))
    write(f"{directory}/limit-out", b"")
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB + 77, resource.RLIM_INFINITY))
    say(copy_paths(f"{directory}/limit-in", 0, f"{directory}/limit-out", 0, 4 * MIB))
    got = read(f"{directory}/limit-out")
    print(len(got), got == pattern(4 * MIB, 9)[:len(got)], len(signals))


def answer_existing(source, target):
    """Between files that are there, whatever keeps them from being opened or copied."""
    try:
        say(copy_paths(source, 0, target, 0, os.stat(source).st_size))
    except OSError as e:
        say((f"open {os.path.basename(e.filename)}", e.errno))


def answer_held(directory, backing):
    """A destination that becomes immutable after it was opened."""
    write(f"{directory}/held-in", pattern(100000, 14))
    write(f"{directory}/held-out", b"old")
    a = os.open(f"{directory}/held-in", os.O_RDONLY)
    b = os.open(f"{directory}/held-out", os.O_RDWR)
    subprocess.run(["chattr", "+i", f"{backing}/held-out"], check=True)
    try:
        say(copy(a, 0, b, 0, 100000))
        print(len(read(f"{backing}/held-out")))
    finally:
        subprocess.run(["chattr", "-i", f"{backing}/held-out"], check=True)


def changing(mnt, backing, how):
    """A source that is changed while it is copied: no hang, and what is copied is the source's."""
    size, rounds = 48 * MIB, 6
    source = pattern(size, 10)
    more = pattern(4 * MIB, 11)
    for n in range(rounds):
        for name in ("in", "out", "new"):
            if os.path.exists(f"{backing}/changing-{name}"):
                os.unlink(f"{mnt}/changing-{name}")
        write(f"{mnt}/changing-in", source)
        a = os.open(f"{mnt}/changing-in", os.O_RDONLY)
        b = os.open(f"{mnt}/changing-out", os.O_RDWR | os.O_CREAT)
        # Behind the mount, or through it; at the end of a block, or within.
        place = (mnt, backing)[n % 2]
        left = (n * 5 * MIB) + (0, 777)[n // 2 % 2]

        def change():
            time.sleep(0.002 * n)
            if how == "truncated":
                os.truncate(f"{place}/changing-in", left)
            elif how == "grown":
                with open(f"{place}/changing-in", "ab") as file:
                    file.write(more)
            else:
                write(f"{place}/changing-new", more)
                os.rename(f"{place}/changing-new", f"{place}/changing-in")

        thread = threading.Thread(target=change)
        thread.start()
        copied, error = copy(a, 0, b, 0, size + 4 * MIB)
        thread.join()
        os.close(a)
        os.close(b)
        got = read(f"{backing}/changing-out")
        whole = source + (more if how == "grown" else b"")
        least = left if how == "truncated" else size
        if error or copied != len(got) or not least <= copied <= len(whole):
            fail(f"round {n}: copied {copied}, error {error}, size {len(got)}, left {least}")
        if got[:least] != whole[:least]:
            fail(f"round {n}: other bytes than the source's")
        # A page may be cut while it is read: zeros then.
        for at in range(least, copied, MIB):
            g, w = got[at:at + MIB], whole[at:at + MIB]
            if g != w[:len(g)] and any(x not in (0, y) for x, y in zip(g, w)):
                fail(f"round {n}: bytes that the source never had, behind {at}")


def tail(mnt, backing):
    """A whole source that ends in the middle of a block, into a longer file."""
    length = 40 * MIB + 100
    source, old = pattern(length, 15), pattern(64 * MIB, 16)
    write(f"{backing}/tail-in", source)
    write(f"{backing}/tail-out", old)
    os.sync()
    for directory in (mnt, backing):
        os.stat(f"{directory}/tail-in")
    if copy_paths(f"{mnt}/tail-in", 0, f"{mnt}/tail-out", 0, length) != (length, 0):
        fail("not all of it was copied")
    same("the source's end into a longer file", source + old[length:], f"{backing}/tail-out")
    os.unlink(f"{backing}/tail-in")
    os.unlink(f"{backing}/tail-out")


def fill(path, left):
    """Fills the file system of `path` but for about `left` MiB."""
    chunk = pattern(MIB, 12)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    size = 0
    try:
        while True:
            size += os.pwrite(fd, chunk, size)
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
    os.ftruncate(fd, max(0, size - int(left) * MIB))
    os.fsync(fd)
    os.close(fd)
    os.sync()


def no_space(mnt, backing, size, kind):
    """A contiguous prefix that equals the source, and what lies beyond it as before.

    growing: a new file; sparse: one with holes; shared: one whose blocks are another file's, too, so
    that overwriting takes space; shared-hole: and the source's last quarter is a hole.
    """
    size = int(size) * MIB
    name = "in-hole" if kind == "shared-hole" else "in"
    source = read(f"{backing}/{name}")
    target = f"{mnt}/out-{kind}"
    old = bytearray()
    if kind.startswith("shared"):
        old = bytearray(read(f"{backing}/old"))
        subprocess.run(["cp", "--reflink=always", f"{backing}/old", f"{backing}/out-{kind}"],
                       check=True)
    with open(f"{backing}/out-{kind}", "r+b" if old else "wb") as file:
        if kind == "sparse":
            old = bytearray(size)
            data = pattern(MIB // 2, 13)
            for at in range(MIB, size - MIB, 5 * MIB + 4096):
                old[at:at + len(data)] = data
                file.seek(at)
                file.write(data)
            file.truncate(size)
        os.fsync(file.fileno())
    os.stat(target)
    copied, error = copy_paths(f"{mnt}/{name}", 0, target, 0, size)
    for path in (target, f"{backing}/out-{kind}"):
        got = read(path)
        if error not in (errno.ENOSPC, errno.EDQUOT) or not 0 < copied < size:
            fail(f"{kind}: copied {copied} of {size}, error {error}")
        if got[:copied] != source[:copied]:
            fail(f"{kind}: the prefix of {copied} bytes is not the source's")
        if len(got) != max(copied, len(old)):
            fail(f"{kind}: {len(got)} bytes, copied {copied}, before {len(old)}")
        if got[copied:] != old[copied:]:
            at = next(i for i in range(copied, len(got)) if got[i] != old[i])
            fail(f"{kind}: byte {at} beyond the prefix of {copied} bytes has changed")
    os.unlink(target)
    os.sync()


def main():
    commands = {f.__name__: f for f in (
        ranges, holes, same_file, refused, drop, answer_append, answer_limit, answer_existing,
        answer_held, changing, tail, fill, no_space)}
    command, *arguments = sys.argv[1:]
    if command == "ranges":
        ranges(arguments[0], arguments[1], "cut" in arguments)
    else:
        commands[command](*arguments)


main()
