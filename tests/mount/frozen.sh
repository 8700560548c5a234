#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The backing file system is frozen for a while: others are served, and SIGTERM ends the mount.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need setfattr python3 fsfreeze
trap 'status=$?; thaw 2>/dev/null; checks_end $status' EXIT

WAITING=100
CLIENTS=16

# freeze: for 20 s at the most, for nobody can be killed that waits.
freeze() {
	fsfreeze --freeze "$BACKING" || return
	(sleep 20 && fsfreeze --unfreeze "$BACKING") 2>/dev/null &
	watchdog=$!
}
thaw() {
	kill "$watchdog" 2>/dev/null
	fsfreeze --unfreeze "$BACKING"
}

# --- Many wait, others do not ---------------------------------------------------------------------------

mkdir -p "$BACKING/waiting/"{1..100}
echo kept >"$BACKING/file"
ls -lR "$MNT" >/dev/null
freeze
pids=()
for ((i = 1; i <= WAITING; i++)); do
	mkdir "$MNT/waiting/$i/made" & # (in one directory the kernel lets them through one by one)
	pids+=($!)
done
# (Without a request, which would let the kernel go on.)
all_wait() { (($(cat /proc/"$(daemon_pid)"/task/*/stack | grep -cE '(do|filename)_mkdirat') == WAITING)); }
check "all of them have been asked for" wait_until 10 all_wait
check "somebody else is served meanwhile" bounded 5 ls -l "$MNT"
check_equal "and reads" kept "$(bounded 5 cat "$MNT/file")"
thaw
for pid in "${pids[@]}"; do
	wait "$pid" || fail "mkdir ended with $?"
done
check_equal "all are there" "$WAITING" "$(find "$BACKING/waiting" -name made | wc -l)"
rm -r "$BACKING/waiting"

# --- SIGTERM --------------------------------------------------------------------------------------------
# While the kernel is told of many changed names, in a directory in which others are at work.

mkdir -p "$BACKING/src" "$BACKING/into"
python3 - "$BACKING/src" <<'END'
import sys
for i in range(40000):
    with open(f"{sys.argv[1]}/file-{i}", "w") as f:
        f.write(str(i))
END

# Makes names in the directory, which needs its lock in the kernel, and asks for names that it has not, of
# which the kernel therefore has to hear when they appear; until the mount is gone.
client() {
	python3 - "$MNT/into" "$1" <<'END'
import os, sys
path = f"{sys.argv[1]}/client-{sys.argv[2]}"
n = 0
try:
    while True:
        n += 1
        os.path.exists(f"{path}-{n}")
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink(path)
except OSError:
    pass
END
}
clients_work() { (($(requests CREATE) > 1000)); }
# Freezes the file system, in the right moment.
frozen() {
	freeze
	sleep 0.1
	! cat /proc/"$(daemon_pid)"/task/*/stack | grep -q fuse_reverse_inval_entry || return 0
	thaw
	return 1
}
ended() { ! kill -0 "$1" 2>/dev/null; }

found=0
for round in 1 2 3; do
	((round == 1)) || check "round $round: a new mount" mount_start
	rm -rf "$BACKING/into"
	mkdir "$BACKING/into"
	pids=()
	for ((i = 0; i < CLIENTS; i++)); do
		client "$i" &
		pids+=($!)
	done
	check "round $round: clients are at work" wait_until 20 clients_work
	setfattr -n user.arsync.copy -v $'into\nexisting=merge' "$MNT/src" 2>/dev/null &
	pids+=($!)
	# The moment in which telling waits for a client, and that for the file system. It may be missed.
	if wait_until 10 frozen; then
		found=$((found + 1))
		kill -TERM "$(daemon_pid)"
		sleep 0.3
		thaw
	else
		kill -TERM "$(daemon_pid)"
	fi
	check "round $round: the daemon ends" wait_until 15 daemon_ended
	daemon_ended || mount_kill
	check_equal "round $round: without an error" 0 "$(cat "$MNT.exit")"
	for pid in "${pids[@]}"; do
		check "round $round: a client is not kept" wait_until 5 ended "$pid"
	done
	check_not "round $round: it is unmounted" is_mounted "$MNT"
	rm -f "$MNT.pid"
done
check "the moment was found" test "$found" -gt 0
check "the last mount" mount_start
