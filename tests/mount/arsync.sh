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

to_full_disk() { "$@" >/dev/full; }

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
	check "$where: -T onto the working directory" \
		env -C named "$ARSYNC" copy -T --existing=merge ../tree .
	check_same_tree "$where: -T onto the working directory: the copy" tree named
	check "$where: -T onto the directory above" \
		env -C named/a "$ARSYNC" copy -T --existing=merge ../../tree ..
	check_fails "$where: a full disk behind --json" "cannot write to standard output: No space left" \
		to_full_disk arsync copy --json tree full
	check "$where: --local" arsync copy --local tree local
	check_same_tree "$where: --local: the copy" tree local
	check "$where: a newline in the name" arsync copy tree $'new\nline'
	check_same_tree "$where: a newline: the copy" tree $'new\nline'
	check_equal "$where: --json of what cannot begin" "failed EEXIST tree" \
		"$(arsync copy --json -T tree copy 2>/dev/null | json "j['state'], j['errors'][0]['errno'], j['source']" | tr -d "(),'")"
	check_equal "$where: --json of a source that is not there" "failed ENOENT 1" \
		"$(arsync copy --json nowhere x 2>/dev/null | json "j['state'], j['errors'][0]['errno'], j['failures']" | tr -d "(),'")"
	cp -r tree/a $'bytes\xff'
	check_equal "$where: --json of a name that is not UTF-8" "True 30 30" \
		"$(arsync copy --json $'bytes\xff' bytes | json "j['source_hex'].endswith('6279746573ff'), j['files_total'] - (j['files_total'] > 30), 30" | tr -d "(),'")"
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

# --- what users have mounted inside --------------------------------------------------------------------

jobs_made() { arsync jobs --json --all . | json "len(j)"; }
# elsewhere DESCRIPTION EXPECTED SOURCE DESTINATION FILE: not by the mount; FILE of the copy says EXPECTED.
elsewhere() {
	local before
	before=$(jobs_made)
	check_fails "$1: -b" "something else is mounted in there" arsync copy -b "$3" "$4"
	check "$1" arsync copy "$3" "$4"
	check_equal "$1: the copy" "$2" "$(cat "$5")"
	check_equal "$1: not by the mount" "$before" "$(jobs_made)"
}
mkdir -p over/tree/{m,m2} over/{to,a/sub} $'over/b\tc \\d'
echo covered | tee over/tree/m/f >over/tree/m2/f
echo other | tee over/a/sub/x >over/a/sub/y
echo covered >$'over/b\tc \\d/x'
echo "a file's" >over/file
echo covered >over/one
mount -t tmpfs tmpfs over/tree/m
echo seen >over/tree/m/f
mount -t tmpfs tmpfs over/to
mount --bind over/a/sub $'over/b\tc \\d'
mount --bind over/file over/one
elsewhere "a mount below the source" seen over/tree over/copy over/copy/m/f
elsewhere "a mount above the source" seen over/tree/m/f over/f over/f
elsewhere "a mount at the source" seen over/tree/m over/m over/m/f
elsewhere "a mount at the directory of the copy" covered over/tree/m2 over/to over/to/m2/f
check_equal "a mount at the directory of the copy: not below it" "" "$(ls -A "$BACKING/over/to")"
elsewhere "a bind mount of the mount itself" other $'over/b\tc \\d/x' over/x over/x
elsewhere "a bind mount of a file" "a file's" over/one over/two over/two
mkdir -p over/into/copy
mount -t tmpfs tmpfs over/into/copy
check "a mount at the copy" arsync copy -T --existing=merge over/a over/into/copy
check_equal "a mount at the copy: into it" other "$(cat over/into/copy/sub/x)"
check_equal "a mount at the copy: not below it" "" "$(ls -A "$BACKING/over/into/copy")"
jobs_before=$(jobs_made)
check "mounts beside them" arsync copy over/tree/m2 over/into/m2
check "mounts beside them: a directory" arsync copy over/a over/into
check_equal "mounts beside them: by the mount" $((jobs_before + 2)) "$(jobs_made)"
umount over/tree/m over/to $'over/b\tc \\d' over/one over/into/copy
check "nothing is mounted any more" arsync copy over/tree over/into/tree
check_equal "nothing is mounted any more: by the mount" $((jobs_before + 3)) "$(jobs_made)"

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
check "nothing is left of users' copies" wait_until 10 nothing_left "$BACKING"

# --- Ctrl-C -------------------------------------------------------------------------------------------

# Before, a signal ends it without a word.
holds_signals() { grep -q '^SigBlk:.*[1-9a-f]' "/proc/$1/status"; }

