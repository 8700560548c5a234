#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What is read before it is asked for: files that are not in memory, of directories whose files are opened.
# shellcheck disable=SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr python3

files=120
mkdir -p "$MNT/tree"/{a,b}
for ((i = 0; i < files; i++)); do
	echo "content $i" | tee "$MNT/tree/a/$i" >"$MNT/tree/b/$i"
done

# make_cold: nothing of the files stays in page cache
make_cold() {
	sync -f "$BACKING"
	find "$BACKING/tree" -type f -print0 | python3 -c '
import os, sys
for path in sys.stdin.buffer.read().split(b"\0")[:-1]:
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)'
}

read_ahead() { stats | sed -n 's/.*"read_ahead":\([0-9]*\).*/\1/p'; }
has_read() { (($(read_ahead) >= $1)); }

check_equal "nothing yet" 0 "$(read_ahead)"
make_cold
check "everything is listed" ls -lR "$MNT/tree"
check_equal "who lists reads nothing" 0 "$(read_ahead)"

sleep 1.1 # until then the kernel has the listings, and does not ask

# In the order of their inode numbers, as they were made
check "a file is opened" cat "$MNT/tree/a/0"
check "others are read ahead" wait_until 5 has_read 60
check "but not all" between 60 "$(read_ahead)" 70
check "a file in the middle is opened" cat "$MNT/tree/a/60"
check "the others are, too" wait_until 5 has_read 118
before=$(read_ahead)
check "the next directory is listed" ls -l "$MNT/tree/b"
check "its files are read ahead" wait_until 5 has_read $((before + 60))

sleep 1.1 # the next listing has to be cold by itself
find "$BACKING/tree" -type f -exec cat {} + >/dev/null
before=$(read_ahead)
check "read again" diff -r "$MNT/tree/a" "$MNT/tree/b"
check_equal "what is in memory is not read ahead" "$before" "$(read_ahead)"

make_cold
sleep 1.1
check "a copy" cp -r "$MNT/tree" "$MNT/copy"
check "is complete" diff -r "$BACKING/tree" "$BACKING/copy"
check "with files read ahead" has_read $((before + 100))

mount_stop
mount_start --readahead_tree=never
make_cold
check "a copy without it" cp -r "$MNT/tree" "$MNT/copy2"
check_equal "nothing is read ahead" 0 "$(read_ahead)"
