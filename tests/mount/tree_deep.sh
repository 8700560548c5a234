#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Trees deeper than any path is long: 4,000 directories, and names that make a path of more than PATH_MAX.
# Made, read and copied through the mount, by the attribute and by `arsync copy`.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need python3 setfattr

# deep make|list DIRECTORY DEPTH NAME_LENGTH: descriptor by descriptor, for there is no path.
# list: name, mode, nanosecond mtime and contents of everything, from above.
deep() {
	python3 - "$@" <<'PYTHON'
import os, stat, sys

what, root, depth, length = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def put(at, name, contents):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640, dir_fd=at)
    os.write(fd, contents)
    os.close(fd)


def make():
    os.mkdir(root)
    at = os.open(root, DIRECTORY)
    put(at, "first", b"first")
    for i in range(depth):
        os.mkdir("d" * length, 0o750, dir_fd=at)
        below = os.open("d" * length, DIRECTORY, dir_fd=at)
        if i % 500 == 499:
            put(below, "file%d" % i, b"%d" % i)
            os.symlink("to%d" % i, "link", dir_fd=below)
        os.close(at)
        at = below
    put(at, "last", os.urandom(700000))
    os.close(at)


def show(at, name):
    st = os.stat(name, dir_fd=at, follow_symlinks=False)
    contents = ""
    if stat.S_ISREG(st.st_mode):
        fd = os.open(name, os.O_RDONLY, dir_fd=at)
        contents = hash(os.pread(fd, 1 << 20, 0))
        os.close(fd)
    elif stat.S_ISLNK(st.st_mode):
        contents = os.readlink(name, dir_fd=at)
    print(name[:10], oct(st.st_mode), st.st_mtime_ns, contents)
    return st


def list_all():
    at = os.open(root, DIRECTORY)
    levels = 0
    while at >= 0:
        next_at = -1
        for name in sorted(os.listdir(at)):
            if stat.S_ISDIR(show(at, name).st_mode):
                next_at = os.open(name, DIRECTORY, dir_fd=at)
        os.close(at)
        at = next_at
        levels += 1
    print(levels)


make() if what == "make" else list_all()
PYTHON
}
export PYTHONHASHSEED=1 # the same hashes each time

cd "$MNT" || exit
for tree in "4000 1" "30 250"; do
	read -r depth length <<<"$tree"
	rm -rf ./*
	check "$tree: made through the mount" deep make tree "$depth" "$length"
	expected=$(deep list "$BACKING/tree" "$depth" "$length")
	check_equal "$tree: all of it" $((depth + 1)) "${expected##*$'\n'}"
	check_equal "$tree: read through the mount" "$expected" "$(deep list tree "$depth" "$length")"
	check "$tree: setfattr" setfattr -n user.arsync.copy -v attribute tree
	check "$tree: arsync copy" "$ARSYNC" copy --verify tree mount
	check "$tree: arsync copy by itself" "$ARSYNC" copy --local tree local
	check "$tree: arsync copy outside" "$ARSYNC" copy "$BACKING/tree" "$SCRATCH/outside"
	check "$tree: merge" "$ARSYNC" copy -T --existing=merge tree mount
	check "$tree: replace" "$ARSYNC" copy -T --existing=replace tree attribute
	for copy in attribute mount local "$SCRATCH/outside"; do
		check_equal "$tree: ${copy##*/}" "$expected" "$(deep list "$copy" "$depth" "$length")"
	done
	rm -rf "$SCRATCH/outside"
	check_equal "$tree: nothing else is left" "attribute local mount tree" "$(find "$BACKING" -mindepth 1 -maxdepth 1 -printf '%P\n' | sort | tr '\n' ' ' | sed 's/ $//')"
done
