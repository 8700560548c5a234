#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Tree copies that do not reach their end in time: Ctrl-C, kill -9, trigger_wait, and the daemon's end. To
# be run with options that make copies slow.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr python3 setfattr

cd "$MNT" || exit
size=700M
mkdir -p tree/small small
head -c "$size" /dev/zero >tree/big
for ((i = 0; i < 5000; i++)); do
	echo "$i" >"$BACKING/tree/small/file$i"
done
echo small >small/file

# Copies grow under a hidden name.
copy_has_begun() { compgen -G "$BACKING/.arsync-*" >/dev/null; }

# interrupted_copy SIGNAL MILLISECONDS: sets `took` and `status`
interrupted_copy() {
	local pid sent
	env --default-signal setfattr -n user.arsync.copy -v copy tree &
	pid=$!
	wait_until 10 copy_has_begun
	sleep "0.$2"
	sent=$(now_ms)
	kill -s "$1" "$pid"
	wait "$pid" 2>/dev/null
	status=$?
	took=$(($(now_ms) - sent))
}

for try in "INT 100" "TERM 200" "KILL 150" "INT 020"; do
	read -r signal after <<<"$try"
	interrupted_copy "$signal" "$after"
	if ((took < 2000)); then
		pass "the copy ended $took ms after SIG$signal"
	else
		fail "the copy ended $took ms after SIG$signal"
	fi
	check "SIG$signal came in the middle" between 128 "$status" 255
	check "no copy is left running" wait_until 10 jobs_ended
	check_fails "DEST does not exist" "No such file" stat copy
	check "nothing is left" wait_until 10 nothing_left "$BACKING"
	check "the mount works after SIG$signal" bounded 10 setfattr -n user.arsync.copy -v small.copy small
	rm -r small.copy
done
check "the source is whole" test "$(find "$BACKING/tree" -type f | wc -l)" = 5001

# --- trigger_wait -------------------------------------------------------------------------------------

# A frozen file system makes the copy wait for as long as we want.
if [[ $FSTYPE == tmpfs ]] || ! command -v fsfreeze >/dev/null; then
	echo "# trigger_wait is not tested: a $FSTYPE cannot be frozen, or no fsfreeze"
else
	second_mount=$RUN_DIR/mnt2
	MNT=$second_mount mount_start --trigger_wait=1 || exit
	frozen=$(stat -c %m "$BACKING")
	mkdir "$second_mount/frozen"
	echo text >"$second_mount/frozen/file"
	ls "$second_mount/frozen" "$second_mount/frozen/file" >/dev/null
	fsfreeze --freeze "$frozen"
	(sleep 8 && fsfreeze --unfreeze "$frozen" 2>/dev/null) & # whatever happens to us
	started=$(now_ms)
	check_fails "after trigger_wait the answer is EINPROGRESS" "in progress" \
		bounded 6 setfattr -n user.arsync.copy -v later "$second_mount/frozen"
	took=$(($(now_ms) - started))
	check "it came after a second" between 900 "$took" 4000
	fsfreeze --unfreeze "$frozen"
	check "the copy goes on in the background" wait_until 10 test -e "$BACKING/later/file"
	check_same_tree "the background's copy" "$BACKING/frozen" "$BACKING/later"
	check "it is seen through the mount, too" wait_until 5 test -e "$second_mount/later/file"
	check "nothing is left" nothing_left "$BACKING"

	# What cannot go on is cancelled for its users all the same, and goes away when it can.
	fsfreeze --freeze "$frozen"
	(sleep 20 && fsfreeze --unfreeze "$frozen" 2>/dev/null) &
	check "submit" setfattr -n user.arsync.submit -v never "$second_mount/frozen"
	id=$(getfattr --absolute-names --only-values -n user.arsync.jobs "$second_mount" |
		python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')
	job() {
		getfattr --absolute-names --only-values -n "user.arsync.$1.$id" "$second_mount" |
			python3 -c 'import json, sys; j = json.load(sys.stdin); print(j["state"], j.get("removing"))'
	}
	is_cancelled() { [[ $(job wait) == "cancelled True" ]]; }
	is_gone() { [[ $(job job) == "cancelled False" ]]; }
	check_equal "it runs" "running None" "$(job job)"
	check "cancel" setfattr -n user.arsync.cancel -v "$id" "$second_mount"
	check "it is cancelled while nothing can be removed" wait_until 5 is_cancelled
	fsfreeze --unfreeze "$frozen"
	check "then all is removed" wait_until 10 is_gone
	check "nothing is left" wait_until 10 nothing_left "$BACKING"
	check "no copy" test ! -e "$BACKING/never"
	MNT=$second_mount check "an unmount" mount_stop
fi

# --- The daemon's end ---------------------------------------------------------------------------------

# ended_copy SIGNAL: it comes while a tree is copied; sets `told`, the status of who waits for that
ended_copy() {
	local pid
	setfattr -n user.arsync.copy -v copy tree 2>"$RUN_DIR/setfattr.err" &
	pid=$!
	wait_until 10 copy_has_begun
	kill -s "$1" "$(daemon_pid)"
	wait_until 10 daemon_ended || return
	told=0
	wait "$pid" || told=$?
}

# was_faster: the copy, on a busy machine, and so it says nothing
was_faster() { ((told == 0)) && [[ -e $BACKING/copy/big ]]; }

restart() {
	cd / && mount_start || return
	cd "$MNT" || return
}

for signal in TERM INT; do
	ended_copy "$signal"
	for ((i = 0; i < 4; i++)); do
		was_faster || break
		check "SIG$signal: what was faster is whole" diff -r "$BACKING/tree" "$BACKING/copy"
		rm -r "$BACKING/copy"
		restart || exit
		ended_copy "$signal"
	done
	check "SIG$signal during a tree copy ends the daemon" daemon_ended
	daemon_ended || exit
	check_equal "SIG$signal: exit status" 0 "$(cat "$MNT.exit")"
	check_not "SIG$signal: it is unmounted" is_mounted "$MNT"
	check_not "SIG$signal: setfattr is told" test "$told" = 0
	check "SIG$signal: nothing is left" nothing_left "$BACKING"
	check "SIG$signal: no copy" test ! -e "$BACKING/copy"
	restart || exit
done
