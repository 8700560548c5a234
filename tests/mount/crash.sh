#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a tree copy leaves when the daemon is killed is removed at the next mount: that, and nothing else.
# To be run with options that make copies slow.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr setfattr setpriv

as_user() { setpriv --reuid=4321 --regid=4322 --clear-groups "$@"; }
staged() { compgen -G "$1/.arsync-*[0-9a-f]" >/dev/null; }
notes() { find "$STATE_DIRECTORY" -type f; }
no_notes() { [[ -z $(notes) ]]; }
gone() { [[ ! -e $1 && ! -L $1 ]]; }

# A tree that takes long, with what is hard to remove
mkdir -p "$BACKING/tree/deep/er" "$BACKING/tree/closed" "$BACKING/into" "$BACKING/home" "$SCRATCH/precious"
head -c 700M /dev/zero >"$BACKING/tree/zz-big"
ln -s "$SCRATCH/precious" "$BACKING/tree/link"
for ((i = 0; i < 300; i++)); do echo "$i" >"$BACKING/tree/deep/er/$i"; done
mkfifo "$BACKING/tree/fifo"
chmod 000 "$BACKING/tree/closed"
echo precious >"$SCRATCH/precious/file"
chown 4321 "$BACKING/home"
(cd "$BACKING/home" && head -c 700M /dev/zero >big && mkdir user && mv big user/ && chown -R 4321:4322 user)

# crash COMMAND...: kills the daemon in the middle of a copy to $at/copy. Sets `left`, what it leaves.
crash() {
	local pid
	"$@" 2>/dev/null &
	pid=$!
	wait_until 10 staged "$at" || fail "the copy has begun"
	sleep 0.2
	kill -KILL "$(daemon_pid)"
	wait "$pid"
	umount --lazy "$MNT"
	wait_until 5 daemon_ended
	rm -f "$MNT.pid"
	left=$(compgen -G "$at/.arsync-*")
	# Otherwise this test has tested nothing.
	check "$1: something is left" test -e "$left"
	check "$1: DEST does not exist" gone "$at/copy"
}
copy_tree() { setfattr -n user.arsync.copy -v "$1" "$MNT/tree"; }
removed() {
	check "$1: it is removed" wait_until 10 gone "$left"
	check "$1: and its note" wait_until 5 no_notes
	check "$1: DEST does not exist" gone "$at/copy"
}

# --- Removed, and nothing else --------------------------------------------------------------------------

at=$BACKING/into
crash copy_tree into/copy
mkdir "$at/.arsync-0123456789abcdef"
echo precious >"$at/.arsync-0123456789abcdef/file"
echo precious >"$at/.arsync-fedcba9876543210"
cp -a "$left" "$at/.arsync-00000000000000aa" # the same contents and attributes
before=$(cd "$at" && find . -mindepth 1 -name "${left##*/}" -prune -o -mindepth 1 -printf '%P\n' | sort)
check "a new mount" mount_start
removed "the copy of a tree"
check_equal "names of the same kind stay" "$before" "$(cd "$at" && find . -mindepth 1 -printf '%P\n' | sort)"
check_equal "links are not followed" precious "$(cat "$SCRATCH/precious/file")"
check "the log says so" grep -q "which an interrupted copy has left" "$MNT.log"
rm -r "$at"/.arsync-*

crash setfattr -n user.arsync.copy -v into/copy "$MNT/tree/zz-big"
check "a new mount" mount_start
removed "the copy of a file"

if as_user ls "$MNT" >/dev/null 2>&1; then
	at=$BACKING/home
	crash as_user setfattr -n user.arsync.copy -v home/copy "$MNT/home/user"
	check "a new mount" mount_start
	removed "a user's copy"
	at=$BACKING/into
fi

# --- What somebody has done to it meanwhile -------------------------------------------------------------

