#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a power cut leaves, at random instants of copies, is what was promised; and the next mount removes what
# was staged, and nothing else.
#
# The file system is in a file on an XFS, and mounted through a loop device. A clone of that file is what
# is on the disk at one instant: cloning keeps writers out, so that it has every write that was finished, and
# none in part. That is a disk without a cache of its own that may be lost.
#
# POWER_LIVES says how many times everything is begun anew (default 2), POWER_CUTS how many cuts there are in
# each life (default 5).
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need mkfs.xfs python3 setfattr

power() { python3 "$(dirname "$0")/power.py" "$@"; }
image_of() { echo "$RUN_DIR/host/$1.img"; }

# The host file system, in memory: a flush of the disk below takes no time there.
mkdir "$RUN_DIR/memory" "$RUN_DIR/host" "$RUN_DIR/disk"
mount -t tmpfs -o size=3G tmpfs "$RUN_DIR/memory" || skip "cannot mount a tmpfs here"
host=$RUN_DIR/memory/host.img
truncate -s 3G "$host"
mkfs.xfs -q -m reflink=1 "$host" || skip "mkfs.xfs cannot make what is needed"
mount -o loop "$host" "$RUN_DIR/host" || skip "cannot mount XFS through a loop device here"

check "the mount of this test is not needed" mount_stop
export BACKING=$RUN_DIR/disk/backing STATE_DIRECTORY=$RUN_DIR/disk/state

# The disk at the beginning of each life
fs_make disk "$FSTYPE" 512M
mv "$RUN_DIR/disk.img" "$(image_of first)"
disk_mount() { mount -t "$FSTYPE" -o loop "$(image_of "$1")" "$RUN_DIR/disk"; }
clone() { cp --reflink=always "$(image_of "$1")" "$(image_of "$2")"; }
disk_mount first || skip "cannot mount $FSTYPE through a loop device on XFS here"
mkdir "$BACKING" "$STATE_DIRECTORY"
check "the sources are made" power make "$BACKING"
umount "$RUN_DIR/disk"
clone first try || skip "files cannot be cloned on XFS here"

# After a power cut the system has been started anew.
boot_id=/proc/sys/kernel/random/boot_id
new_boot() {
	cat /proc/sys/kernel/random/uuid >"$RUN_DIR/boot_id"
	mount --bind "$RUN_DIR/boot_id" "$boot_id"
}

fsck_of() {
	case $FSTYPE in
	ext4) e2fsck -fn "$1" ;;
	xfs) xfs_repair -n "$1" ;;
	btrfs) btrfs check --readonly "$1" ;;
	esac
}

# live: copies, and cuts the power POWER_CUTS times. Leaves cutN.img, and the log before and after.
live() {
	local driver i
	clone first live
	disk_mount live
	# shellcheck disable=SC2119 # no options of its own
	mount_start || exit
	: >"$RUN_DIR/log"
	power drive "$BACKING" "$MNT" "$RUN_DIR/log" 2>"$RUN_DIR/driver" &
	driver=$!
	sleep 0.3
	for ((i = 0; i < ${POWER_CUTS:-5}; i++)); do
		sleep "0.$((RANDOM % 900 + 100))"
		cp "$RUN_DIR/log" "$RUN_DIR/before$i"
		clone live "cut$i"
		cp "$RUN_DIR/log" "$RUN_DIR/after$i"
	done
	check "copies are made all the time" kill "$driver"
	wait "$driver" 2>/dev/null
	[[ ! -s $RUN_DIR/driver ]] || fail "no copy fails" "$(cat "$RUN_DIR/driver")"
	wait_until 20 jobs_ended
	mount_stop
	umount "$RUN_DIR/disk"
	rm "$(image_of live)"
}

# Without fsync= a note may be younger than what it tells of.
nothing_staged() {
	local left
	left=$(find "$BACKING" -path "$BACKING/new-never" -prune -o -name '.arsync-*' \
		! -name .arsync-0123456789abcdef ! -name .arsync-fedcba9876543210 -print)
	[[ -z $left ]] || {
		echo "$left"
		return 1
	}
}

# after_cut N: what there is, and what the next mount makes of it
after_cut() {
	local before n
	disk_mount "cut$1" || {
		fail "cut $1: it can be mounted"
		return
	}
	n=$(find "$BACKING" -name '.arsync-*' | wc -l)
	check "cut $1: what is there is whole ($(wc -l <"$RUN_DIR/before$1") steps, $((n - 16)) staged)" \
		power check "$BACKING" "$RUN_DIR/before$1" "$RUN_DIR/after$1"
	before=$(power list "$BACKING")
	new_boot
	# shellcheck disable=SC2119 # no options of its own
	mount_start || exit
	wait_until 5 nothing_staged >/dev/null
	check "cut $1: what was staged is removed" nothing_staged
	check "cut $1: an unmount" mount_stop
	umount "$boot_id"
	check_equal "cut $1: and nothing else" "$before" "$(power list "$BACKING")"
	umount "$RUN_DIR/disk"
	check "cut $1: the file system is in order" fsck_of "$(image_of "cut$1")"
	rm "$(image_of "cut$1")"
}

for ((life = 0; life < ${POWER_LIVES:-2}; life++)); do
	live
	for ((cut = 0; cut < ${POWER_CUTS:-5}; cut++)); do after_cut "$cut"; done
done
