#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Random trees, copied with cp -a, with rsync -aHAXS and with arsyncfs: whatever one of the others keeps, and
# more, arsyncfs keeps. SEEDS="1 2 3" repeats trees.
. "$TEST_LIB"
need python3 rsync
program=$(dirname "${BASH_SOURCE[0]}")/differential.py
seeds=${SEEDS-"1 2 3 4 5 $RANDOM $RANDOM"}

# What the others do not claim to keep, inode flags; and the time of the last access, which arsyncfs has
# changed by reading, before the others came. rsync empties an ACL's entry of the group where it equals the
# mask.
cp_without=(flags atime)
rsync_without=(flags atime xattrs)

remove() {
	chattr -R -f -ia "$@" 2>/dev/null # (it complains about symbolic links)
	rm -rf "$@"
}

for seed in $seeds; do
	echo "# seed $seed"
	mkdir "$BACKING/tree"
	check "seed $seed: a tree" "$program" make "$seed" "$BACKING/tree"
	check "seed $seed: what it is" "$program" record "$BACKING/tree" "$RUN_DIR/tree"
	check "seed $seed: arsyncfs" setfattr -n user.arsync.copy -v copy "$MNT/tree"
	check "seed $seed: arsyncfs keeps everything" "$program" compare "$RUN_DIR/tree" "$BACKING/copy"
	check "seed $seed: cp -a" cp -a "$BACKING/tree" "$SCRATCH/cp"
	check "seed $seed: rsync -aHAXS" rsync -aHAXS "$BACKING/tree/" "$SCRATCH/rsync"
	check "seed $seed: and what cp keeps" "$program" compare "$SCRATCH/cp" "$BACKING/copy" "${cp_without[@]}"
	check "seed $seed: and what rsync keeps" \
		"$program" compare "$SCRATCH/rsync" "$BACKING/copy" "${rsync_without[@]}"
	check "seed $seed: nothing is left" nothing_left "$BACKING"
	remove "$BACKING/tree" "$BACKING/copy" "$SCRATCH/cp" "$SCRATCH/rsync"
done
