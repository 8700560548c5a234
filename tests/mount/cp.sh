#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# cp(1) inside the mount: right bytes, kept holes, and copied the way that is expected here.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need cmp getfattr

cd "$MNT" || exit
mkdir in out "$SCRATCH/out"

# identical DESCRIPTION A B: through the mount, and in the backing directory.
identical() {
	check "$1" cmp "$2" "$3"
	check "$1, seen in the backing directory" cmp "$BACKING/$2" "$BACKING/$3"
}

# copied_as_expected DESCRIPTION BYTES WAY BEFORE: since BEFORE = $(copied_bytes WAY)
copied_as_expected() {
	local bytes=$(($(copied_bytes "$3") - $4))
	if ((bytes >= $2)); then
		pass "$1: $bytes bytes by $3"
	else
		fail "$1: by $3" "only $bytes of $2 bytes; $(stats)"
	fi
}

# --- Plain files --------------------------------------------------------------------------------------

head -c 50000000 /dev/urandom >in/big
head -c 12345 in/big >in/small
: >in/empty
printf x >in/byte

# The first copy tells auto whether there is an io_uring.
check "cp of 12,345 bytes" cp in/small out/small
identical "small file" in/small out/small
case $FSTYPE in
xfs | btrfs) way=clone ;;
*) way=$(byte_way) ;;
esac
[[ $MOUNT_OPTIONS != *reflink=never* ]] || way=$(byte_way)

before=$(copied_bytes "$way")
asked=$(requests COPY_FILE_RANGE)
check "cp of 50 MB" cp in/big out/big
copied_as_expected "50 MB" 50000000 "$way" "$before"
check "cp asked for it" between $((asked + 1)) "$(requests COPY_FILE_RANGE)" $((asked + 1000))
identical "big file" in/big out/big

for name in empty byte; do
	check "cp of $name" cp "in/$name" "out/$name"
	identical "$name" "in/$name" "out/$name"
done

# --- cp -a, and onto what is there --------------------------------------------------------------------

chmod 4751 in/small
chown 4321:4322 in/small
touch -d '2001-02-03 04:05:06.789012345' in/small
setfattr -n user.key -v value in/small
check "cp -a" cp -a in/small out/kept
identical "cp -a: content" in/small out/kept
check_equal "cp -a: attributes" "$(stat -c '%f %u:%g %s %y' in/small)" "$(stat -c '%f %u:%g %s %y' out/kept)"
check_equal "cp -a: the same in the backing directory" "$(stat -c '%f %u:%g %s %y' in/small)" \
	"$(stat -c '%f %u:%g %s %y' "$BACKING/out/kept")"
check_equal "cp -a: xattrs" value "$(getfattr --only-values -n user.key out/kept)"

check "cp onto a larger file" cp in/small out/big
identical "onto a larger file" in/small out/big
check "cp onto a smaller file" cp in/big out/byte
identical "onto a smaller file" in/big out/byte
check "cp onto a file of the same size" cp in/big out/byte
identical "onto a file of the same size" in/big out/byte
check_fails "cp of a file onto itself" "are the same file" cp in/big in/big
check_fails "cp of a missing file" "No such file" cp in/none out/none
check_fails "cp onto a directory's file" "Not a directory" cp in/big out/small/x
check "cp -n keeps" cp -n in/byte out/small
identical "cp -n" in/small out/small
check "cp -u copies" cp -u in/small out/empty
check "cp -l links" cp -l in/small out/linked
check_equal "cp -l" "$(stat -c %i in/small)" "$(stat -c %i out/linked)"
check "cp -s" cp -s "$MNT/in/small" out/symbolic
check "install" install -m 700 in/big out/installed
identical "install" in/big out/installed
check "cp from outside" cp "$ARSYNCFS" out/program
check "cp to outside" cp out/program "$SCRATCH/out/program"
check "from outside and out again" cmp "$ARSYNCFS" "$SCRATCH/out/program"
check "cp --reflink=never" cp --reflink=never in/big out/plain
identical "cp --reflink=never" in/big out/plain

# --- Holes --------------------------------------------------------------------------------------------

# Data at the beginning, in the middle and at the end; and one that begins and ends with a hole.
truncate -s 200M in/sparse in/middle
for at in 0 100 199; do
	dd if=in/big of=in/sparse bs=1M count=1 seek=$at conv=notrunc status=none
