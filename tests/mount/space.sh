#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Blocks that a file system keeps for root: users get none of them through the mount either.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need mkfs.ext4 python3 setpriv

# A file system for both that keeps a quarter for root, smaller than what is written below.
image=$RUN_DIR/reserved.img
truncate -s 64M "$image"
mkfs.ext4 -q -F -m 25 "$image"
mkdir "$BACKING/small"
mount -o loop "$image" "$BACKING/small" || skip "cannot mount a loop device here"
chmod 777 "$BACKING/small"

as_user() {
	setpriv --reuid=4321 --regid=4322 --clear-groups -- "$@"
}

# left: whether users can write some more, and whether root can (of blocks of 1 KiB)
left() {
	local all users
	read -r all users < <(stat -f -c '%f %a' "$BACKING/small")
	echo "users $((users > 1000)), root $((all > 10000))"
}

# removes FILE...: and waits until their space is free
removes() {
	rm -f "$@"
	wait_until 5 is_empty || fail "space is free again" "$(stat -f "$BACKING/small")"
}

is_empty() {
	[[ $(stat -f -c %a "$BACKING/small") -gt 37000 ]]
}

# fills DESCRIPTION COMMAND...: a user's COMMAND, in the mount, fails for space, and leaves root some
fills() {
	local description=$1
	shift
	check_fails "$description" "No space left" as_user "$@"
	check_equal "$description: what is left" "users 0, root 1" "$(left)"
}

file=$MNT/small/file
fills "write" dd if=/dev/zero of="$file" bs=100k count=1000
check "of root there may be more" dd if=/dev/zero of="$MNT/small/roots" bs=1M count=4 conv=fsync
removes "$MNT/small/roots" "$file"
# shellcheck disable=SC2016 # expanded by that shell
fills "append" bash -c 'head -c 100M /dev/zero >>"$1"' - "$file"
removes "$file"
fills "direct write" dd if=/dev/zero of="$file" bs=1M count=100 oflag=direct
removes "$file"
# Root has it open for reading, then it is the user's.
: >"$file"
chown 4321 "$file"
: <"$file"
fills "write to a file that root has opened before" dd if=/dev/zero of="$file" bs=100k count=1000
removes "$file"
# Root has it open, then a user has: each writes as itself.
: >"$file"
chown 4321 "$file"
exec 3<"$file"
fills "write to a file that root has open" dd if=/dev/zero of="$file" bs=100k count=1000
exec 3<&-
removes "$file"
: >"$file"
chown 4321 "$file"
# shellcheck disable=SC2016 # expanded by that shell
coproc reader { as_user bash -c 'exec 3<"$1"; echo; read -r' - "$file"; }
# shellcheck disable=SC2154 # coproc sets it
read -r -u "${reader[0]}"
fills "write beside it" dd if=/dev/zero of="$MNT/small/beside" bs=100k count=1000
check "root writes to a file that a user has open" dd if=/dev/zero of="$file" bs=1M count=4 conv=notrunc,fsync
echo >&"${reader[1]}"
# shellcheck disable=SC2154
wait "$reader_PID"
removes "$file" "$MNT/small/beside"
check_fails "fallocate" "No space left" as_user fallocate -l 60M "$file"
removes "$file"
# What it has done before it says no, it shows.
sizes=$(python3 - "$file" "$BACKING/small/file" 2>&1 <<'END'
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.fstat(fd)
try:
    os.posix_fallocate(fd, 0, 1 << 30)
except OSError as error:
    print(error.strerror, end=", ")
shown, there = os.fstat(fd).st_size, os.stat(sys.argv[2]).st_size
print("the size shows" if shown == there else "%d bytes of %d" % (shown, there))
END
)
check_equal "fallocate of too much" "No space left on device, the size shows" "$sizes"
removes "$file"
check "fallocate of root" fallocate -l 50M "$file"
removes "$file"
head -c 30M /dev/zero >"$BACKING/small/source"
# shellcheck disable=SC2016
fills "copy_file_range" bash -c 'cp --reflink=never "$1/source" "$1/1" && cp "$1/source" "$1/2"' - "$MNT/small"
