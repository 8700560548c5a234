#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What open_by_handle_at(2) makes of handles that are older than the mount, so that the kernel knows nothing
# of the files.
# shellcheck disable=SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need python3

handles=$(dirname "$(realpath "$0")")/handles.py
list=$RUN_DIR/handles

# again: another arsyncfs at the same place
again() {
	mount_stop
	mount_start
}

# opened: what the handles lead to, one a line
opened() {
	python3 "$handles" open "$list" "$MNT"
}

# number FILE: of its inode
number() {
	stat -c %i "$1"
}

mkdir -p "$MNT/dir/deeper/deepest"
echo text >"$MNT/file"
echo text >"$MNT/dir/deeper/file"
ln -s file "$MNT/link"
mkfifo "$MNT/dir/fifo"
files=("$MNT/file" "$MNT/dir/deeper/file" "$MNT/link" "$MNT/dir/fifo")
check "handles are taken" python3 "$handles" take "$list" "${files[@]}"
expected=$(for file in "${files[@]}"; do number "$file"; done)
check_equal "files, while the kernel knows them" "$expected" "$(opened)"
again
check_equal "files, by handle" "$expected" "$(opened)"
check_equal "and nothing else is known" "text" "$(cat "$MNT/dir/deeper/file")"

check "handles of directories" python3 "$handles" take "$list" "$MNT" "$MNT/dir/deeper/deepest" "$MNT/dir"
expected="$(number "$MNT") $MNT
$(number "$MNT/dir/deeper/deepest") $MNT/dir/deeper/deepest
$(number "$MNT/dir") $MNT/dir"
again
check_equal "directories, and where they are" "$expected" "$(opened)"
mv "$MNT/dir/deeper" "$MNT/moved"
again
check_equal "directories that were moved" "${expected/dir\/deeper\/deepest/moved\/deepest}" "$(opened)"

# What is gone, and what takes its place
check "handles of what will be gone" python3 "$handles" take "$list" "$MNT/file" "$MNT/moved/deepest" "$MNT/moved/file"
ln "$MNT/file" "$MNT/hard link"
rm "$MNT/file" "$MNT/moved/file"
rmdir "$MNT/moved/deepest"
mkdir "$MNT/moved/deepest"
for i in {1..50}; do
	echo "$i" >"$MNT/new $i"
done
expected="$(number "$MNT/hard link")
Stale file handle
Stale file handle"
again
check_equal "deleted files, and one that has another name" "$expected" "$(opened)"

# Directories outside of the backing directory are not shown
mkdir -p "$SCRATCH/secret/inner"
mkdir "$RUN_DIR/other"
check "another mount, of the directory elsewhere" "$ARSYNCFS" "$SCRATCH" "$RUN_DIR/other"
check "its handles" python3 "$handles" take "$list" "$RUN_DIR/other/secret/inner"
check "it is unmounted" umount "$RUN_DIR/other"
# Nor does the kernel get to see any of them on its way up.
listings() { stats | grep -oE '"READDIR(PLUS)?":[0-9]+'; }
before=$(listings)
check_equal "a directory elsewhere" "Stale file handle" "$(opened)"
check_equal "and no directory was listed" "$before" "$(listings)"
