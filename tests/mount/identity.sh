#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Knowing many files takes no descriptors: 60,000 files are copied by a daemon that may open 1,024; and
# files are known by path where they cannot be known by handle.
# shellcheck disable=SC2034,SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need setpriv getfattr

# make_files DIRECTORY DIRECTORIES FILES: FILES in each of DIRECTORIES
make_files() {
	local i j
	for ((i = 0; i < $2; i++)); do
		mkdir -p "$1/dir$i" && cd "$1/dir$i" || return
		for ((j = 0; j < $3; j++)); do
			echo "$i $j" >file$j
		done
	done
}

fds_of_daemon() { find "/proc/$(daemon_pid)/fd" -mindepth 1 | wc -l; }

# descriptors_below LIMIT
descriptors_below() {
	local n
	n=$(fds_of_daemon)
	echo "# the daemon has $n descriptors; $(stats)"
	((n > 0 && n < $1))
}

# watch_descriptors FILE: the most that the daemon has at a time, until FILE is removed
watch_descriptors() {
	local n most=0
	while [[ -e $1 ]]; do
		n=$(fds_of_daemon)
		((n <= most)) || { most=$n && echo "$most" >"$1.most"; }
		sleep 0.05
	done
}

# copy_watched LIMIT: cp -a of the tree, and how many descriptors the daemon had meanwhile
copy_watched() {
	local watched=$RUN_DIR/watched started
	: >"$watched"
	watch_descriptors "$watched" &
	started=$(now_ms)
	check "cp -a of 60,000 files by a daemon that may open $1" cp -a "$MNT/tree" "$MNT/copy"
	echo "# $(($(now_ms) - started)) ms"
	rm "$watched"
	wait $!
	# A part of what it may open, and never more than thousands
	check "the most descriptors meanwhile" between 1 "$(cat "$watched.most")" $(($1 * 3 / 4 < 4096 ? $1 * 3 / 4 : 4096))
	echo "# $(cat "$watched.most") descriptors"
}

check "the first mount ends" mount_stop
(make_files "$BACKING/tree" 60 1000) || fail "cannot make 60,000 files"
# Most of them empty, as in a tree of sources' objects and stamps
find "$BACKING/tree" -name 'file*[1-9]' -exec truncate -s 0 {} +
for ((i = 1; i < 10; i++)); do echo "1 $i" >"$BACKING/tree/dir1/file$i"; done
check_equal "60,000 files" 60000 "$(find "$BACKING/tree" -type f | wc -l)"

# Eight workers, on machines with fewer cores as well: each has files open, too.
(ulimit -n 1024 && mount_start --workers=8)
check "a daemon that may open 1,024 files" is_mounted "$MNT"
check "it may not open more" grep '^Max open files *1024 *1024' "/proc/$(daemon_pid)/limits"

cd "$MNT" || exit
check "ls -lR" bash -c 'ls -lR tree >/dev/null'
check "descriptors after ls -lR" descriptors_below 1024
copy_watched 1024 # about a million requests
check "descriptors after cp -a" descriptors_below 1024
check_same_tree "the copy" "$BACKING/tree" "$BACKING/copy"
check_equal "the copy is seen through the mount" "$(cd "$BACKING" && find copy -printf '%p %s %T@ %i\n' | sort)" \
	"$(find copy -printf '%p %s %T@ %i\n' | sort)"
started=$(now_ms)
check "tree copy of 60,000 files" setfattr -n user.arsync.copy -v tree2 tree
echo "# tree copy: $(($(now_ms) - started)) ms"
check_same_tree "the tree copy" "$BACKING/tree" "$BACKING/tree2"

# Files that a process has open do count: as many as there is room for, then EMFILE or ENFILE, then all
# is well again.
hold_open() {
	local i fd opened=0
	for ((i = 0; i < 900; i++)); do
		exec {fd}<"tree/dir0/file$i" || break
		opened=$((opened + 1))
	done 2>/dev/null
	((opened > 300)) || return
	[[ $(cat tree/dir1/file1) == "1 1" ]]
}
check "hundreds of open files" hold_open
check "a copy afterwards" cp -a tree/dir1 dir1
rm -r "$BACKING/copy" "$BACKING/tree2"
cd / || exit
check "the mount ends" mount_stop

# With room for more, no more is needed.
(ulimit -n 20000 && mount_start)
check "it may open 20,000" grep '^Max open files *20000 *20000' "/proc/$(daemon_pid)/limits"
copy_watched 20000
check_same_tree "that copy" "$BACKING/tree" "$BACKING/copy"
check "that mount ends" mount_stop

# A daemon without CAP_DAC_READ_SEARCH cannot open by handle.
daemon=$ARSYNCFS
cat >"$RUN_DIR/without" <<-END
	#!/bin/sh
	exec setpriv --inh-caps=-dac_read_search --bounding-set=-dac_read_search "$daemon" "\$@"
END
chmod 755 "$RUN_DIR/without"
rm -rf "${BACKING:?}"/*
(make_files "$BACKING/tree" 10 500)
(ulimit -n 256 && ARSYNCFS=$RUN_DIR/without mount_start)
check "a daemon without handles that may open 256 files" is_mounted "$MNT"
check "it knows files by path" contains "$(stats)" '"inode_identity":"paths"'
cd "$MNT" || exit
check "by path: cp -a of 5,000 files" cp -a tree copy
check "by path: descriptors" descriptors_below 256
check_same_tree "by path: the copy" "$BACKING/tree" "$BACKING/copy"
check "by path: tree copy" setfattr -n user.arsync.copy -v tree2 tree
check_same_tree "by path: the tree copy" "$BACKING/tree" "$BACKING/tree2"
# Renamed and moved files are found again, also when they are open or were seen before.
exec 3<>tree/dir3/file7
mv tree/dir3/file7 tree/dir4/moved
mv tree/dir4 renamed
check_equal "by path: an open file that has moved" "3 7" "$(cat <&3)"
chmod 600 "/proc/self/fd/3"
check_equal "by path: chmod of it" 600 "$(stat -c %a "$BACKING/renamed/moved")"
check_equal "by path: below a renamed directory" "4 9" "$(cat renamed/file9)"
rm renamed/moved
check_equal "by path: deleted" 0 "$(stat -L -c %h /proc/self/fd/3)"
exec 3<&-
ln tree/dir0/file0 linked
rm tree/dir0/file0
check_equal "by path: the other link" "0 0" "$(cat linked)"
mv "$BACKING/tree/dir1" "$BACKING/tree/behind"
sleep 1.1 # names are cached for a second
check_equal "by path: moved behind the mount" "1 2" "$(cat tree/behind/file2)"
cd / || exit
check "by path: the mount ends" mount_stop
