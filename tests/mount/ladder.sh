#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every way of copying, forced by options: right bytes, that way and no other, and the errors of the
# raw file system. What takes more than cp(1) is done by ladder.py.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need python3 getfattr cmp

helper=$(dirname "$0")/ladder.py
ladder() { bounded 100 python3 "$helper" "$@"; }

swap=
# shellcheck disable=SC2329 # called by the trap
clean() {
	local status=$1
	[[ -z $swap ]] || swapoff "$swap"
	chattr -f -i {"$BACKING","$SCRATCH"}/{immutable,answer/held-out}
	checks_end "$status"
}
trap 'clean $?' EXIT
trap 'exit 1' INT TERM HUP

DEFAULT_MNT=$MNT
case $FSTYPE in
xfs | btrfs) clones=yes ;;
*) clones=no ;;
esac

mkdir "$BACKING/in" "$BACKING/out"
size=$((40 * 1024 * 1024 + 12345))
head -c $size /dev/urandom >"$BACKING/in/big"
: >"$BACKING/in/empty"
printf x >"$BACKING/in/byte"
for n in 511 4095 4097 65537; do
	head -c $n "$BACKING/in/big" >"$BACKING/in/odd$n"
done
truncate -s 30M "$BACKING/in/sparse"
for at in 0 9 29; do
	dd if="$BACKING/in/big" of="$BACKING/in/sparse" bs=1M count=1 seek=$at conv=notrunc status=none
done
sync -f "$BACKING/in/big"

# begin NAME OPTION...: another mount of the same backing, at $MNT
begin() {
	local name=$1
	shift
	MNT=$RUN_DIR/$name
	mount_start --log=debug "$@" || exit 1
}

end() {
	check "$way_name: the daemon ends well" mount_stop
	MNT=$DEFAULT_MNT
}

# past_cache NAME: direct_reads, direct_writes or uncached_writes
past_cache() { stats | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }

# logged_bytes PATTERN: the sum of the numbers that stand before PATTERN in the lines about copies
logged_bytes() {
	sed -n "s/.*copied [0-9]* of [0-9]* bytes:.* \([0-9]*\) $1.*/\1/p" "$MNT.log" |
		awk '{ sum += $1 } END { print sum + 0 }'
}

# logged WAY: how the log calls it
logged() {
	case $1 in
	clone) echo 'cloned ([^)]*)' ;;
	offload) echo 'by the file system' ;;
	*) echo 'read and written ([^)]*)' ;;
	esac
}

# copied_the_same A B: through the mount, and in the backing directory
copied_the_same() { cmp "$MNT/$1" "$MNT/$2" && cmp "$BACKING/$1" "$BACKING/$2"; }

