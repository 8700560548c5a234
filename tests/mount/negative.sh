#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Names that are not there are remembered for a second, and never hide what is made through the mount.
# shellcheck disable=SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr setfattr

before=$(requests LOOKUP)
for _ in 1 2 3 4 5; do
	stat "$MNT/none" >/dev/null 2>&1
done
asked=$(($(requests LOOKUP) - before))
check "five times stat of a missing name ask once or twice, not $asked times" between 1 "$asked" 2

check_fails "missing" "No such file" stat "$MNT/file"
check "made through the mount" touch "$MNT/file"
check "it is there" test -e "$MNT/file"
check "moved" mv "$MNT/file" "$MNT/none"
check "the new name is there" test -e "$MNT/none"
check_not "the old one is not" test -e "$MNT/file"

mkdir "$MNT/src"
: >"$MNT/src/entry"
hidden=0
for i in {1..30}; do
	[[ ! -e $MNT/dest$i ]] || hidden=wrong
	setfattr -n user.arsync.copy -v "dest$i" "$MNT/src"
	[[ -e $MNT/dest$i/entry ]] || hidden=$((hidden + 1))
done
check_equal "tree copies are there at once" 0 "$hidden"

check_fails "a name that is not there is remembered" "No such file" stat "$MNT/outside"
: >"$BACKING/outside"
check "made outside, it appears within two seconds" wait_until 2 test -e "$MNT/outside"

# Where "a" and "A" are the same name, nothing is remembered.
image=$RUN_DIR/folding.img
if truncate -s 32M "$image" && mkfs.ext4 -q -O casefold "$image" 2>/dev/null &&
	mkdir "$BACKING/below" && mount -o loop "$image" "$BACKING/below" 2>/dev/null &&
	mkdir "$MNT/below/folded" && chattr +F "$MNT/below/folded" 2>/dev/null; then
	check_fails "folded: missing" "No such file" stat "$MNT/below/folded/name"
	: >"$MNT/below/folded/NAME"
	check "folded: it is there in another spelling" test -e "$MNT/below/folded/name"
else
	echo "# no file system that folds names here"
fi
rm -f "$image"
