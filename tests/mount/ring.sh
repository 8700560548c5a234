#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# FUSE over io_uring: short requests beside long ones, and every end that a mount can have while long ones
# wait. To be run with transport=ring and options that make copies slow. Interrupts are interrupt.sh's and
# tree_cancel.sh's, which run over the ring, too.
# shellcheck disable=SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr setfattr pgrep flock python3 prlimit fsfreeze

transport() { stats | grep -o '"transport":"[a-z]*"'; }
threads() { find "/proc/$(daemon_pid)/task" -mindepth 1 -maxdepth 1 | wc -l; }
# The PID namespace has only ours.
running() { pgrep -c -x 'cp|setfattr'; }
none_running() { ! pgrep -x 'cp|setfattr|flock' >/dev/null; }

# Commands that are to begin together: `gated COMMAND... &`, between gate_close and gate_open NUMBER.
exec {gate}>"$RUN_DIR/gate"
gate_close() { flock --exclusive "$gate"; }
gated() { exec flock --shared --no-fork "$RUN_DIR/gate" "$@" {gate}>&-; }
at_gate() { (($(pgrep -c -x flock) == $1)); }
gate_open() {
	check "$1 commands are at the gate" wait_until 60 at_gate "$1"
	flock --unlock "$gate"
}

check_equal "the mount uses the ring" '"transport":"ring"' "$(transport)"
check "its log says so" grep -q "come through FUSE over io_uring" "$MNT.log"

mkdir "$BACKING/names"
(cd "$BACKING/names" && seq 1 1000 | xargs touch)

# Requests that the kernel has no answer to of its own, a LOOKUP each.
# lookups FIRST LAST: bounded, so that a queue without entries fails the test and does not hang it
lookups() {
	local -a names
	mapfile -t names < <(seq --format="$MNT/names/%g" "$1" "$2")
	bounded 20 stat -c %i "${names[@]}" >/dev/null
}

# --- Copies --------------------------------------------------------------------------------------------

head -c 40M /dev/zero >"$MNT/large"
mkdir "$MNT/copies"
gate_close
for i in {1..64}; do
	gated cp "$MNT/large" "$MNT/copies/$i" &
done
gate_open 64
# All have an entry: 64 are held.
many_threads() { (($(threads) > 40)); }
check "64 copies hold entries at once" wait_until 20 many_threads
check "names are looked up beside 64 copies" lookups 1 200
left=$(running)
check "the copies were still running ($left of 64)" between 20 "$left" 64
check "all copies end" wait_until 120 none_running
wait
wrong=0
for i in {1..64}; do
	cmp -s "$BACKING/large" "$BACKING/copies/$i" || wrong=$((wrong + 1))
done
check_equal "all copies are right" 0 "$wrong"
rm -r "$MNT/copies"
grown=$(threads)

# --- Triggers, more than a queue of this machine may have entries ------------------------------------------

mkdir "$MNT/sources" "$MNT/trees"
head -c 10M /dev/zero >"$MNT/file"
# A source each: setfattr holds its lock.
for i in {1..300}; do
	mkdir "$BACKING/sources/$i" && ln "$BACKING/file" "$BACKING/sources/$i/file"
done
gate_close
for i in {1..300}; do
	LC_ALL=C gated setfattr -n user.arsync.copy -v "trees/$i" "$MNT/sources/$i" 2>>"$RUN_DIR/orders" &
done
gate_open 300
check "names are looked up beside 300 tree copies" lookups 201 400
echo "# $(running) triggers wait, $(threads) threads"
check "all triggers are answered" wait_until 120 none_running
wait
# The copy is done, or goes on in the background.
check_equal "no trigger fails" "" "$(grep -v "now in progress" "$RUN_DIR/orders")"
echo "# $(wc -l <"$RUN_DIR/orders") triggers were answered early"
check "all tree copies end" wait_until 120 jobs_ended
check_equal "all trees are there" 300 "$(find "$MNT/trees" -name file -size 10M | wc -l)"
check "threads are bounded ($grown, then $(threads))" between 3 "$(threads)" $((128 * $(nproc --all) + 64))
rm -r "$MNT/trees" "$MNT/sources"

# --- fsync, which a handler waits for, takes a thread and no more --------------------------------------------

for i in {1..20}; do
	dd if=/dev/zero of="$MNT/synced.$i" bs=1M count=8 conv=fsync status=none &
done
check "names are looked up beside fsync" lookups 401 600
wait
rm "$MNT"/synced.*

# --- A listing with a file that the kernel gives back --------------------------------------------------------

# For the kernel, "above" is still above of what it lies in now.
mkdir -p "$MNT/above/below"
cd "$MNT/above/below" || exit
mv "$BACKING/above/below" "$BACKING/now" && mv "$BACKING/above" "$BACKING/now/"
listed=0
while ((listed < 20)) && bounded 20 ls >"$RUN_DIR/listing" && [[ $(<"$RUN_DIR/listing") == above ]]; do
	listed=$((listed + 1))
done
check_equal "a directory is listed that holds one above it, time and again" 20 "$listed"
cd /
rm -r "$BACKING/now"

# --- Ends -----------------------------------------------------------------------------------------------

