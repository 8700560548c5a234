#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# While requests come one after the other, processors are held awake; not before, not after.
# shellcheck disable=SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr python3

driver=$(cat /sys/devices/system/cpu/cpuidle/current_driver 2>/dev/null || true)
[[ $driver && $driver != none ]] || skip "nothing here puts processors to sleep"
[[ $driver != haltpoll ]] || (($(nproc --all) <= 16)) || skip "too many processors"

# allowed: the microseconds that a wake-up may take, of all who ask for something.
allowed() { od -An -td4 -N4 /dev/cpu_dma_latency | tr -d ' '; }
is_held() { (($(allowed) <= 10)); }
is_free() { (($(allowed) > 10)); }
daemon_holds() { find "/proc/$(daemon_pid)/fd" -lname /dev/cpu_dma_latency 2>/dev/null | grep -q .; }

allowed >/dev/null 2>&1 || skip "/dev/cpu_dma_latency cannot be read"
# Another daemon's test may have left it a moment ago.
wait_until 2 is_free || skip "somebody else holds the processors awake"

# ask SECONDS: thousands of requests a second.
ask() {
	python3 -c '
import os, sys, time
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        os.getxattr(sys.argv[1], "user.none")
    except OSError:
        pass' "$MNT/file" "$1"
}

: >"$MNT/file"
sleep 0.2
check "free before" is_free
ask 4 &
asker=$!
check "held while requests come" wait_until 2 is_held
check "by the daemon" wait_until 1 daemon_holds
check "and said so" wait_until 1 contains "$(stats)" '"cpu_latency_held":true'
wait "$asker"
check "free again" wait_until 2 is_free
check "and said so, too" contains "$(stats)" '"cpu_latency_held":false'

ask 4 &
asker=$!
check "held again" wait_until 2 is_held
mount_stop
check "free without the daemon" wait_until 2 is_free
wait "$asker"
mount_start --cpu_latency=never
ask 2 &
asker=$!
check_not "cpu_latency=never" wait_until 1 daemon_holds
wait "$asker"
