#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Access times with the options of mount(8), beside the raw file system mounted with the same ones.
# shellcheck disable=SC2034,SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need python3 mount

# prepare DIRECTORY TIME: what use() reads, with this access time
prepare() {
	mkdir -p "$1/d"
	echo text >"$1/f"
	echo text >"$1/mapped"
	: >"$1/d/entry"
	ln -sfn target "$1/link"
	touch -h -a -d "$2" "$1/f" "$1/mapped" "$1/link" "$1/d"
}

# use DIRECTORY: reads everything in all ways, tells which access times moved
use() {
	python3 - "$1" <<'END'
import mmap, os, sys
os.chdir(sys.argv[1])
names = ["f", "mapped", "d", "link"]
def times():
    return {name: os.lstat(name).st_atime_ns for name in names}
before = times()
os.readlink("link")
os.listdir("d")
fd = os.open("f", os.O_RDONLY)
os.read(fd, 2)
os.close(fd)
fd = os.open("mapped", os.O_RDONLY)
with mmap.mmap(fd, 4, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
    mapped[0]
os.close(fd)
after = times()
print(" ".join(name for name in names if before[name] != after[name]) or "none")
END
}

# The mount that the test was started with is another one's.
mount_stop || exit
mkdir -p "$RUN_DIR/raw"
for options in noatime nodiratime strictatime relatime strictatime,nodiratime noatime,nodiratime; do
	for age in "3 days ago" "now + 1 minute"; do
		mkdir -p "$SCRATCH/$options" "$BACKING/$options"
		prepare "$SCRATCH/$options" "$age"
		prepare "$BACKING/$options" "$age"
		mount --bind "$SCRATCH/$options" "$RUN_DIR/raw"
		mount -o "remount,bind,$options" "$RUN_DIR/raw"
		expected=$(use "$RUN_DIR/raw")
		umount "$RUN_DIR/raw"
		mount_start "-o$options" || exit
		got=$(use "$MNT/$options")
		check_equal "$options, last read $age: these move: $expected" "$expected" "$got"
		mount_stop || exit
	done
done

# Every reading is to be seen, also of what the kernel could remember.
mount_start -ostrictatime || exit
moves=$(python3 - "$MNT/strictatime/link" <<'END'
import os, sys, time
times = []
for i in range(3):
    time.sleep(0.02)
    os.readlink(sys.argv[1])
    times.append(os.lstat(sys.argv[1]).st_atime_ns)
print(len(set(times)))
END
)
check_equal "strictatime: each of three readings of a link" 3 "$moves"
mount_stop || exit

# What is mounted below BACKING is in the private mount, too, and keeps its identity.
mkdir -p "$BACKING/below"
mount -t tmpfs none "$BACKING/below"
prepare "$BACKING/below" "3 days ago"
mount_start -onoatime || exit
check_equal "noatime on a mount below: these move" none "$(use "$MNT/below")"
check "writing there" cp "$MNT/below/f" "$MNT/below/copy"
check "it is seen there" cmp "$BACKING/below/f" "$BACKING/below/copy"
check_equal "mounts below have their own inode numbers" 2 \
	"$(stat -c %i "$MNT" "$MNT/below" | sort -u | wc -l)"
mount_stop || exit
umount "$BACKING/below"

# The mount point may be BACKING itself.
MNT=$BACKING mount_start -onoatime || exit
check "a mount over its own backing directory" test -e "$BACKING/noatime/f"
check_equal "and noatime there" none "$(use "$BACKING/noatime/")"
MNT=$BACKING mount_stop