# The mount of this test stays; these are others of the same directory.
head -c 1G /dev/zero >"$BACKING/huge"
first=$MNT
MNT=$RUN_DIR/second

# busy: copies and a trigger under way
busy() {
	mount_start || return
	local i
	for i in 1 2 3 4; do
		cp "$MNT/huge" "$MNT/huge.$i" 2>/dev/null &
	done
	mkdir -p "$MNT/big"
	ln -f "$MNT/huge" "$MNT/big/huge"
	setfattr -n user.arsync.copy -v big.copy "$MNT/big" 2>/dev/null &
	wait_until 10 test -e "$MNT/huge.4"
	sleep 0.1
}

# gone DESCRIPTION: nobody hangs, and nothing is left
gone() {
	check "$1: all who waited have an answer" wait_until 20 none_running
	wait
	check "$1: the daemon ends" wait_until 20 daemon_ended
	umount "$MNT" 2>/dev/null
	check_not "$1: the mount is gone" is_mounted "$MNT"
	rm -rf "$BACKING"/huge.? "$BACKING/big" "$BACKING"/big.copy "$BACKING"/.arsync-*
}

for signal in TERM INT; do
	busy
	kill -s "$signal" "$(daemon_pid)"
	gone "SIG$signal of the daemon"
	check_equal "SIG$signal: the daemon's exit status" 0 "$(cat "$MNT.exit")"
done
busy
kill -KILL "$(daemon_pid)"
gone "kill -9 of the daemon"
busy
mount_abort
gone "abort of the connection"
busy
umount --lazy "$MNT"
check "lazy unmount: all copies end" wait_until 60 none_running
gone "lazy unmount"
check_equal "lazy unmount: the daemon's exit status" 0 "$(cat "$MNT.exit")"
good=0
for i in {1..10}; do
	if mount_start && ls "$MNT" >/dev/null && mount_stop; then good=$((good + 1)); fi
done
check_equal "it can be mounted and unmounted time and again" 10 "$good"

# --- Requests that come faster than threads ------------------------------------------------------------

# slow_job: a mount on which a job runs for long, because the file system is frozen
slow_job() {
	mount_start && mkdir "$MNT/small" && fsfreeze --freeze "$frozen" || return
	(sleep 60 && fsfreeze --unfreeze "$frozen") &>/dev/null & # whatever happens to us
	thaw=$!
	setfattr -n user.arsync.submit -v small.copy "$MNT/small"
}

# end_job: and the mount
end_job() {
	kill "$thaw"
	fsfreeze --unfreeze "$frozen"
	wait_until 20 jobs_ended && mount_stop && rmdir "$BACKING/small" "$BACKING/small.copy"
}

# burst DESCRIPTION ATTRIBUTE COUNT ROUNDS MILLISECONDS: all have an answer by then
burst() {
	local answered ms beside
	read -r answered ms beside < <(python3 "$bursts" "$MNT" "$2" "$3" "$4")
	echo "# $1: $answered answers in $ms ms, another in $beside ms"
	check_equal "$1: all have an answer" "$3" "$answered"
	check "$1: soon" between 0 "$ms" "$5"
	check "$1: names are looked up beside them" between 0 "$beside" 900
}

# mappings: of the daemon. A thread that nobody has joined has three.
mappings() { wc -l <"/proc/$(daemon_pid)/maps"; }

frozen=$(findmnt -n -o TARGET -T "$BACKING")
bursts=$(dirname "$(realpath "$0")")/ring_burst.py
slow_job || exit
# None of them waits for longer than a second, and nobody for them.
burst "20 long polls at once, to a fresh mount" user.arsync.wait.1 20 1 2500
burst "100 long polls at once" user.arsync.wait.1 100 1 2500
end_job || exit

# --- Threads that cannot be had ------------------------------------------------------------------------------

slow_job || exit
pid=$(daemon_pid)
limits=$(prlimit --pid "$pid" --nofile --noheadings --raw --output SOFT,HARD | tr ' ' :)
before=$(threads)
mapped=$(mappings)
# As many as it has: no ring can be made.
prlimit --pid "$pid" --nofile="$(find "/proc/$pid/fd" -mindepth 1 | wc -l):${limits#*:}"
for i in 1 2 3 4; do
	burst "long polls without a thread for each, $i" user.arsync.wait.1 20 2 4500
done
burst "thousands of requests" user.arsync.job.1 20 500 9000
during=$(threads)
check "threads that cannot serve end ($before, then $during)" between "$before" "$during" "$((before + 16))"
check "nothing of them stays ($mapped mappings, then $(mappings))" between 1 "$(mappings)" "$((mapped + 60))"
check_equal "the log has said so once" 1 "$(grep -c "no further thread for requests: Too many open files" "$MNT.log")"
prlimit --pid "$pid" --nofile="$limits"
sleep 0.2
burst "long polls with a thread for each again" user.arsync.wait.1 20 1 2500
check "there are more threads now ($during, then $(threads))" between "$((during + 1))" "$(threads)" 1000
end_job || exit

# shellcheck disable=SC2034 # what lib.sh looks at
MNT=$first
check "the first mount has not noticed" lookups 601 800