done
dd if=in/big of=in/middle bs=1M count=3 seek=70 conv=notrunc status=none
truncate -s 100M in/hole
sync -f in/sparse
for name in sparse middle hole; do
	check "cp of $name" cp "in/$name" "out/$name"
	# cp reads and writes sparse files, at least up to coreutils 9.1. What it makes of them on the raw
	# file system without a clone, with all that XFS allocates ahead, is what can be expected.
	check "cp of $name on the raw file system" \
		cp --reflink=never "$BACKING/in/$name" "$SCRATCH/out/$name"
	sync -f "out/$name" "$SCRATCH/out/$name"
	identical "$name" "in/$name" "out/$name"
	check "$name: holes are kept" holes_kept "$SCRATCH/out/$name" "out/$name" "$BACKING/out/$name"
done
cp "$BACKING/in/big" "$BACKING/in/zeros"
dd if=/dev/zero of=in/zeros bs=1M seek=5 count=30 conv=notrunc status=none
check "cp --sparse=always" cp --sparse=always in/zeros out/zeros
identical "cp --sparse=always" in/zeros out/zeros
cp --sparse=always "$BACKING/in/zeros" "$SCRATCH/out/zeros"
sync -f out/zeros "$SCRATCH/out/zeros"
check "cp --sparse=always makes holes" holes_kept "$SCRATCH/out/zeros" out/zeros
check "cp --sparse=never" cp --sparse=never in/sparse out/filled
identical "cp --sparse=never" in/sparse out/filled
rm out/filled
check "a sparse file onto a full one" cp in/middle out/byte
identical "a sparse file onto a full one" in/middle out/byte

# More than 4 GiB: offsets beyond 32 bits.
truncate -s 6G in/huge
printf 'the beginning' | dd of=in/huge conv=notrunc status=none
printf 'the end' | dd of=in/huge bs=1 seek=$((6 * 1024 ** 3 - 7)) conv=notrunc status=none
printf 'behind 4 GiB' | dd of=in/huge bs=1 seek=$((4 * 1024 ** 3 + 5)) conv=notrunc status=none
sync -f in/huge
check "cp of 6 GiB, mostly a hole" cp in/huge out/huge
sync -f out/huge
check_equal "6 GiB: size" $((6 * 1024 ** 3)) "$(stat -c %s out/huge)"
check "6 GiB: holes are kept" holes_kept in/huge out/huge
part() { dd if="$1" bs=1 skip="$2" count=20 status=none; }
for at in 0 $((4 * 1024 ** 3)) $((6 * 1024 ** 3 - 20)); do
	check_equal "6 GiB: at $at" "$(part in/huge "$at" | od -c)" "$(part out/huge "$at" | od -c)"
done

# --- Several at once, and sources that change ---------------------------------------------------------

# copy_at_once N: N times cp of different files
copy_at_once() {
	local i good=0
	local -a pids=()
	for ((i = 0; i < $1; i++)); do
		cp "in/at_once$i" "out/at_once$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || good=1
	done
	return "$good"
}
for i in 0 1 2; do
	{ echo "$i" && cat in/big; } >in/at_once$i
done
check "three cp at once" copy_at_once 3
for i in 0 1 2; do
	identical "at once: $i" in/at_once$i out/at_once$i
done

# The kernel knows the size of a moment ago, and cuts requests there.
cp in/small in/growing
stat in/growing >/dev/null
cat in/big >>"$BACKING/in/growing"
check "cp of a file that has grown behind the mount" cp in/growing out/growing
identical "grown behind the mount" in/growing out/growing
truncate -s 1000 "$BACKING/in/growing"
check "cp of a file that has shrunk behind the mount" cp in/growing out/growing
identical "shrunk behind the mount" in/growing out/growing

# With the source open and written to in between
exec 3>>in/appended
for i in 1 2 3 4 5; do
	cat in/small >&3
	cp in/appended out/appended
	cmp in/appended out/appended || fail "appended: round $i"
done
exec 3>&-
pass "copies of a file that is being appended to"
check "no copy is left running" wait_until 5 jobs_ended

# Buffers, registered or not, and 64 MiB for all else
memory=$(awk '/^VmRSS:/ { print $2 }' "/proc/$(daemon_pid)/status")
limit=$((64 * 1024 + $(nproc) * 4 * 1024))
if grep -q libasan "/proc/$(daemon_pid)/maps"; then
	echo "# the sanitizer takes memory of its own: $memory KiB are not compared"
else
	check "the daemon's memory" test "$memory" -le "$limit"
fi
