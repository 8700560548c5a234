# SPDX-License-Identifier: MIT
"""Source files and trees, warming them up, and whether a copy is equal to its source."""
import os
import random
import stat

from .base import BenchError, MIB

BLOCK = 4096
SEED = 20240229
TREE_DIRECTORY = 100  # files in each directory of a tree
TREE_MODES = (0o644, 0o600, 0o755)
TREE_TIME = 1_500_000_000  # mtime of a tree's first file, seconds; others follow
_buffers = (bytearray(MIB), bytearray(MIB))


def _tile():
    """1 MiB of random bytes: 256 blocks, no two of them equal."""
    return bytearray(random.Random(SEED).randbytes(MIB))


def _write_piece(fd, tile, offset, size):
    """Writes `size` bytes at an offset; each block begins with its own number in the file."""
    for start in range(offset, offset + size, MIB):
        for block in range(0, MIB, BLOCK):
            tile[block:block + 8] = (start + block).to_bytes(8, "little")
        part = memoryview(tile)[:min(MIB, offset + size - start)]
        if os.pwrite(fd, part, start) != len(part):
            raise BenchError("the file system is full while the source is written")


def make_file(path, size):
    """A file of random data in which no two blocks of 4 KiB are equal."""
    make_sparse(path, size, [(0, size)])


def make_sparse(path, size, pieces):
    """A file of this apparent size with data in pieces (offset, length) only."""
    tile = _tile()
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, length in pieces:
            _write_piece(file.fileno(), tile, offset, length)


def make_tree(root, files):
    """A tree of 4 KiB files, 100 in each directory, with different modes and times."""
    tile = _tile()
    os.mkdir(root)
    for number in range(files):
        directory = os.path.join(root, f"d{number // TREE_DIRECTORY:03}")
        if number % TREE_DIRECTORY == 0:
            os.mkdir(directory)
        start = number % (MIB // BLOCK) * BLOCK
        tile[start:start + 8] = number.to_bytes(8, "little")
        path = os.path.join(directory, f"f{number:05}")
        with open(path, "wb") as file:
            file.write(tile[start:start + BLOCK])
        os.chmod(path, TREE_MODES[number % len(TREE_MODES)])
        os.utime(path, ns=(0, (TREE_TIME + number) * 10**9 + number))
    for directory in range(-(-files // TREE_DIRECTORY)):
        os.utime(os.path.join(root, f"d{directory:03}"), (0, TREE_TIME - directory))
    os.utime(root, (0, TREE_TIME))  # rsync leaves times alone that differ by less than a second


def data_of(fd, size):
    """Where the file has data: pairs (offset, end)."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            return
        end = os.lseek(fd, offset, os.SEEK_HOLE)
        yield offset, end
        offset = end


def merged(ranges):
    """The union of ranges (offset, end), in order."""
    union = []
    for start, end in sorted(ranges):
        if union and start <= union[-1][1]:
            union[-1][1] = max(end, union[-1][1])
        else:
            union.append([start, end])
    return union


def warm(path):
    """Reads a file's data, or every file of a tree, into the page cache."""
    if os.path.islink(path):
        return
    if os.path.isdir(path):
        for directory, _, names in os.walk(path):
            for name in names:
                warm(os.path.join(directory, name))
        return
    with open(path, "rb", buffering=0) as file:
        for start, end in data_of(file.fileno(), os.fstat(file.fileno()).st_size):
            for offset in range(start, end, MIB):
                os.preadv(file.fileno(), [_buffers[0]], offset)


def check_range(source, copy, start, end, name):
    """Bytes start..end of two descriptors are equal; source None: the copy's are zero."""
    zeros = bytes(MIB)
    for offset in range(start, end, MIB):
        length = min(MIB, end - offset)
        got = os.preadv(copy, [memoryview(_buffers[1])[:length]], offset)
        if source is None:
            equal = _buffers[1][:length] == zeros[:length]
        else:
            equal = (os.preadv(source, [memoryview(_buffers[0])[:length]], offset) == length
                     and _buffers[0][:length] == _buffers[1][:length])
        if got != length or not equal:
            raise BenchError(f"{name} is not a correct copy: it differs between the bytes "
                             f"{offset} and {offset + length}")


def check_file(source, copy, sparse=False):
    """Sizes and all bytes are equal; sparse: and the copy has at most twice the blocks."""
    with open(source, "rb", buffering=0) as first, open(copy, "rb", buffering=0) as second:
        have, got = os.fstat(first.fileno()), os.fstat(second.fileno())
        if have.st_size != got.st_size:
            raise BenchError(f"{copy} is not a correct copy: it has {got.st_size} bytes instead "
                             f"of {have.st_size}")
        ranges = merged([*data_of(first.fileno(), have.st_size),
                         *data_of(second.fileno(), got.st_size)])
        for start, end in ranges:
            check_range(first.fileno(), second.fileno(), start, end, copy)
    if sparse and got.st_blocks > 2 * have.st_blocks:
        raise BenchError(f"{copy} is not sparse: it has {got.st_blocks} blocks, its source "
                         f"{have.st_blocks}")


def check_tagged(path, tag, block, expected):
    """So many blocks of a file consist of nothing but this tag, give or take one; other blocks
    have none of it."""
    whole, pieces = tag * (block // len(tag)), 0
    with open(path, "rb") as file:
        while piece := file.read(block):
            pieces += piece == whole
            if piece != whole and tag in piece:
                raise BenchError(f"{path} has half a block of what was written")
    if abs(pieces - expected) > 1:
        raise BenchError(f"{path} has {pieces} of the {expected} blocks that were written")


def check_ranges(source, copy, ranges, size):
    """The copy has the source's bytes in these ranges (offset, end), and zeros elsewhere."""
    with open(source, "rb", buffering=0) as first, open(copy, "rb", buffering=0) as second:
        if os.fstat(second.fileno()).st_size != size:
            raise BenchError(f"{copy} has not {size} bytes any more")
        position = 0
        for start, end in merged(ranges):
            check_range(None, second.fileno(), position, start, copy)
            check_range(first.fileno(), second.fileno(), start, end, copy)
            position = end
        check_range(None, second.fileno(), position, size, copy)


def check_tree(source, copy, attributes):
    """Names, types, modes, contents and targets of links are equal; attributes: owners and times,
    too."""
    expected, found = _listing(source, attributes), _listing(copy, attributes)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise BenchError(f"{copy} is not a correct copy: {name} is {found.get(name)} (type and "
                             "mode, size, target, owner, group, mtime) instead of "
                             f"{expected.get(name)}")
    for name, (mode, size, *_) in expected.items():
        if size and stat.S_ISREG(mode):
            check_file(os.path.join(source, name), os.path.join(copy, name))


def check_names(source, copy):
    """Both have the same names in the same directories."""
    pairs = zip(_walk(source), _walk(copy))
    for (place, names), (other, found) in pairs:
        if (place, names) != (other, found):
            raise BenchError(f"{copy} is not a correct copy: {other} has {len(found)} names where "
                             f"{place} has {len(names)}, or others")


def _walk(root):
    """(relative path, names) of each directory, in order."""
    for directory, names, files in os.walk(root):
        names.sort()
        yield os.path.relpath(directory, root), sorted(names + files)


def _listing(root, attributes):
    """{relative name: (mode with type, size of a file, target of a link, and owner, group, mtime
    in ns)} of a whole tree."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files, "."]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
            more = (status.st_uid, status.st_gid, status.st_mtime_ns) if attributes else ()
            found[os.path.relpath(path, root)] = (status.st_mode, size, target, *more)
    return found
