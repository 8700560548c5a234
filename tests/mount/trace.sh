#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The system calls of a copy, as tools/trace counts them: rings, enters, and no call on file data besides the ring.
# Both for the engine alone and for a mount while cp and setfattr run.
. "$TEST_LIB"
need strace python3

trace=$(dirname "$TEST_LIB")/../../tools/trace

# value JSON EXPRESSION: of the report, as Python sees it.
value() { python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }

"$trace" --json --arsync "$ARSYNC" --dir "$SCRATCH" >"$SCRATCH/report" ||
	fail "tools/trace failed"
calls() { value "$SCRATCH/report" "r['$1']['calls'].get('$2', {}).get('calls', 0)"; }

check_equal "a sequential copy makes one ring" 1 "$(calls sequential io_uring_setup)"
check "at most 64 io_uring_enter for 100 MiB in sequence ($(calls sequential io_uring_enter))" \
	test "$(calls sequential io_uring_enter)" -le 64
check "at most 64 io_uring_enter for 100 MiB in parallel ($(calls parallel io_uring_enter))" \
	test "$(calls parallel io_uring_enter)" -le 64
check "a directory takes one ring a worker ($(calls directory io_uring_setup) of $(nproc))" \
	test "$(calls directory io_uring_setup)" -eq "$(nproc)"
for copy in sequential parallel directory; do
	check_equal "$copy: no call on file data besides the ring" \
		"{}" "$(value "$SCRATCH/report" "r['$copy']['on_data']")"
done

# The product itself: the daemon, while cp runs in the mount.
head -c 100M /dev/urandom >"$BACKING/big"
mkdir "$BACKING/tree"
for name in a b c; do head -c 20M /dev/urandom >"$BACKING/tree/$name"; done
for command in "cp $MNT/big $MNT/copy" "setfattr -n user.arsync.copy -v tree-copy $MNT/tree"; do
	# shellcheck disable=SC2086 # words
	bounded 100 "$trace" --json --pid "$(daemon_pid)" --data "$BACKING" -- $command >"$SCRATCH/report" ||
		fail "tools/trace failed for: $command"
	check_equal "no call on file data besides the ring: ${command%% *}" \
		"{}" "$(value "$SCRATCH/report" "r['command']['on_data']")"
	check "the ring was used: ${command%% *}" test "$(calls command io_uring_enter)" -gt 0
done
check "the copy is right" cmp "$BACKING/big" "$BACKING/copy"
check "the tree is right" diff -r "$BACKING/tree" "$BACKING/tree-copy"

# And tools/trace would see it: the sync method reads and writes by calls.
"$trace" --json --arsync "$ARSYNC" --dir "$SCRATCH" --option=--io=sync >"$SCRATCH/report" ||
	fail "tools/trace failed with io=sync"
check "tools/trace sees the calls of io=sync" \
	test "$(value "$SCRATCH/report" "r['sequential']['on_data'].get('pread64', 0)")" -gt 0
