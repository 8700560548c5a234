#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What ends a cp before it is done: Ctrl-C, kill -9, and the end of the daemon. To be run with options
# that make copies slow (no reflinks, one worker, small blocks).
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr

# The file system has room for two of these.
size=1500M
[[ $FSTYPE != tmpfs ]] || size=700M
head -c "$size" /dev/zero >"$MNT/big"
echo small >"$MNT/small"

# (Shells have background commands ignore SIGINT; env --default-signal undoes that.)

# interrupted_cp SIGNAL MILLISECONDS: starts a cp, sends it a signal, and sets `took`, how long it took
# to end, and `copied`, what it had done.
interrupted_cp() {
	local pid sent
	rm -f "$MNT/copy"
	env --default-signal cp "$MNT/big" "$MNT/copy" 2>"$RUN_DIR/cp.err" &
	pid=$!
	wait_until 10 test -e "$MNT/copy" # it has begun
	sleep "0.$2"
	sent=$(now_ms)
	kill -s "$1" "$pid"
	wait "$pid" 2>/dev/null # bash says "Killed"
	took=$(($(now_ms) - sent))
	copied=$(stat -c %s "$MNT/copy")
}

for try in "INT 050" "INT 100" "TERM 080" "KILL 080" "INT 010"; do
	read -r signal after <<<"$try"
	interrupted_cp "$signal" "$after"
	if ((took < 2000)); then
		pass "cp ended $took ms after SIG$signal, at $copied bytes"
	else
		fail "cp ended $took ms after SIG$signal"
	fi
	# Otherwise this test has tested nothing.
	if ((copied < $(stat -c %s "$MNT/big"))); then
		pass "SIG$signal came in the middle"
	else
		fail "SIG$signal came too late: copies are too fast here"
	fi
	check "no copy is left running" wait_until 5 jobs_ended
	check "the mount works after SIG$signal" bounded 10 cp "$MNT/small" "$MNT/small.copy"
	check "what was copied is right" cmp -n "$copied" "$MNT/big" "$MNT/copy"
done

# Others go on while one is interrupted.
env --default-signal cp "$MNT/big" "$MNT/copy" &
first=$!
cp "$MNT/small" "$MNT/other"
head -c 20M /dev/urandom >"$MNT/medium"
cp "$MNT/medium" "$MNT/medium.copy" &
second=$!
sleep 0.05
kill -INT "$first"
wait "$second"
check_equal "a copy beside an interrupted one" 0 $?
check "a copy beside an interrupted one: content" cmp "$MNT/medium" "$MNT/medium.copy"
wait "$first"

# The daemon is told to end: so do the copies, and it unmounts.
for signal in TERM INT HUP; do
	rm -f "$MNT/copy"
	cp "$MNT/big" "$MNT/copy" 2>"$RUN_DIR/cp.err" &
	pid=$!
	wait_until 10 test -e "$MNT/copy"
	sleep 0.1
	sent=$(now_ms)
	kill -s "$signal" "$(daemon_pid)"
	check "SIG$signal during a copy ends the daemon" wait_until 10 daemon_ended
	echo "# after $(($(now_ms) - sent)) ms"
	daemon_ended || exit
	check_equal "SIG$signal: exit status" 0 "$(cat "$MNT.exit")"
	check_not "SIG$signal: it is unmounted" is_mounted "$MNT"
	check "SIG$signal: cp ends" wait_until 10 eval "! kill -0 $pid 2>/dev/null"
	wait "$pid"
	check "a new mount" mount_start
	check "the new mount works" bounded 10 cp "$MNT/small" "$MNT/small.copy"
done