crash copy_tree into/copy
mv "$left" "$at/kept"
mkdir "$left"
echo precious >"$left/file"
check "a new mount" mount_start
check "another directory of that name: its note is given up" wait_until 10 no_notes
check_equal "another directory of that name stays" precious "$(cat "$left/file")"
check "what was renamed stays" test -d "$at/kept"
rm -r "$at/kept" "$left"

crash copy_tree into/copy
mkdir -p "$left/deep"
mount --bind "$SCRATCH/precious" "$left/deep"
check "a new mount" mount_start
check "a mount inside is met" wait_until 10 grep -q "cannot be removed now" "$MNT.log"
check_equal "what is mounted inside stays" precious "$(cat "$SCRATCH/precious/file")"
check "the note stays" test -n "$(notes)"
umount "$left/deep"
check "an unmount" mount_stop
check "a new mount" mount_start
removed "what was mounted inside is unmounted"

crash copy_tree into/copy
mv "$at" "$BACKING/away"
ln -s "$BACKING/away" "$at" # the way to it is not through symbolic links
check "a new mount" mount_start
sleep 0.5
check "behind a symbolic link it is not found" test -d "$BACKING/away/${left##*/}"
rm "$at"
mv "$BACKING/away" "$at"
check "an unmount" mount_stop

# --- By another path ------------------------------------------------------------------------------------

mkdir "$RUN_DIR/elsewhere" "$BACKING/other"
mount --bind "$BACKING" "$RUN_DIR/elsewhere"
BACKING=$BACKING/other mount_start || exit
sleep 0.5
check "another BACKING's is left" test -e "$left"
check "an unmount" mount_stop
BACKING=$RUN_DIR/elsewhere mount_start || exit
removed "BACKING is mounted by another path"
check "an unmount" mount_stop
umount "$RUN_DIR/elsewhere"
mount_start || exit
crash copy_tree into/copy
mount_start -oro || exit
sleep 0.5
check "a mount for reading only removes nothing" test -e "$left"
check "an unmount" mount_stop
BACKING=$(dirname "$BACKING") mount_start || exit
removed "the directory above is mounted"
check "an unmount" mount_stop
mount_start || exit

# --- Below another mount --------------------------------------------------------------------------------

mkdir "$BACKING/below"
mount -t tmpfs -o size=1G tmpfs "$BACKING/below"
at=$BACKING/below/dir
mkdir "$at"
crash copy_tree below/dir/copy
mkdir "$at/.arsync-0123456789abcdef"
mount -t ramfs ramfs "$BACKING/below" # of which nothing is known
check "a new mount" mount_start
sleep 0.5
check "what is mounted there now is not entered: the note stays" test -n "$(notes)"
check "an unmount" mount_stop
umount "$BACKING/below"
check "it is still there" test -e "$left"
check "a new mount" mount_start
removed "below another mount"
check "names of the same kind stay" test -d "$at/.arsync-0123456789abcdef"
check "an unmount" mount_stop
umount "$BACKING/below"
rmdir "$BACKING/below"
mount_start || exit
at=$BACKING/into

# --- A merge, which has hidden names anywhere in its destination ------------------------------------------