# interrupted SIGNAL EXPECTED COMMAND...
interrupted() {
	local signal=$1 expected=$2 pid started took status
	shift 2
	env --default-signal "$@" 2>"$RUN_DIR/err" &
	pid=$!
	wait_until 10 holds_signals "$pid"
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
check "SIGHUP in the mount: 129" interrupted HUP 129 "$ARSYNC" copy slow interrupted
check "nothing is left in the mount" wait_until 10 nothing_left "$BACKING"
cd "$SCRATCH" || exit
check "Ctrl-C outside: 130" interrupted INT 130 "$ARSYNC" copy "${slow_options[@]}" slow interrupted
check "SIGTERM outside: 143" interrupted TERM 143 "$ARSYNC" copy "${slow_options[@]}" slow interrupted
check "SIGHUP outside: 129" interrupted HUP 129 "$ARSYNC" copy "${slow_options[@]}" slow interrupted
check "nothing is left outside" nothing_left "$SCRATCH"
check "no copy" test ! -e interrupted

# --- started with standard input, output and error closed ------------------------------------------------

without_descriptors() { "$@" <&- >&- 2>&-; }
without_output() { "$@" >&-; }
for at in "$MNT" "$SCRATCH"; do
	cd "$at" || exit
	options=()
	[[ $at == "$MNT" ]] || options=("${slow_options[@]}")
	[[ $at == "$MNT" ]] && where="in the mount" || where="outside"
	env --default-signal "$ARSYNC" copy "${options[@]}" slow closed <&- >&- 2>&- &
	pid=$!
	wait_until 10 holds_signals "$pid"
	sleep 0.1
	check_equal "$where: closed: nothing else has their numbers" "/dev/null /dev/null /dev/null" \
		"$(readlink "/proc/$pid/fd/"{0,1,2} | paste -sd ' ')"
	kill -s INT "$pid"
	wait "$pid"
	check_equal "$where: closed: Ctrl-C" 130 $?
	check "$where: closed: a tree" without_descriptors arsync copy -v tree closed
	check_same_tree "$where: closed: the copy" tree closed
	rm -r closed
done
check_fails "closed: what cannot be printed" "cannot write to standard output" \
	without_output arsync jobs "$MNT"

# --- into itself, which only the names tell ------------------------------------------------------------

mkdir "$MNT/around"
check_fails "into itself, through the mount" "Invalid argument" \
	timeout 10 "$ARSYNC" copy "$BACKING/around" "$MNT/around/inside"
check_fails "into itself, out of the mount" "Invalid argument" \
	timeout 10 "$ARSYNC" copy "$MNT/around" "$BACKING/around/inside"
check_equal "into itself: nothing is left" "" "$(ls -A "$BACKING/around")"

# --- files that do not tell their size ------------------------------------------------------------------

for at in "$MNT" "$SCRATCH"; do
	cd "$at" || exit
	check "${at##*/}: of procfs: one" arsync copy /proc/version version
	check "${at##*/}: of procfs: one: contents" cmp /proc/version version
	check "${at##*/}: of procfs: one, verified" arsync copy --verify /proc/version verified
	check "${at##*/}: of procfs: a tree" arsync copy /proc/sys/kernel/random random
	check "${at##*/}: of procfs: a tree: contents" cmp /proc/sys/kernel/random/boot_id random/boot_id
	check "${at##*/}: of procfs: merge" arsync copy -T --existing=merge /proc/sys/kernel/random random
	check_equal "${at##*/}: of procfs: --json counts it" "$(wc -c </proc/version)" \
		"$(arsync copy --json /proc/version counted | json "j['bytes']")"
done

check_fails "what has no contents yet keeps nobody waiting" "Resource temporarily unavailable" \
	timeout 10 python3 - "$ARSYNC" <<'PYTHON'
import os, subprocess, sys
# Somebody reads the kernel's log to its end; what is new comes to who reads next.
fd = os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK)
try:
    while os.read(fd, 1 << 16):
        pass
except BlockingIOError:
    pass
sys.exit(subprocess.run([sys.argv[1], "copy", "/proc/kmsg", "kmsg"]).returncode)
PYTHON
check "and nothing is left of it" nothing_left "$SCRATCH"

# --- sources of the same name ---------------------------------------------------------------------------

# same_name WHERE OPTION...: of two files and of two directories the first ones stay.
same_name() {
	local where=$1 output status=0
	shift
	mkdir same.into
	output=$(arsync copy --json "$@" same/1/x same/1/tree same/2/{x,tree,other} same.into 2>&1) || status=$?
	check_equal "$where: exit status" 1 "$status"
	check_equal "$where: the first ones are there, and what has another name" "1 1 other" \
		"$(cat same.into/x same.into/tree/file same.into/other | paste -sd ' ')"
	check "$where: told of the file" contains "$output" \
		"same/2/x to same.into/x: File exists (will not overwrite the just-created copy"
	check "$where: told of the directory" contains "$output" \
		"same/2/tree to same.into/tree: File exists (will not overwrite the just-created copy"
	check_equal "$where: --json" "done done failed EEXIST failed EEXIST done" \
		"$(grep '^{' <<<"$output" | python3 -c 'import json, sys
for j in map(json.loads, sys.stdin):
    print(j["state"], *(e["errno"] for e in j["errors"]))' | paste -sd ' ')"
	check_not "$where: nothing of the other directory" test -e same.into/tree/new
	rm -r same.into
	mkdir same.into
	output=$(arsync copy --dry-run "$@" same/1/x same/2/x same/2/other same.into 2>&1) && status=0 || status=$?
	check_equal "$where: --dry-run: exit status" 1 "$status"
	check_equal "$where: --dry-run" "same/1/x -> same.into/x same/2/other -> same.into/other" \
		"$(grep '>' <<<"$output" | paste -sd ' ')"
	check "$where: --dry-run: told" contains "$output" "will not overwrite the just-created copy"
	rmdir same.into
}

