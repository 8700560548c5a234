# SPDX-License-Identifier: MIT
"""Trees that look like real ones: copies of those that are on this machine, or generated.

What is generated is the same each time: sizes and files in a directory follow quantiles that were
counted in real trees, and chance (with a fixed seed) only says which file gets which.
"""
import dataclasses
import functools
import os
import random
import stat

from .base import KIB, MIB, format_size, run
from .data import SEED, TREE_TIME

LIKENESS = 0.75  # a real tree is taken if its number of files is between this and 1 / this
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DANGLING = 50  # one of so many links leads nowhere


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a tree looks like. sizes and crowds: ((quantile, value), ...) from 0 to 1."""
    real: str  # where such a tree often is
    files: int
    directories: int
    links: int
    sizes: tuple  # bytes of a file
    crowds: tuple  # files in a directory
    depths: tuple  # directories at each depth, from 1
    name: int  # mean length of a name


# Counted on Debian 12.
INCLUDE = Shape(
    "/usr/include", 8000, 840, 30,
    ((0, 20), (.01, 159), (.05, 669), (.1, 1031), (.25, 1900), (.5, 4910), (.75, 16066),
     (.9, 36807), (.95, 57530), (.99, 109792), (.999, 262081), (1, 2 * MIB)),
    ((0, 0), (.25, .2), (.5, 1), (.75, 7), (.9, 25), (.95, 38), (.99, 137), (1, 544)),
    (80, 76, 76, 63, 63, 194, 171, 57, 57), 11)
SHARE = Shape(
    "/usr/share", 57_000, 4500, 4100,
    ((0, 0), (.01, 50), (.05, 226), (.1, 389), (.25, 746), (.5, 1444), (.75, 3783), (.9, 17597),
     (.95, 38380), (.99, 169318), (.999, 968990), (1, 5_500_000)),
    ((0, 0), (.1, .2), (.25, 1), (.5, 2), (.75, 4), (.9, 16), (.95, 34), (.99, 179), (.999, 604),
     (1, 6000)),
    (122, 1237, 758, 897, 817, 398, 171, 75, 37, 8), 25)


def make_like(path, shape, files):
    """A tree of this shape with about so many files; returns a sentence about it."""
    found = _count(shape.real)
    if files == shape.files and LIKENESS < found[0] / files < 1 / LIKENESS:
        run("cp", "-a", shape.real, path, timeout=600)
        return _sentence(f"a copy of {shape.real}", found)
    generate(path, shape, files)
    return _sentence(f"generated like {shape.real}", _count(path))


def _sentence(what, found):
    files, directories, links, size = found
    return (f"the tree is {what}: {files} files of {format_size(size)} in all, {directories} "
            f"directories, {links} symbolic links")


def _count(path):
    """Files, directories, symbolic links and bytes of a tree."""
    files = directories = links = size = 0
    for directory, names, others in os.walk(path):
        directories += 1
        for name in [*names, *others]:
            status = os.lstat(os.path.join(directory, name))
            links += stat.S_ISLNK(status.st_mode)
            if stat.S_ISREG(status.st_mode):
                files, size = files + 1, size + status.st_size
    return files, directories, links, size


def quantile(table, fraction):
    """The value at a fraction: between two entries it grows by the same factor everywhere."""
    for (low, first), (high, last) in zip(table, table[1:]):
        if fraction <= high:
            part = (fraction - low) / (high - low)
            return (first + 1) ** (1 - part) * (last + 1) ** part - 1
    return table[-1][1]


def spread_out(table, number, chance):
    """That many values with the distribution of the table, in random order."""
    values = [quantile(table, (i + 0.5) / number) for i in range(number)]
    chance.shuffle(values)
    return values


@functools.lru_cache(maxsize=1)
def _text():
    """2 MiB of lines."""
    chance = random.Random(SEED)
    words = ["".join(chance.choices(LETTERS, k=chance.randint(2, 9))) for _ in range(2000)]
    lines, size = [], 0
    while size < 2 * MIB:
        lines.append(" ".join(chance.choices(words, k=chance.randint(3, 14))))
        size += len(lines[-1]) + 1
    return "\n".join(lines).encode()


def _write_text(path, number, size, chance):
    """A text file of this size; number: of the file, so that no two begin alike."""
    start = chance.randrange(MIB)
    with open(path, "wb") as file:
        file.write(f"{number:x} ".encode()[:size])
        while size > file.tell():
            file.write(_text()[start:start + min(MIB, size - file.tell())])


def _names(chance, shape):
    """Names for ever, no two equal."""
    number = 0
    while True:
        length = max(1, int(chance.gauss(shape.name, shape.name / 3)) - 6)
        yield "".join(chance.choices(LETTERS, k=length)) + f"-{number:x}"
        number += 1


def _make_directories(root, shape, number, chance, names):
    """At each depth as many as the shape has there; returns all, the root first."""
    os.mkdir(root)
    every, above = [root], [root]
    for at_depth in shape.depths:
        made = []
        for _ in range(max(1, at_depth * number // sum(shape.depths))):
            made.append(os.path.join(chance.choice(above), next(names)))
            os.mkdir(made[-1])
        every += made
        above = made
    return every


def generate(root, shape, files):
    """A tree of this shape, smaller or larger in all its numbers."""
    chance = random.Random(SEED)
    names = _names(chance, shape)
    directories = _make_directories(root, shape, shape.directories * files // shape.files, chance,
                                    names)
    crowds = spread_out(shape.crowds, len(directories), chance)
    paths = []
    homes = chance.choices(directories, crowds, k=files)
    for number, size in enumerate(spread_out(shape.sizes, files, chance)):
        path = os.path.join(homes[number], next(names) + chance.choice((".h", ".txt", "", ".xml")))
        _write_text(path, number, int(size), chance)
        os.chmod(path, chance.choices((0o644, 0o755, 0o600), (90, 9, 1))[0])
        paths.append(path)
    _make_links(paths, max(1, shape.links * files // shape.files), chance, names)
    for number, path in enumerate([*paths, *reversed(directories)]):
        os.utime(path, ns=(0, (TREE_TIME + number) * 10**9 + number))


def _make_links(paths, number, chance, names):
    """Relative symbolic links beside files, to other files."""
    for count in range(number):
        home = os.path.dirname(chance.choice(paths))
        target = os.path.relpath(chance.choice(paths), home)
        path = os.path.join(home, next(names))
        os.symlink(target + "-gone" * (count % DANGLING == 0), path)
        os.utime(path, (0, TREE_TIME), follow_symlinks=False)


def make_flat(root, files, size):
    """One directory with files of one size."""
    chance = random.Random(SEED)
    os.mkdir(root)
    for number in range(files):
        _write_text(os.path.join(root, f"f{number:07}"), number, size, chance)
    _age_directories(root)


def make_mix(root, total):
    """Files of 64 KiB to 1 MiB, 100 in a directory, about that many bytes in all."""
    chance = random.Random(SEED)
    os.mkdir(root)
    number = 0
    while total > 0:
        home = os.path.join(root, f"d{number // 100:04}")
        if number % 100 == 0:
            os.mkdir(home)
        size = min(total, chance.randint(64 * KIB, MIB))
        _write_text(os.path.join(home, f"f{number:06}"), number, max(size, 64 * KIB), chance)
        total -= size
        number += 1
    _age_directories(root)


def _age_directories(root):
    """Gives all directories old times: rsync leaves those that differ by less than a second."""
    for directory, _, _ in os.walk(root):
        os.utime(directory, (0, TREE_TIME))


def make_empty(root, files):
    """Empty files, 1,000 in a directory."""
    os.mkdir(root)
    for number in range(files):
        home = os.path.join(root, f"d{number // 1000:04}")
        if number % 1000 == 0:
            os.mkdir(home)
        os.mknod(os.path.join(home, f"f{number:07}"), stat.S_IFREG | 0o644)


def make_repository(root):
    """Everything in a tree becomes a git repository with one commit."""
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    run("git", "init", "-q", root)
    run("git", "-C", root, "-c", "core.autocrlf=false", "add", "-A", timeout=600)
    run("git", "-C", root, *who, "-c", "gc.auto=0", "commit", "-q", "-m", "all", timeout=600)


def make_project(root, sources):
    """A C program of so many sources and a build.ninja; returns what the program prints."""
    os.makedirs(os.path.join(root, "src"))
    os.mkdir(os.path.join(root, "include"))
    for number in range(sources):
        _write(os.path.join(root, "include", f"m{number}.h"),
               f"#pragma once\n#include <stdint.h>\nuint64_t m{number}(uint64_t x);\n"
               f"struct s{number} {{ uint64_t a, b[{number % 7 + 1}]; char name[16]; }};\n")
        _write(os.path.join(root, "src", f"m{number}.c"), _source(number, sources))
    calls = "".join(f"\tx += m{number}(1);\n" for number in range(sources))
    _write(os.path.join(root, "src", "main.c"),
           "#include <inttypes.h>\n#include <stdio.h>\n"
           + "".join(f'#include "m{number}.h"\n' for number in range(sources))
           + f'int main(void)\n{{\n\tuint64_t x = 0;\n{calls}\tprintf("%" PRIu64 "\\n", x);\n'
           "\treturn 0;\n}\n")
    objects = [f"m{number}" for number in range(sources)] + ["main"]
    _write(os.path.join(root, "build.ninja"),
           "rule cc\n  command = cc -O1 -g -I include -MD -MF $out.d -c $in -o $out\n"
           "  depfile = $out.d\n  deps = gcc\nrule link\n  command = cc $in -o $out\n"
           + "".join(f"build out/{name}.o: cc src/{name}.c\n" for name in objects)
           + f"build out/program: link {' '.join(f'out/{name}.o' for name in objects)}\n")
    return str(sum(_result(number) for number in range(sources)))


def _source(number, sources):
    """A module: thirty functions, ten headers of its own, some of the system's."""
    headers = sorted({number} | {(number * 7 + i * 13) % sources for i in range(10)})
    lines = [f"#include <{name}.h>" for name in
             ("errno", "fcntl", "stdio", "stdlib", "string", "unistd", "sys/stat", "pthread")]
    lines += [f'#include "m{header}.h"' for header in headers]
    for part in range(30):
        lines += [f"static uint64_t f{part}(uint64_t x)", "{",
                  f"\tstruct s{number} s = {{ .a = x + {part} }};", "\tchar text[64];", "",
                  f'\tsnprintf(text, sizeof(text), "%d-%d", {number}, {part});',
                  "\tmemcpy(s.name, text, sizeof(s.name));",
                  "\tfor (size_t i = 0; i < sizeof(s.b) / sizeof(s.b[0]); i++)",
                  "\t\ts.b[i] = s.a * (i + 1);",
                  f"\treturn s.b[0] + (uint64_t)(s.name[0] != text[0]) + {part};", "}", ""]
    calls = " + ".join(f"f{part}(x)" for part in range(30))
    return "\n".join([*lines, f"uint64_t m{number}(uint64_t x)", "{",
                      f"\treturn {calls} + {number};", "}", ""])


def _result(number):
    """What m{number}(1) returns."""
    return sum(1 + 2 * part for part in range(30)) + number


def _write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
