#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The command line: copies inside the mount and outside, its habits, the progress bar on a terminal, Ctrl-C,
# jobs, wait, cancel, stats, exit codes. Needs a mount with allow_other and options that make copies slow.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need python3 setpriv getfattr

arsync() { "$ARSYNC" "$@"; }
json() { python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"; }
as_user() { setpriv --reuid=4321 --regid=4322 --clear-groups "$@"; }
on_terminal() { python3 "${0%/*}/terminal.py" "$@"; }

# status_is STATUS COMMAND...
status_is() {
	local expected=$1 status=0 output
	shift
	output=$("$@" 2>&1) || status=$?
	((status == expected)) || {
		echo "status $status instead of $expected: $output"
		return 1
	}
}

make_tree() {
	mkdir -p "$1/a/b"
	for ((i = 0; i < 30; i++)); do echo "$i" >"$1/a/file$i"; done
	head -c 2000000 /dev/urandom >"$1/big"
	ln "$1/big" "$1/a/linked"
	ln -s big "$1/link"
}

# --- copies, inside the mount and outside -------------------------------------------------------------

for at in "$MNT" "$SCRATCH"; do
	[[ $at == "$MNT" ]] && where="in the mount" || where="outside"
	cd "$at" || exit
	make_tree tree
	jobs_before=$(arsync jobs --json --all "$MNT" | json "len(j)")
	check "$where: a tree" arsync copy tree copy
	check_same_tree "$where: a tree: the copy" tree copy
	mkdir into
	check "$where: several into a directory" arsync copy tree tree/big tree/a/file1 into
	check_same_tree "$where: several: the tree" tree into/tree
	check "$where: several: a file" cmp tree/big into/big
	check "$where: -t" arsync copy -t into tree/a copy/
	check_same_tree "$where: -t: the copy" copy into/copy
	check "$where: a file" arsync copy tree/big big
	check "$where: a file: the copy" cmp tree/big big
	check "$where: slashes" arsync copy tree/ "$at//slashes/"
	check_same_tree "$where: slashes: the copy" tree slashes
	mkdir named
	check_fails "$where: -T" "File exists" arsync copy -T tree named
	check "$where: --local" arsync copy --local tree local
	check_same_tree "$where: --local: the copy" tree local
	check "$where: a newline in the name" arsync copy tree $'new\nline'
	check_same_tree "$where: a newline: the copy" tree $'new\nline'
	check_equal "$where: --json" "done 32 0" \
		"$(arsync copy --json tree json | json "j['state'], j['files'] + (j['files'] == 31), len(j['errors'])" | tr -d "(),'")"
	check "$where: -v" contains "$(arsync copy -v tree verbose 2>&1)" "tree -> verbose: "
	check_equal "$where: silent otherwise" "" "$(arsync copy tree silent 2>&1)"

	check "$where: a source that is missing: 1" status_is 1 arsync copy nowhere x
	check_fails "$where: a source that is missing" "No such file" arsync copy nowhere x
	check "$where: DEST exists: 1" status_is 1 arsync copy -T tree copy
	check_fails "$where: its directory is missing" "No such file" arsync copy tree nowhere/x
	check_fails "$where: into itself" "Invalid argument" arsync copy tree tree/self
	check_fails "$where: several to a file" "Not a directory" arsync copy tree copy big
	check_fails "$where: a file to a new directory" "Not a directory" arsync copy big new/
	check_fails "$where: no name" "needs a name" arsync copy . into
	check "$where: wrong usage: 2" status_is 2 arsync copy tree
	check "$where: a wrong option: 2" status_is 2 arsync copy --nonsense tree x
	check "$where: a wrong value: 2" status_is 2 arsync copy --io=nonsense tree x
	check "$where: the rest is copied when one fails: 1" status_is 1 arsync copy nowhere tree/link into/tree/a tree/a/file2 into
	check "$where: the rest" test -e into/file2
	check_equal "$where: --dry-run" "tree -> dry" "$(arsync copy --dry-run tree dry)"
	check "$where: --dry-run: nothing" test ! -e dry
	check "$where: --dry-run of what cannot be" status_is 1 arsync copy --dry-run -T tree copy
	check "$where: nothing is left" nothing_left "$at"
	n=$(($(arsync jobs --json --all "$MNT" | json "len(j)") - jobs_before))
	if [[ $at == "$MNT" ]]; then
		check "$where: the mount made them" between 10 "$n" 30
	else
		check_equal "$where: the mount had nothing to do" 0 "$n"
	fi
done

cd "$MNT" || exit
check "from the mount to elsewhere" arsync copy tree "$SCRATCH/from_mount"
check_same_tree "from the mount: the copy" tree "$SCRATCH/from_mount"
check "from elsewhere into the mount" arsync copy "$SCRATCH/tree" from_scratch
check_same_tree "from elsewhere: the copy" "$SCRATCH/tree" from_scratch

# --- jobs, wait, cancel, stats ------------------------------------------------------------------------

check "jobs: a table" contains "$(arsync jobs "$MNT")" "tree -> copy"
check "jobs: from inside" contains "$(cd tree/a && arsync jobs)" "done"
check_fails "jobs: not a mount" "not in an arsyncfs mount" arsync jobs /
check_equal "jobs: --json" "True" "$(arsync jobs --json . | json "all(x['state'] in ('done', 'failed') for x in j)")"
check "stats" contains "$(arsync stats "$MNT")" "jobs.started"
check_equal "stats: --json" "True" "$(arsync stats --json . | json "j['jobs']['started'] > 0")"

id=$(arsync copy --background tree background)
check "--background: a number" test "$id" -gt 0
check "wait" arsync wait . "$id"
check_same_tree "--background: the copy" tree background
check_equal "wait: --json" "done" "$(arsync wait --json . "$id" | json "j['state']")"
check "wait: no such job: 1" status_is 1 arsync wait . 99999
check "wait: not a number: 2" status_is 2 arsync wait . one
check "cancel: has ended: 1" status_is 1 arsync cancel . "$id"
check_fails "--background outside" "not in one arsyncfs mount" arsync copy --background "$SCRATCH/tree" x

mkdir slow "$SCRATCH/slow"
head -c 500M /dev/zero | tee "$SCRATCH"/slow/{big,bigger,biggest} slow/big slow/bigger >slow/biggest
id=$(arsync copy -b slow slow.copy)
check "wait: --timeout: 4" status_is 4 arsync wait --timeout=0.05 . "$id"
check "jobs: it runs" contains "$(arsync jobs .)" "running"
check "cancel" arsync cancel . "$id"
check "wait: cancelled: 3" status_is 3 arsync wait . "$id"
arsync copy slow slow.copy 2>"$RUN_DIR/err" &
pid=$!
running_job() { arsync jobs . | awk '$2 == "running" { print $1; found = 1 } END { exit !found }'; }
wait_until 5 running_job >"$RUN_DIR/id"
check "cancel by somebody else" arsync cancel . "$(cat "$RUN_DIR/id")"
wait "$pid"
check_equal "cancel by somebody else: 3" 3 $?
check "cancel by somebody else: told" contains "$(cat "$RUN_DIR/err")" "cancelled by somebody else; nothing is left at slow.copy"

# --- a user -------------------------------------------------------------------------------------------

mkdir home
chown 4321:4322 home
check "a user's copy of what is root's" as_user "$ARSYNC" copy tree home/copy
check_equal "it is the user's" "" "$(find home/copy ! -uid 4321)"
check_equal "the mount made it" "home/copy" "$(as_user "$ARSYNC" jobs --json . | json "j[0]['destination']")"
id=$(as_user "$ARSYNC" copy -b slow home/slow)
check "a user cancels without a right to write to the root" as_user "$ARSYNC" cancel . "$id"
check "it is cancelled: 3" status_is 3 as_user "$ARSYNC" wait . "$id"
check "a user's copy to where they may not write: 1" status_is 1 as_user "$ARSYNC" copy tree user.copy
check "nothing is left of users' copies" nothing_left "$BACKING"

# --- Ctrl-C -------------------------------------------------------------------------------------------

# interrupted SIGNAL EXPECTED COMMAND...
interrupted() {
	local signal=$1 expected=$2 pid started took status
	shift 2
	env --default-signal "$@" 2>"$RUN_DIR/err" &
	pid=$!
	sleep 0.25
	started=$(now_ms)
	kill -s "$signal" "$pid"
	wait "$pid"
	status=$?
	took=$(($(now_ms) - started))
	((status == expected)) || {
		echo "status $status instead of $expected, after $took ms: $(cat "$RUN_DIR/err")"
		return 1
	}
	((took < 2000)) || {
		echo "took $took ms"
		return 1
	}
	contains "$(cat "$RUN_DIR/err")" "cancelled; nothing is left at interrupted"
}

slow_options=(--local --reflink=never --direct=always --workers=1 --queue_depth=1 --block_size=64K)
check "Ctrl-C in the mount: 130" interrupted INT 130 "$ARSYNC" copy slow interrupted
check "SIGTERM in the mount: 143" interrupted TERM 143 "$ARSYNC" copy slow interrupted
check "nothing is left in the mount" nothing_left "$BACKING"
cd "$SCRATCH" || exit
check "Ctrl-C outside: 130" interrupted INT 130 "$ARSYNC" copy "${slow_options[@]}" slow interrupted
check "SIGTERM outside: 143" interrupted TERM 143 "$ARSYNC" copy "${slow_options[@]}" slow interrupted
check "nothing is left outside" nothing_left "$SCRATCH"
check "no copy" test ! -e interrupted

# --- on a terminal ------------------------------------------------------------------------------------

# What the bar must be: never wider than the terminal, percentages that rise, gone at the end.
cat >"$RUN_DIR/bar.py" <<'END'
import json, re, sys
j = json.load(sys.stdin)
expected, widths = int(sys.argv[1]), {int(w) for w in sys.argv[2].split(",")}
assert j["status"] == expected, j
bars = [(w, l) for w, l in j["lines"] if "%" in l]
assert bars, j
for width, line in j["lines"]:
    late = (width, line) == next((b for b in bars if b[0] == width), None)  # drawn before the resize
    assert len(line) < width or late and len(line) < max(widths) or "arsync:" in line, (width, line)
assert {w for w, _ in bars} == widths, {w for w, _ in bars}
percents = [int(m.group(1)) for _, l in bars if (m := re.search(r"(\d+)%", l))]
assert percents == sorted(percents), percents
if expected == 0:
    assert len(set(percents)) >= 2, percents
if min(widths) >= 80:
    assert re.search(r"\[=*>? *\] +(\d+|\?)%  [\d.]+ \w+(/[\d.]+ \w+)?  [\d.]+ \w+/s  ETA ", bars[-1][1]), bars[-1]
print(bars[len(bars) // 2])
END
bar() { python3 "$RUN_DIR/bar.py" "$@"; }

for at in "$MNT" "$SCRATCH"; do
	cd "$at" || exit
	options=()
	[[ $at == "$MNT" ]] || options=("${slow_options[@]}")
	[[ $at == "$MNT" ]] && where="in the mount" || where="outside"
	on_terminal 100 -- "$ARSYNC" copy "${options[@]}" slow bar >"$RUN_DIR/bar.json"
	check "a bar of 100 columns, $where" bar 0 100 <"$RUN_DIR/bar.json"
	rm -r bar
	on_terminal 30 -- "$ARSYNC" copy "${options[@]}" slow bar >"$RUN_DIR/bar.json"
	check "a bar of 30 columns, $where" bar 0 30 <"$RUN_DIR/bar.json"
	rm -r bar
	on_terminal 120:0.35=50 -- "$ARSYNC" copy "${options[@]}" slow bar >"$RUN_DIR/bar.json"
	check "a terminal that is resized, $where" bar 0 120,50 <"$RUN_DIR/bar.json"
	rm -r bar
	on_terminal 90 --int-after 0.1 -- "$ARSYNC" copy "${options[@]}" slow bar >"$RUN_DIR/bar.json"
	check "Ctrl-C on a terminal, $where" bar 130 90 <"$RUN_DIR/bar.json"
	check "it is told what became of it, $where" contains "$(cat "$RUN_DIR/bar.json")" "arsync: cancelled; nothing is left at bar"
	check "and there is nothing, $where" test ! -e bar
done
cd "$MNT" || exit
on_terminal 100 --int-after 1.5 -- "$ARSYNC" jobs --watch . >"$RUN_DIR/watch.json"
check_equal "jobs --watch ends with Ctrl-C" 0 "$(json "j['status']" <"$RUN_DIR/watch.json")"
check_equal "jobs --watch shows the table again" "True" \
	"$(json "sum('SOURCE' in l for w, l in j['lines']) >= 2 and all(len(l) <= w for w, l in j['lines'])" <"$RUN_DIR/watch.json")"

# Names that a terminal would obey
mkdir $'evil\e[2J\a'
check "an evil name" arsync copy $'evil\e[2J\a' tame
check_not "jobs show it without control characters" grep -q $'\e' <(arsync jobs .)

# --- by hand: the examples of arsync(1) ---------------------------------------------------------------

check "--help" contains "$(arsync --help)" "arsync copy SRC... DEST"
for command in copy jobs wait cancel stats; do
	check "$command --help" contains "$(arsync "$command" --help)" "Usage: arsync $command"
done
check "--version" contains "$(arsync --version)" "arsync "
check "no command: 2" status_is 2 "$ARSYNC"
check "a wrong command: 2" status_is 2 "$ARSYNC" nonsense
