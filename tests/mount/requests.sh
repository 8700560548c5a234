#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# How many requests a file costs. RELEASE is counted apart: nobody waits for it.
# shellcheck disable=SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr python3

files=200

# snapshot FILE: the counters of requests, "NAME COUNT" a line.
snapshot() {
	stats | python3 -c '
import json, sys
for name, count in sorted(json.load(sys.stdin)["requests"].items()):
    print(name, count)' >"$1"
}

# asked COMMAND...: runs it; $released and $answered: requests a hundred files, $kinds: which.
asked() {
	snapshot "$RUN_DIR/before"
	"$@" >/dev/null
	snapshot "$RUN_DIR/after"
	# Our own question for the counters is one GETXATTR.
	kinds=$(join -a 2 -e 0 -o 2.1,1.2,2.2 "$RUN_DIR/before" "$RUN_DIR/after" |
		awk '$1 == "GETXATTR" { $3 -= 1 } $3 > $2 { print $1, $3 - $2 }')
	released=$(awk -v files=$files '/^RELEASE / { n += $2 } END { print int(100 * n / files) }' \
		<<<"$kinds")
	answered=$(awk -v files=$files '!/^(RELEASE|RELEASEDIR|FORGET) / { n += $2 }
		END { print int(100 * n / files) }' <<<"$kinds")
	echo "# ${*##*/}: $(tr '\n' ' ' <<<"$kinds")"
}

mkdir "$MNT/src"
for ((i = 0; i < files; i++)); do
	echo "content $i" >"$MNT/src/a-file-$i"
done
sync -f "$BACKING"

ls -l "$MNT/src" >/dev/null # attributes and ACLs are known now
asked cp -r "$MNT/src" "$MNT/r"
check "cp -r waits for at most 6.2 requests a file: $answered of 100 files" \
	between 300 "$answered" 620
check "and 2 RELEASE: $released" between 0 "$released" 202
check_not "no FLUSH" contains "$kinds" FLUSH
check "cp -r has copied all of it" diff -r "$BACKING/src" "$BACKING/r"

ls -l "$MNT/src" >/dev/null
asked cp -a "$MNT/src" "$MNT/a"
check "cp -a waits for at most 11.2 requests a file: $answered of 100 files" \
	between 500 "$answered" 1120
check "and 2 RELEASE: $released" between 0 "$released" 202
check_same_tree "cp -a has copied all of it" "$BACKING/src" "$BACKING/a"

find "$MNT/src" -ls >/dev/null
asked find "$MNT/src" -ls
check "find a second time asks for directories only: $answered of 100 files" between 0 "$answered" 10