mkdir -p "$BACKING/into/merged/sub/deep" "$BACKING/into/outside"
echo old >"$BACKING/into/merged/zz-big"
setfattr -n user.arsync.copy -v $'into/merged\nexisting=merge' "$MNT/tree" 2>/dev/null &
pid=$!
noted() { ! no_notes; }
check "a merge has begun" wait_until 10 noted
sleep 0.2
kill -KILL "$(daemon_pid)"
wait "$pid"
umount --lazy "$MNT"
wait_until 5 daemon_ended
rm -f "$MNT.pid"
# It is killed between two names hardly ever: what it would leave then.
part=$(grep --text --only-matching '\.arsync-[0-9a-f]\{16\}' "$(notes)")
check "a merge: it is noted" test -n "$part"
(
	cd "$BACKING/into" || exit
	for at in merged merged/sub merged/sub/deep; do echo new >"$at/$part-00000000000000a1"; done
	ln -s "$SCRATCH/precious/file" "merged/$part-00000000000000a2"
	# And what it would not
	mkdir "merged/$part-00000000000000a3"
	for at in "outside/$part-00000000000000a1" "merged/$part" "merged/$part-00000000000000a1.txt" \
		"merged/.arsync-0123456789abcdef-00000000000000a1" "merged/$part-00000000000000a3/file"; do
		echo precious >"$at"
	done
	ln -s ../outside merged/link-outside
)
parts_gone() {
	[[ -z $(find "$BACKING/into/merged" -name "$part-*" ! -name '*.txt' ! -path '*a3*') ]]
}
before=$(cd "$BACKING/into" && find . ! -name "$part-00000000000000a[12]" -o -path './outside/*' | sort)
check "a merge: a new mount" mount_start
wait_until 10 parts_gone
check "a merge: hidden names are removed" parts_gone
check "a merge: and its note" wait_until 5 no_notes
check_equal "a merge: and nothing else" "$before" "$(cd "$BACKING/into" && find . | sort)"
old_or_whole() { [[ $(head -c 3 "$1" | tr -d "\0") == old ]] || cmp "$1" "$BACKING/tree/zz-big"; }
check "a merge: what was to be replaced is there, or was" old_or_whole "$BACKING/into/merged/zz-big"
check_equal "a merge: links are not followed" precious "$(cat "$SCRATCH/precious/file")"
rm -r "$BACKING/into/merged" "$BACKING/into/outside"

# --- Others that live -----------------------------------------------------------------------------------

MNT=$RUN_DIR/mnt2 mount_start || exit
mkdir "$BACKING/second"
setfattr -n user.arsync.copy -v second/copy "$RUN_DIR/mnt2/tree" &
second=$!
wait_until 10 staged "$BACKING/second"
kill -STOP "$(cat "$RUN_DIR/mnt2.pid")" # it must not be over too soon
crash copy_tree into/copy
check "a new mount" mount_start
check "it is removed while a second daemon copies" wait_until 10 gone "$left"
check "what the second daemon copies stays" staged "$BACKING/second"
kill -CONT "$(cat "$RUN_DIR/mnt2.pid")"
wait "$second"
check_equal "the second daemon's copy" 0 $?
check_same_tree "the second daemon's copy is whole" "$BACKING/tree" "$BACKING/second/copy"
check "no note is left" wait_until 5 no_notes
MNT=$RUN_DIR/mnt2 check "an unmount" mount_stop

# --- `arsync copy`, which has no daemon -----------------------------------------------------------------

rm -r "$BACKING/second/copy"
at=$BACKING/second
"$ARSYNC" copy --workers=1 --queue_depth=1 --block_size=64K --reflink=never --direct=always \
	"$BACKING/tree" "$at/copy" &
pid=$!
wait_until 10 staged "$at"
sleep 0.2
kill -KILL "$pid"
wait "$pid" 2>/dev/null
left=$(compgen -G "$at/.arsync-*")
check "arsync copy: something is left" test -e "$left"
check "arsync copy into another directory" "$ARSYNC" copy "$BACKING/tree/deep" "$BACKING/into/"
check "it leaves that of others" test -e "$left"
check "arsync copy into the same directory" "$ARSYNC" copy "$BACKING/tree/deep" "$at/"
removed "arsync copy"
check_same_tree "what it has copied" "$BACKING/tree/deep" "$at/deep"

# --- Without a state directory --------------------------------------------------------------------------

check "an unmount" mount_stop
: >"$MNT.log"
STATE_DIRECTORY=/proc/none mount_start || exit
check_equal "no state directory: one warning" 1 "$(grep -c "no state directory" "$MNT.log")"
check "no state directory: copies are made" setfattr -n user.arsync.copy -v into/plain "$MNT/tree/deep"
check_same_tree "no state directory: a copy" "$BACKING/tree/deep" "$BACKING/into/plain"