for at in "$MNT" "$SCRATCH"; do
	cd "$at" || exit
	[[ $at == "$MNT" ]] && where="in the mount" || where="outside"
	mkdir -p same/{1,2}/tree same/3/x
	for i in 1 2; do
		echo $i >same/$i/x
		echo $i >same/$i/tree/file
	done
	touch -d 2001-01-01 same/1/{x,tree/file}
	echo new >same/2/tree/new
	echo other >same/2/other
	all=(merge) # who copies makes no difference
	[[ $at == "$SCRATCH" ]] || all+=(fail update replace)
	for existing in "${all[@]}"; do
		same_name "$where: the same name, existing=$existing" --existing="$existing"
	done
	mkdir same.into
	check "$where: the same name, existing=skip" arsync copy -n same/{1,2}/{x,tree} same.into
	check_equal "$where: the same name, existing=skip: the first ones are there" "1 1 new" \
		"$(cat same.into/x same.into/tree/{file,new} | paste -sd ' ')"
	# What could not be copied keeps nobody else away.
	check "$where: the same name, the first one fails: 1" status_is 1 \
		arsync copy --existing=replace same/3/x same/2/x same.into
	check_equal "$where: the same name, the first one fails: the second is there" 2 "$(cat same.into/x)"
	rm -r same same.into
done

# --- the root of the mount, and where no path leads ----------------------------------------------------

cd "$MNT" || exit
mkdir whole
echo 1 >whole/of-the-root
check "-T onto the root of the mount" arsync copy -T --existing=merge whole "$MNT"
check "-T onto the root as the working directory" arsync copy -T --existing=update whole .
check_equal "-T onto the root: it is there" 1 "$(cat of-the-root)"
check_fails "-T onto the root: it is never replaced" "Invalid argument" \
	arsync copy -T --existing=replace whole "$MNT"
for at in "$MNT" "$SCRATCH"; do
	status=0
	python3 - "$at" "$ARSYNC" <<'PYTHON' || status=$?
import os, subprocess, sys
os.chdir(sys.argv[1])
for i in range(30): # 30 x 200 is more than PATH_MAX
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
with open("file", "w") as f:
    f.write("far down")
subprocess.run([sys.argv[2], "copy", "file", "copy"], check=True)
assert open("copy").read() == "far down"
PYTHON
	check_equal "${at##*/}: in a directory that no path leads to" 0 "$status"
done

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
# tamed DESCRIPTION STATUS TEXT COMMAND...: ends with STATUS and says TEXT, without control characters.
tamed() {
	local description=$1 expected=$2 text=$3 output status=0
	shift 3
	output=$("$@" 2>&1) || status=$?
	check_equal "$description: exit status" "$expected" "$status"
	check "$description: it tells the name" contains "$output" "$text"
	check_not "$description: without control characters" grep -q $'[\e\a]' <<<"$output"
}
: >$'evil\e[2J\a/closed\e[2J'
chmod 0 $'evil\e[2J\a/closed\e[2J'
id=$(as_user "$ARSYNC" copy -b $'evil\e[2J\a' home/evil)
tamed "wait for an evil name" 1 "closed?[2J" as_user "$ARSYNC" wait . "$id"
tamed "copy of an evil name" 1 "evil?[2J?" as_user "$ARSYNC" copy --local $'evil\e[2J\a' home/evil
tamed "copy -v of an evil name" 0 "evil?[2J? -> " arsync copy -v $'evil\e[2J\a' verbosely
tamed "copy --dry-run of an evil name" 0 "evil?[2J? -> dry" arsync copy --dry-run $'evil\e[2J\a' dry-run
tamed "what is there already" 1 "evil?[2J?" arsync copy -T tame $'evil\e[2J\a'

# --- by hand: the examples of arsync(1) ---------------------------------------------------------------

check "--help" contains "$(arsync --help)" "arsync copy SRC... DEST"
for command in copy jobs wait cancel stats; do
	check "$command --help" contains "$(arsync "$command" --help)" "Usage: arsync $command"
done
check "--version" contains "$(arsync --version)" "arsync "
check "no command: 2" status_is 2 "$ARSYNC"
check "a wrong command: 2" status_is 2 "$ARSYNC" nonsense