# forced WAY OPTION...: a mount with these options copies WAY.
forced() {
	local way=$1 before logged_before name other
	shift
	way_name="$*"
	begin "forced-${*//[^a-z0-9]/}" "$@"

	for name in empty byte odd511 odd4095 odd4097 odd65537 sparse; do
		check "$way_name: cp of $name" cp "$MNT/in/$name" "$MNT/out/$name"
		check "$way_name: $name" copied_the_same "in/$name" "out/$name"
	done
	check "$way_name: cp onto another file" cp "$MNT/in/odd65537" "$MNT/out/sparse"
	check "$way_name: onto another file" copied_the_same in/odd65537 out/sparse

	before=$(copied_bytes "$way")
	logged_before=$(logged_bytes "$(logged "$way")")
	check "$way_name: cp of $size bytes" cp "$MNT/in/big" "$MNT/out/big"
	check "$way_name: big" copied_the_same in/big out/big
	# What an answer in time cuts off is done again.
	check "$way_name: by $way" between $size $(($(copied_bytes "$way") - before)) $((4 * size))
	[[ $way == clone ]] || check "$way_name: the log says why" grep -q '(reflink=never)' "$MNT.log"
	check "$way_name: the log says so" \
		between $size $(($(logged_bytes "$(logged "$way")") - logged_before)) $((4 * size))
	for other in clone offload ring sync; do
		[[ $other != "$way" ]] || continue
		check "$way_name: nothing by $other" between 0 "$(copied_bytes $other)" 0
	done

	if [[ $way == clone ]]; then
		check "$way_name: ranges" ladder ranges "$MNT" "$BACKING" cut
	else
		check "$way_name: ranges" ladder ranges "$MNT" "$BACKING"
	fi
	check "$way_name: holes" ladder holes "$MNT" "$BACKING"
	check "$way_name: within a file" ladder same_file "$MNT" "$BACKING"
	rm "$MNT"/out/*
}

# --- Each way -------------------------------------------------------------------------------------

byte=$(byte_way)
if [[ $clones == yes ]]; then
	forced clone --reflink=always
	end
fi
forced "$byte" --reflink=never
end
forced offload --reflink=never --offload=always
end
forced "$byte" --reflink=never --offload=never --workers=1
end
forced "$byte" --reflink=never --direct=always
check "direct=always: reads" between 1 "$(past_cache direct_reads)" $((100 * size))
check "direct=always: writes" between 1 "$(past_cache direct_writes)" $((100 * size))
end
forced "$byte" --reflink=never --direct=never
check_equal "direct=never" "0 0 0" \
	"$(past_cache direct_reads) $(past_cache direct_writes) $(past_cache uncached_writes)"
end
if [[ $byte == ring ]]; then
	forced ring --reflink=never --io=uring
	end
fi
forced sync --reflink=never --io=sync
end
forced sync --reflink=never --io=sync --direct=always --workers=1
end

if [[ $clones == yes ]]; then
	way_name="clone up to an odd end"
	begin tail
	check "$way_name" ladder tail "$MNT" "$BACKING"
	check "$way_name: by clone" between 41943040 "$(copied_bytes clone)" $((64 << 20))
	end
fi

# --- A source that is not in the page cache -------------------------------------------------------

if [[ $FSTYPE != tmpfs ]]; then
	for direct in auto never; do
		way_name="direct=$direct, cold"
		begin "cold-$direct" --reflink=never --direct=$direct
		ladder drop "$BACKING/in/big"
		check "$way_name: cp" cp "$MNT/in/big" "$MNT/out/cold"
		least=1 most=$((2 * size))
		[[ $direct == auto ]] || least=0 most=0
		check "$way_name: direct reads" between $least "$(past_cache direct_reads)" $most
		check "$way_name: content" copied_the_same in/big out/cold
		rm "$MNT/out/cold"
		end
	done
fi

# --- What was asked for and cannot be -------------------------------------------------------------

# cannot DESCRIPTION SOURCE TARGET: an error, and nothing is copied.
cannot() {
	local way
	check_fails "$1: cp" "Input/output error" cp "$MNT/$2" "$MNT/$3"
	check_equal "$1: nothing is there" 0 "$(stat -c %s "$BACKING/$3")"
	for way in clone offload ring sync; do
		check_equal "$1: nothing by $way" 0 "$(copied_bytes $way)"
	done
}

if [[ $clones == no ]]; then
	way_name="reflink=always, no clones here"
	begin no-clones --reflink=always
	cannot "$way_name" in/big out/big
	check "$way_name: the log says why" \
		grep -q 'copied 0 of .*not supported between these file systems' "$MNT.log"
	end
fi
mkdir "$BACKING/other"
if mount -t tmpfs -o size=64M tmpfs "$BACKING/other"; then
	way_name="offload=always, between file systems"
	begin no-offload --reflink=never --offload=always
	cannot "$way_name" in/big other/big
	end
	umount "$BACKING/other"
fi

# --- Offload over FUSE ----------------------------------------------------------------------------

# The upper one is stopped before the lower one.
head -c 104857600 /dev/urandom >"$BACKING/in/large"
cp "$BACKING/in/odd65537" "$BACKING/in/mine"
chown 4321:4321 "$BACKING/in/mine"
chmod 400 "$BACKING/in/mine"
mkdir -m 777 "$BACKING/out/theirs"
raw=$BACKING
begin over-2-lower -oallow_other
lower=$MNT
BACKING=$lower begin over-1-upper -oallow_other
upper=$MNT
for name in big byte empty odd4097 sparse large; do
	check "over FUSE: cp of $name" cp "$upper/in/$name" "$upper/out/$name"
	check "over FUSE: $name" cmp "$raw/in/$name" "$raw/out/$name"
	check "over FUSE: $name above" cmp "$raw/in/$name" "$upper/out/$name"
done
check "over FUSE: cp of a file read-only to its owner" setpriv --reuid 4321 --regid 4321 \
	--clear-groups cp "$upper/in/mine" "$upper/out/theirs/mine"
check "over FUSE: read-only to its owner" cmp "$raw/in/mine" "$raw/out/theirs/mine"
check "over FUSE: by offload above" \
	between $((size + 104857600)) "$(copied_bytes offload)" $((4 * (size + 104857600)))
way=$byte
[[ $clones == no ]] || way=clone
MNT=$lower
# What is left over at the end of a file may be short enough to be copied at once.
check "over FUSE: by $way below" \
	between $((size + 104857600 - 524288)) "$(copied_bytes "$way")" $((8 * (size + 104857600)))
MNT=$upper
check "over FUSE: ranges" ladder ranges "$upper" "$raw"
check "over FUSE: holes" ladder holes "$upper" "$raw"
check "over FUSE: within a file" ladder same_file "$upper" "$raw"
check "over FUSE: a truncated source" ladder changing "$upper" "$lower" truncated
way_name="over FUSE, above"
end
MNT=$lower
way_name="over FUSE, below"
end
rm -r "$raw/out" "$raw/in/large"
mkdir "$raw/out"

# --- Errors, as the raw file system answers -------------------------------------------------------

# same_answer DESCRIPTION COMMAND: the same in the mount and on the raw file system.
same_answer() {
	mkdir -p "$BACKING/answer" "$SCRATCH/answer"
	check_equal "$1" "$(ladder "$2" "$SCRATCH/answer" 2>&1)" "$(ladder "$2" "$MNT/answer" 2>&1)"
}
same_answer "into a file opened O_APPEND" answer_append
same_answer "RLIMIT_FSIZE" answer_limit

cp "$BACKING/in/odd65537" "$BACKING/immutable"
cp "$BACKING/in/odd65537" "$SCRATCH/immutable"
if chattr +i "$BACKING/immutable" "$SCRATCH/immutable" 2>/dev/null; then
	check_equal "an immutable destination" \
		"$(ladder answer_existing "$BACKING/in/big" "$SCRATCH/immutable" 2>&1)" \
		"$(ladder answer_existing "$MNT/in/big" "$MNT/immutable" 2>&1)"
	check_fails "cp onto an immutable file" "Operation not permitted" cp "$MNT/in/big" "$MNT/immutable"
	chattr -i "$BACKING/immutable" "$SCRATCH/immutable"
	on_raw=$(ladder answer_held "$SCRATCH/answer" "$SCRATCH/answer" 2>&1)
	in_mount=$(ladder answer_held "$MNT/answer" "$BACKING/answer" 2>&1)
	# Of the file systems only ext4 refuses to write to what was open before; copy_file_range(2)
	# always does.
	if [[ $FSTYPE == ext4 || $in_mount != $'100000 0\n100000' ]]; then
		check_equal "a destination that has become immutable" "$on_raw" "$in_mount"
	fi
fi

if [[ $FSTYPE == ext4 ]]; then
	head -c 4194304 /dev/zero >"$BACKING/swap"
	chmod 600 "$BACKING/swap"
	sync -f "$BACKING/swap"
	if mkswap "$BACKING/swap" >/dev/null 2>&1 && swapon "$BACKING/swap" 2>/dev/null; then
		swap=$BACKING/swap
		on_raw=$(ladder answer_existing "$BACKING/in/big" "$swap" 2>&1)
		in_mount=$(ladder answer_existing "$MNT/in/big" "$MNT/swap" 2>&1)
		source_on_raw=$(ladder answer_existing "$swap" "$BACKING/out/big" 2>&1)
		source_in_mount=$(ladder answer_existing "$MNT/swap" "$MNT/out/big" 2>&1)
		# A swap file can be read, and so cp can copy it.
		check "cp of a swap file ends" bounded 30 cp "$MNT/swap" "$MNT/out/swap"
		swapoff "$swap" && swap=
		check_equal "a swap file as the destination" "$on_raw" "$in_mount"
		check_equal "a swap file as the source" "$source_on_raw" "$source_in_mount"
		check "a swap file is as it was" cmp "$BACKING/swap" "$BACKING/out/swap"
	else
		echo "# swapon is not permitted here: no test of swap files"
	fi
fi

# --- A source that changes ------------------------------------------------------------------------

for how in truncated grown replaced; do
	check "a source that is $how meanwhile" ladder changing "$MNT" "$BACKING" $how
done
way_name="reading and writing"
begin changing --reflink=never
for how in truncated grown replaced; do
	check "a source that is $how meanwhile, read and written" ladder changing "$MNT" "$BACKING" $how
done
end
way_name="offload=always"
begin changing-offload --reflink=never --offload=always
for how in truncated grown replaced; do
	check "a source that is $how meanwhile, by offload" ladder changing "$MNT" "$BACKING" $how
done
end
rm "$BACKING"/changing-*

# --- No space left --------------------------------------------------------------------------------

case $FSTYPE in
ext4) small=128M length=40 ;;
xfs) small=320M length=60 ;;
btrfs) small=320M length=60 ;;
tmpfs) small=128M length=40 ;;
esac
fs_make small "$FSTYPE" "$small"
fs_mount small "$RUN_DIR/small"
raw=$RUN_DIR/small/backing
mkdir "$raw"
head -c "${length}M" /dev/urandom >"$raw/in"
kinds="growing sparse"
if [[ $clones == yes ]]; then
	kinds+=" shared shared-hole"
	head -c "${length}M" /dev/urandom >"$raw/old"
	head -c "$((length * 3 / 4))M" /dev/urandom >"$raw/in-hole"
	truncate -s "${length}M" "$raw/in-hole"
fi
check "nearly no space" ladder fill "$raw/filler" $((length / 2))

# no_space KINDS OPTION...
no_space() {
	local kind kinds=$1
	shift
	way_name="no space, $*"
	BACKING=$raw begin "full-${*//[^a-z0-9]/}" --reflink=never "$@"
	for kind in $kinds; do
		check "$way_name: $kind" ladder no_space "$MNT" "$raw" "$length" "$kind"
	done
	check_fails "$way_name: cp" "No space left" cp "$MNT/in" "$MNT/out"
	check "$way_name: what cp leaves" cmp -n "$(stat -c %s "$raw/out")" "$raw/in" "$raw/out"
	rm "$raw/out"
	end
	sync -f "$raw"
}
no_space "$kinds" --io=sync
no_space "$kinds" --direct=never
no_space "$kinds" --direct=always
# Where there are clones, they are what the file system makes by itself, and they take no space.
[[ $clones == yes ]] || no_space "growing sparse" --offload=always
umount "$RUN_DIR/small"

# A btrfs whose quota is used up does not even cut anything off.
if [[ $FSTYPE == btrfs ]] && command -v btrfs >/dev/null; then
	fs_make limited btrfs 512M
	fs_mount limited "$RUN_DIR/limited"
	raw=$RUN_DIR/limited/backing
	check "a limited subvolume" btrfs subvolume create "$raw"
	check "quotas" btrfs quota enable "$raw"
	check "a limit" btrfs qgroup limit 60M "$raw"
	head -c 40M /dev/urandom >"$raw/in"
	sync -f "$raw"
	BACKING=$raw begin quota --reflink=never
	check "no quota left" ladder no_space "$MNT" "$raw" 40 growing
	end
	umount "$RUN_DIR/limited"
fi
