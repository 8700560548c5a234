#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# How many requests a file costs. RELEASE is counted apart: nobody waits for it.
# shellcheck disable=SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr python3

files=200

# snapshot FILE: the counters of requests, "NAME COUNT" a line.
snapshot() {
	stats | python3 -c '
import json, sys
for name, count in sorted(json.load(sys.stdin)["requests"].items()):
    print(name, count)' >"$1"
}

# asked COMMAND...: runs it; $released and $answered: requests a hundred files, $kinds: which.
asked() {
	snapshot "$RUN_DIR/before"
	"$@" >/dev/null
	snapshot "$RUN_DIR/after"
	# Our own question for the counters is one GETXATTR.
	kinds=$(join -a 2 -e 0 -o 2.1,1.2,2.2 "$RUN_DIR/before" "$RUN_DIR/after" |
		awk '$1 == "GETXATTR" { $3 -= 1 } $3 > $2 { print $1, $3 - $2 }')
	released=$(awk -v files=$files '/^RELEASE / { n += $2 } END { print int(100 * n / files) }' \
		<<<"$kinds")
	answered=$(awk -v files=$files '!/^(RELEASE|RELEASEDIR|FORGET) / { n += $2 }
		END { print int(100 * n / files) }' <<<"$kinds")
	echo "# ${*##*/}: $(tr '\n' ' ' <<<"$kinds")"
}

mkdir "$MNT/src"
for ((i = 0; i < files; i++)); do
	echo "content $i" >"$MNT/src/a-file-$i"
done
sync -f "$BACKING"

ls -l "$MNT/src" >/dev/null # attributes and ACLs are known now
asked cp -r "$MNT/src" "$MNT/r"
check "cp -r waits for at most 6.2 requests a file: $answered of 100 files" \
	between 300 "$answered" 620
check "and 2 RELEASE: $released" between 0 "$released" 202
check_not "no FLUSH" contains "$kinds" FLUSH
check "cp -r has copied all of it" diff -r "$BACKING/src" "$BACKING/r"

ls -l "$MNT/src" >/dev/null
asked cp -a "$MNT/src" "$MNT/a"
check "cp -a waits for at most 11.2 requests a file: $answered of 100 files" \
	between 500 "$answered" 1120
check "and 2 RELEASE: $released" between 0 "$released" 202
check_same_tree "cp -a has copied all of it" "$BACKING/src" "$BACKING/a"

find "$MNT/src" -ls >/dev/null
asked find "$MNT/src" -ls
check "find a second time asks for directories only: $answered of 100 files" between 0 "$answered" 10

sleep 1.1 # the next walk lists anew, and what it has read is good for a second from then
find "$MNT/src" -ls >/dev/null
asked find "$MNT/src" -ls
check_not "and lists none of them again" contains "$kinds" READDIR

check "a copy into a listed directory" setfattr -n user.arsync.copy -v "$MNT/src/tree" "$MNT/r"
check "shows at once" contains "$(ls "$MNT/src")" tree
check "what is made there" touch "$MNT/src/made"
check "does, too" contains "$(ls "$MNT/src")" made
check "what is removed there" rm "$MNT/src/made"
check_not "does not" contains "$(ls "$MNT/src")" made
touch "$BACKING/src/behind"
sleep 1.1
check "what was made behind the mount shows after a second" contains "$(ls "$MNT/src")" behind

# parent_of DIRECTORY: the inode number that it lists for "..". ls(1) would ask for attributes.
parent_of() {
	python3 - "$1" <<'END'
import ctypes, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
libc = ctypes.CDLL(None)
libc.getdents64.restype = ctypes.c_ssize_t
buffer = ctypes.create_string_buffer(4096)
while (n := libc.getdents64(fd, buffer, ctypes.c_size_t(4096))) > 0:
    at = 0
    while at < n:
        ino, _, length = struct.unpack_from("<QqH", buffer, at)
        if buffer.raw[at + 19 : at + length].split(b"\0")[0] == b"..":
            print(ino)
        at += length
END
}
mkdir -p "$MNT/from/moved" "$MNT/to"
sleep 0.2 # until then the kernel keeps no listings of them
check_equal "a directory" "$(stat -c %i "$MNT/from")" "$(parent_of "$MNT/from/moved")"
check "that is moved" mv "$MNT/from/moved" "$MNT/to/moved"
check_equal "lists its new parent" "$(stat -c %i "$MNT/to")" "$(parent_of "$MNT/to/moved")"
