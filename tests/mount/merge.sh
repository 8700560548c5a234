#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Copies onto what exists, and the other options of one copy: by setfattr, by arsync in the mount, and by
# arsync outside. What the kernel has cached of what is replaced is forgotten at once. Needs a mount with
# allow_other and log=info.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need python3 getfattr setfattr setpriv

as_user() { setpriv --reuid=4321 --regid=4322 --clear-groups "$@"; }
get() { getfattr --absolute-names --only-values -n "user.arsync.$1" "$MNT"; }
json() { python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"; }
# job EXPRESSION: of the newest job of the mount, with everything that is known of it as j
job() { get "job.$(get jobs.18446744073709551615 | json "j[0]['id']")" | json "$1"; }

# The same copy in three ways. by WAY SRC DEST [KEY=VALUE]...
by() {
	local way=$1 src=$2 dest=$3 option value
	shift 3
	if [[ $way == setfattr ]]; then
		printf -v value '\n%s' "$@"
		setfattr -n user.arsync.copy -v "${PWD#"$MNT"/}/$dest$value" "$src"
		return
	fi
	local -a options=()
	for option; do
		case $option in
		verify=yes) options+=(--verify) ;;
		one_file_system=yes) options+=(-x) ;;
		*) options+=("--${option/_/-}") ;;
		esac
	done
	"$ARSYNC" copy -T "${options[@]}" "$src" "$dest"
}

make_tree() {
	mkdir -p "$1/a/b" "$1/empty"
	for ((i = 0; i < 20; i++)); do echo "$i" >"$1/a/file$i"; done
	head -c 1500000 /dev/urandom >"$1/big"
	truncate -s 2M "$1/sparse"
	ln "$1/big" "$1/a/linked"
	ln -s big "$1/link"
	mkfifo "$1/fifo"
	touch -d "2001-02-03 04:05:06.7" "$1"/a/file* "$1/a"
}

# What is the same file as before, untouched
inodes() { find "$1" ! -type d -printf '%P %i.%C@\n' | sort; }

# --- every option, three ways ---------------------------------------------------------------------------

mkdir "$MNT/work" "$SCRATCH/work"
for way in setfattr mount outside; do
	[[ $way == outside ]] && cd "$SCRATCH/work" || cd "$MNT/work" || exit
	rm -rf ./*
	make_tree tree

	check "$way: merge: nothing is there" by $way tree copy existing=merge
	check_same_tree "$way: merge: the copy" tree copy
	before=$(inodes copy)
	check "$way: merge again" by $way tree copy existing=merge
	check_equal "$way: merge again: all stays as it is" "$before" "$(inodes copy)"
	rm copy/a/file3
	echo changed >copy/a/file4
	echo mine >copy/a/mine
	touch -h -d "2001-02-03 04:05:07" copy/link
	check "$way: merge: what differs" by $way tree copy existing=merge
	check_equal "$way: merge: what is its own stays" mine "$(cat copy/a/mine)"
	rm copy/a/mine
	touch -r tree/a copy/a
	check_same_tree "$way: merge: the copy, again" tree copy
	check_equal "$way: merge: only that was copied" "file3 file4 link" \
		"$(join -v1 <(echo "$before" | sed 's: :/:' | sort) <(inodes copy | sed 's: :/:' | sort) |
			sed -n 's:^\(a/\)*\([^/]*\)/.*:\2:p' | sort | tr '\n' ' ' | sed 's/ $//')"

	check_fails "$way: fail" "File exists" by $way tree copy existing=fail
	check_fails "$way: fail is what happens without an option" "File exists" by $way tree copy on_error=stop
	check_fails "$way: into itself" "Invalid argument" by $way tree tree existing=merge

	echo longer than before >copy/a/file5
	rm copy/a/file6
	chmod 700 copy/a
	check "$way: skip" by $way tree copy existing=skip
	check_equal "$way: skip: what is there stays" "longer than before 700" "$(cat copy/a/file5) $(stat -c %a copy/a)"
	check_equal "$way: skip: what is missing comes" 6 "$(cat copy/a/file6)"

	echo newer than the source >copy/a/file7
	echo older than the source >copy/a/file8
	touch -d 2000-01-01 copy/a/file8
	check "$way: update" by $way tree copy existing=update
	check_equal "$way: update: newer stays" "newer than the source" "$(cat copy/a/file7)"
	check_equal "$way: update: older is replaced" 8 "$(cat copy/a/file8)"

	echo mine >copy/a/mine
	check "$way: replace" by $way tree copy existing=replace
	check_same_tree "$way: replace: the copy" tree copy
	check "$way: a file: replace" by $way tree/a/file11 copy/a/file2 existing=replace
	check "$way: a file: merge" by $way tree/a/file12 copy/a/file3 existing=merge
	check_equal "$way: a file: both" "11 12" "$(cat copy/a/file2) $(cat copy/a/file3)"

	for option in fsync=never fsync=file fsync=tree reflink=auto reflink=never verify=yes one_file_system=yes; do
		check "$way: $option" by $way tree "with.$option" "$option"
		check_same_tree "$way: $option: the copy" tree "with.$option"
	done
	if [[ $FSTYPE == btrfs ]]; then
		check "$way: reflink=always" by $way tree cloned reflink=always
		check_same_tree "$way: reflink=always: the copy" tree cloned
	elif [[ $FSTYPE != xfs ]]; then
		check_fails "$way: reflink=always" "not supported" by $way tree cloned reflink=always
	fi

	# Kinds that do not fit, at the root and below
	rm -r copy/a/b copy/link
	echo file >copy/a/b
	mkdir copy/link copy/dir
	check_fails "$way: a directory over a file" "Not a directory" by $way tree copy/a/b existing=merge
	check_fails "$way: a file over a directory" "Is a directory" by $way tree/big copy/dir existing=replace
	check_not "$way: kinds below" by $way tree copy existing=merge on_error=continue
	check_equal "$way: nothing is lost" "file directory" "$(cat copy/a/b) $(stat -c %F copy/link)"
	rmdir copy/dir copy/link
	rm copy/a/b
	check "$way: then it goes" by $way tree copy existing=merge
	check_same_tree "$way: then it goes: the copy" tree copy
	check "$way: nothing is left" nothing_left .
done
check_equal "three ways: the mount made two of them" "True" \
	"$(get jobs | json "all(not x['destination'].startswith('/') for x in j) and len(j) > 30")"

# --- refusals -------------------------------------------------------------------------------------------

cd "$MNT/work" || exit
before=$(find "$BACKING" | sort)
for option in existing=Merge existing= nonsense=1 on_error=ignore verify=1 fsync=always workers=2 merge; do
	check_fails "$option" "Invalid argument" by setfattr tree refused "$option"
done
check "a refused value is logged with what is accepted" \
	grep -q 'existing=Merge: expected fail, merge, skip, replace or update' "$MNT.log"
check "so is a refused key" grep -q 'no option "nonsense": expected existing, on_error, .*; or tag' "$MNT.log"
check_fails "the root is no copy" "Invalid argument" setfattr -n user.arsync.copy -v "$MNT"$'\nexisting=merge' tree
check_equal "refusals leave nothing" "$before" "$(find "$BACKING" | sort)"
check_fails "arsync: a wrong value" "expected fail, merge, skip" "$ARSYNC" copy --existing=x tree copy
check_fails "arsync: a wrong way to go on" "on_error=x: expected stop or continue" "$ARSYNC" copy --on-error=x tree copy

# --- what cannot be read --------------------------------------------------------------------------------

cat >"$RUN_DIR/partly.sh" <<'END'
mkdir -p partly/sub
for i in {1..120}; do echo secret >partly/sub/closed$i; done
echo open >partly/sub/open
echo open >partly/zopen
END
for at in "$MNT" "$SCRATCH"; do
	[[ $at == "$MNT" ]] && where="in the mount" || where=outside
	cd "$at" || exit
	bash "$RUN_DIR/partly.sh"
	mkdir home
	chown 4321:4322 home partly
	chmod 600 partly/sub/closed*
	check_fails "$where: on_error=stop" "Permission denied" as_user "$ARSYNC" copy partly home/stop
	check "$where: on_error=stop: nothing" test ! -e home/stop
	as_user "$ARSYNC" copy --on-error=continue partly home/partly 2>"$RUN_DIR/err"
	check_equal "$where: on_error=continue: 1" 1 $?
	check_equal "$where: what can be read is there" "open open 4" \
		"$(cat home/partly/sub/open home/partly/zopen | tr '\n' ' ')$(find home/partly | wc -l)"
	check_equal "$where: the first 100 are named" 100 "$(grep -c '^arsync: partly/sub/closed[0-9]*: Permission denied (openat)$' "$RUN_DIR/err")"
	check "$where: the others are counted" grep -q '^arsync: and 20 more$' "$RUN_DIR/err"
	check "$where: what became of it" grep -q 'was copied to home/partly, but for 120 of the things' "$RUN_DIR/err"
	as_user "$ARSYNC" copy --on-error=continue --json partly home/json >"$RUN_DIR/json" 2>/dev/null
	check_equal "$where: the same as JSON" "failed 120 100 EACCES openat True 2" \
		"$(json "j['state'], j['failures'], len(j['errors']), j['errors'][0]['errno'], j['errors'][0]['operation'], j['published'], j['files']" <"$RUN_DIR/json" | tr -d "(),'")"
done
cd "$MNT" || exit
check_fails "setfattr: the first error, although the copy is there" "Permission denied" \
	as_user setfattr -n user.arsync.copy -v $'home/attribute\non_error=continue' partly
check_equal "setfattr: it is there" open "$(cat home/attribute/zopen)"
check_equal "jobs: a few failures of each, and how many" "3 120" \
	"$(get jobs | json "len(j[0]['errors']), j[0]['failures']" | tr -d '(),')"
chmod 644 partly/sub/closed*
check "with a right to read it goes on" as_user setfattr -n user.arsync.copy -v $'home/attribute\nexisting=merge' partly
check_equal "only what was missing was copied" "120 2" "$(job "j['files'], j['files_skipped']" | tr -d '(),')"

# --- a directory that its owner may not write -----------------------------------------------------------

mkdir home/ro
echo 1 >home/ro/file
chown -R 4321:4322 home/ro
chmod 555 home/ro
check "a directory without write permission" as_user setfattr -n user.arsync.submit_from -v $'home/ro\nname=ro2' home
wait_until 5 jobs_ended
rm -f home/ro2/file
check "is merged into by its owner" as_user "$ARSYNC" copy -T --existing=merge home/ro home/ro2
check_equal "and stays what it was" "1 555" "$(cat home/ro2/file) $(stat -c %a home/ro2)"

mkdir home/setgid home/setgid2
echo 2 >home/setgid/new
echo 1 >home/setgid2/old
chown 4321:4322 home/setgid home/setgid/new home/setgid2/old
chown 4321:9 home/setgid2 # a group that is not the owner's
chmod 2555 home/setgid2
check_fails "skip: where opening a directory would cost its setgid bit" "Permission denied" \
	as_user "$ARSYNC" copy -T --existing=skip home/setgid home/setgid2
check_equal "skip: it is kept" 2555 "$(stat -c %a home/setgid2)"
check "merge: it gets the source's attributes all the same" \
	as_user "$ARSYNC" copy -T --existing=merge home/setgid home/setgid2

# --- append-only and immutable --------------------------------------------------------------------------

mkdir -p "$BACKING/locked/immutable" "$BACKING/locked/append"
echo 1 >"$BACKING/locked/immutable/file"
echo 2 >"$BACKING/locked/append/file"
if chattr +i "$BACKING/locked/immutable/file" "$BACKING/locked/immutable" 2>/dev/null &&
	chattr +a "$BACKING/locked/append/file" "$BACKING/locked/append"; then
	check "copying what is immutable" setfattr -n user.arsync.copy -v locked2 locked
	for existing in merge update skip; do
		check "$existing: again" setfattr -n user.arsync.copy -v locked2$'\n'existing=$existing locked
		check_equal "$existing: nothing was copied" "0 0" "$(job "j['files'], j['failures']" | tr -d '(),')"
	done
	check "the copy is still immutable" grep -q '^----i' <(lsattr -d "$BACKING/locked2/immutable")
	chattr -i "$BACKING/locked/immutable"
	touch "$BACKING/locked/immutable"
	check_fails "one that differs is not to be changed" "Operation not permitted" \
		setfattr -n user.arsync.copy -v $'locked2\nexisting=merge' locked
	check_fails "replace: what was there cannot be removed" "Operation not permitted" \
		setfattr -n user.arsync.copy -v $'locked2\nexisting=replace' locked
	check_equal "replace: the copy is there" 1 "$(cat "$BACKING/locked2/immutable/file")"
	left=$(find "$BACKING" -maxdepth 1 -name '.arsync-*')
	check_equal "replace: and what is left is named" 1 "$(grep -c "it stays as ${left##*/}: Operation not permitted" "$MNT.log")"
	chattr -R -ia "$BACKING/locked" "$BACKING/locked2" "$left"
	rm -r "$left"
fi

# --- as cp does -----------------------------------------------------------------------------------------

for at in "$MNT" "$SCRATCH"; do
	[[ $at == "$MNT" ]] && where="in the mount" || where=outside
	cd "$at" || exit
	rm -rf like
	mkdir like
	make_tree like/tree
	for option in n u; do
		for tool in cp arsync; do
			mkdir -p like/$option.$tool/tree/a
			for file in a/file1 a/file2 a/file3 a/own; do
				echo "there already" >like/$option.$tool/tree/$file
			done
			touch -d 2020-01-01 like/$option.$tool/tree/a/*
			touch -d 1999-01-01 like/$option.$tool/tree/a/file1
			touch -r like/tree/a/file2 like/$option.$tool/tree/a/file2
		done
		cp -a$option like/tree like/$option.cp/
		check "$where: arsync copy -$option" "$ARSYNC" copy -$option like/tree like/$option.arsync/
		check_equal "$where: as cp -a$option" \
			"$(cd like/$option.cp && find . -type f ! -name own -printf '%P %s %T@\n' | sort)" \
			"$(cd like/$option.arsync && find . -type f ! -name own -printf '%P %s %T@\n' | sort)"
	done
	check "$where: -v counts what was left" contains "$("$ARSYNC" copy -vn like/tree like/n.arsync/ 2>&1)" "left as they were"
	check_equal "$where: --dry-run" "like/tree -> like/n.arsync/tree (exists: skip)" \
		"$("$ARSYNC" copy --dry-run -n like/tree like/n.arsync)"
	check_fails "$where: --dry-run of kinds that do not fit" "Not a directory" \
		"$ARSYNC" copy -T --dry-run -n like/tree like/tree/big
done

# --- one file system ------------------------------------------------------------------------------------

mkdir "$BACKING/one" "$BACKING/one/below"
echo x >"$BACKING/one/file"
if mount -t tmpfs tmpfs "$BACKING/one/below" 2>/dev/null; then
	echo y >"$BACKING/one/below/file"
	cd "$MNT" || exit
	check "one_file_system=yes" setfattr -n user.arsync.copy -v $'one.attribute\none_file_system=yes' one
	check "-x in the mount" "$ARSYNC" copy -x one one.mount
	check "-x outside" "$ARSYNC" copy -x "$BACKING/one" "$SCRATCH/one"
	check "without" "$ARSYNC" copy one one.all
	for copy in one.attribute one.mount "$SCRATCH/one"; do
		check_equal "$copy: what is mounted below is an empty directory" "below file " "$(cd "$copy" && find . -mindepth 1 -printf '%P\n' | sort | tr '\n' ' ')"
	done
	check "without: all of it" test -e one.all/below/file
	umount "$BACKING/one/below"
fi

# --- resuming -------------------------------------------------------------------------------------------

mkdir "$BACKING/many" "$SCRATCH/many"
python3 - "$BACKING/many" "$SCRATCH/many" <<'END'
import os, sys
for root in sys.argv[1:]:
    for d in range(40):
        os.mkdir("%s/%d" % (root, d))
        for i in range(150):
            with open("%s/%d/%d" % (root, d, i), "w") as f:
                f.write("%d %d\n" % (d, i) * 300)
END
cat >"$RUN_DIR/resume.py" <<'END'
# A merge is cancelled in the middle, then done again: what is there is not copied again. Progress never falls.
import json, os, shutil, sys
mnt = sys.argv[1]
def job(name):
    return json.loads(os.getxattr(mnt, "user.arsync." + name))
def submit():
    os.setxattr(mnt + "/many", "user.arsync.submit", b"many.copy\nexisting=merge")
    return job("jobs")[0]["id"]
for _ in range(20): # memory is fast: until one was caught in the middle
    shutil.rmtree(mnt + "/many.copy", ignore_errors=True)
    os.mkdir(mnt + "/many.copy")
    number = submit()
    while True:
        now = job("job.%d" % number)
        if now["state"] not in ("queued", "running") or now["files"] >= 100:
            break
    try:
        os.setxattr(mnt, "user.arsync.cancel", b"%d" % number)
    except ProcessLookupError:
        pass
    while (now := job("wait.%d" % number))["state"] in ("running", "cancelling"):
        pass
    if now["state"] == "cancelled":
        break
there = sum(len(files) for _, _, files in os.walk(mnt + "/many.copy"))
assert 100 <= there < 6000, there
hidden = [n for _, _, files in os.walk(mnt + "/many.copy") for n in files if n.startswith(".arsync-")]
assert not hidden, hidden
number = submit()
seen = []
while not seen or seen[-1]["state"] in ("queued", "running"):
    seen.append(job("job.%d" % number))
for a, b in zip(seen, seen[1:]):
    for key in "bytes", "files", "files_total", "bytes_total", "skipped", "files_skipped", "bytes_skipped":
        assert b[key] >= a[key], (key, a, b)
    assert b["bytes"] + b["bytes_skipped"] <= b["bytes_total"], b
    assert b["files"] + b["files_skipped"] <= b["files_total"], b
end = seen[-1]
print("%d were there, %d copied, %d skipped, %d looks" % (there, end["files"], end["files_skipped"], len(seen)))
assert end["state"] == "done" and end["failures"] == 0, end
assert (end["files"], end["files_skipped"]) == (6000 - there, there), (there, end)
assert end["files_total"] == 6000 and end["bytes_total"] == end["bytes"] + end["bytes_skipped"], end
END
check "a cancelled merge goes on where it ended" python3 "$RUN_DIR/resume.py" "$MNT"
check_same_tree "resumed: the copy" "$BACKING/many" "$BACKING/many.copy"

cd "$SCRATCH" || exit
killed=0
for ((i = 0; i < 5; i++)); do
	"$ARSYNC" copy -T --existing=merge --workers=1 --io=sync many many.copy 2>/dev/null &
	pid=$!
	for ((n = 0; n < 200; n++)); do
		(($(find many.copy -type f 2>/dev/null | wc -l) < 200 + 200 * i)) || break
	done
	kill -KILL $pid 2>/dev/null
	wait $pid 2>/dev/null
	(($? != 137)) || killed=$((killed + 1))
done
check "killed in the middle" test "$killed" -gt 0
mkdir -p many.copy
there=$(find many.copy -type f -name '[0-9]*' | wc -l)
"$ARSYNC" copy -T --existing=merge --json many many.copy >"$RUN_DIR/json"
check_equal "a killed merge: only the rest is copied" "$((6000 - there)) $there" \
	"$(json "j['files'], j['skipped']" <"$RUN_DIR/json" | tr -d '(),')"
find many.copy -name '.arsync-*' -delete
touch -r many many.copy
check_same_tree "a killed merge: the copy" many many.copy

# --- readers see the old file or the new one ------------------------------------------------------------

cat >"$RUN_DIR/atomic.py" <<'END'
# While files are replaced again and again, readers see one or the other, whole.
import os, subprocess, sys, threading, time
way, root, arsync = sys.argv[1:]
SIZES = [1, 4096, 100000, 700000]
for which in "AB":
    os.makedirs("%s/atomic%s" % (root, which), exist_ok=True)
    for i, size in enumerate(SIZES):
        path = "%s/atomic%s/%d" % (root, which, i)
        with open(path, "w") as f:
            f.write(which * size)
        os.utime(path, (1000, 1000 if which == "A" else 2000))
stop, reads, bad = False, [0], []
def reader():
    while not stop:
        for i, size in enumerate(SIZES):
            with open("%s/atomic.copy/%d" % (root, i)) as f:
                text = f.read()
            reads[0] += 1
            if text not in ("A" * size, "B" * size):
                bad.append((i, len(text), set(text)))
def copy(which):
    if way == "setfattr":
        os.setxattr("%s/atomic%s" % (root, which), "user.arsync.copy", b"atomic.copy\nexisting=merge")
    else:
        subprocess.run([arsync, "copy", "-T", "--existing=merge", "%s/atomic%s" % (root, which), root + "/atomic.copy"], check=True)
copy("A")
threads = [threading.Thread(target=reader) for _ in range(2)]
for t in threads:
    t.start()
rounds = 60 if way == "setfattr" else 15
for n in range(rounds):
    which = "BA"[n % 2]
    copy(which)
    for i, size in enumerate(SIZES):
        with open("%s/atomic.copy/%d" % (root, i)) as f:
            assert f.read() == which * size, "round %d: file %d is not the new one" % (n, i)
stop = True
for t in threads:
    t.join()
print("%d reads" % reads[0])
assert not bad and reads[0] > rounds, bad[:5]
END
check "setfattr: readers" python3 "$RUN_DIR/atomic.py" setfattr "$MNT" "$ARSYNC"
check "arsync in the mount: readers" python3 "$RUN_DIR/atomic.py" arsync "$MNT" "$ARSYNC"
check "arsync outside: readers" python3 "$RUN_DIR/atomic.py" arsync "$SCRATCH" "$ARSYNC"

# --- what the kernel remembers --------------------------------------------------------------------------

# With names and attributes that are believed for an hour nothing is seen by chance.
check "unmount" mount_stop
check "mount with cache=always" mount_start --cache=always
cat >"$RUN_DIR/cached.py" <<'END'
import errno, os, sys, threading
os.chdir(sys.argv[1])
os.makedirs("cached/d")
os.makedirs("cached.src/d/new")
def write(path, text):
    with open(path, "w") as f:
        f.write(text)
def look():
    # Everything is known now, also what is not there.
    for path in "cached/f", "cached/d/f", "cached/link", "cached/kept":
        if os.path.exists(path):
            open(path).read()
            os.stat(path)
    for path in "cached/missing", "cached/d/missing", "cached/d/new", "cached/d/new/x", "single":
        try:
            os.stat(path)
        except FileNotFoundError:
            pass
    os.listdir("cached")
def copy(src, dest, existing):
    os.setxattr(src, "user.arsync.copy", ("%s\nexisting=%s" % (dest, existing)).encode())
for n in range(20):
    new = "new %d" % n + "x" * n
    for base, text, second in ("cached", "old", 1000 + n), ("cached.src", new, 5000 + n):
        for path in "f", "d/f":
            write("%s/%s" % (base, path), text)
            os.utime("%s/%s" % (base, path), (second, second))
    if os.path.exists("cached/link"):
        os.unlink("cached/link")
    os.link("cached/f", "cached/link") # a further name of what is replaced
    for path in "missing", "d/missing", "d/new/x":
        write("cached.src/" + path, new)
        try:
            os.unlink("cached/" + path)
        except FileNotFoundError:
            pass
    if os.path.isdir("cached/d/new"):
        os.rmdir("cached/d/new")
    look()
    old = os.open("cached/f", os.O_RDONLY)
    os.chmod("cached.src/d", 0o755 if n % 2 else 0o711)
    copy("cached.src", "cached", ("merge", "update")[n % 2])
    for path in "f", "d/f", "missing", "d/missing", "d/new/x":
        text = open("cached/" + path).read()
        assert text == new, (n, path, text)
        assert os.stat("cached/" + path).st_size == len(new), (n, path)
    assert os.stat("cached/link").st_nlink == 1, (n, os.stat("cached/link").st_nlink)
    assert os.fstat(old).st_nlink == 1, n
    assert os.read(old, 10) == b"old", n # who has it open keeps it
    os.close(old)
    assert os.stat("cached/d").st_mode & 0o777 == (0o755 if n % 2 else 0o711), n
    assert os.stat("cached").st_mtime == os.stat("cached.src").st_mtime, n
    assert sorted(os.listdir("cached")) == ["d", "f", "link", "missing"], os.listdir("cached")
    # A file, then a directory, replaced as a whole
    write("single.src", new)
    os.utime("single.src", (9000 + n, 9000 + n))
    look()
    copy("single.src", "single", ("replace", "merge")[n % 2])
    assert open("single").read() == new, n
    write("cached/d/f", "old")
    look()
    copy("cached.src", "cached", "replace")
    assert open("cached/d/f").read() == new and os.path.exists("cached/d/new/x"), n
    assert sorted(os.listdir("cached")) == ["d", "f", "missing"], os.listdir("cached")

# By the directory that gets it, whose lock is held meanwhile, and many names at once
os.mkdir("holder")
os.mkdir("holder/many")
os.mkdir("holder.src")
for i in range(2000):
    write("holder.src/%d" % i, "new")
    write("holder/many/%d" % i, "old") if i % 2 else None
for i in range(2000):
    try:
        open("holder/many/%d" % i).read()
    except FileNotFoundError:
        pass
os.setxattr("holder", "user.arsync.copy_from", b"holder.src\nname=many\nexisting=merge")
wrong = 0
for i in range(2000):
    try:
        wrong += open("holder/many/%d" % i).read() != "new"
    except FileNotFoundError:
        wrong += 1
assert wrong == 0, "%d of 2000 are old" % wrong

# Those who look all the time neither hang nor keep the copy from ending.
stop = False
def looker():
    while not stop:
        os.listdir("cached")
        for name in "f", "d/f", "nothing":
            try:
                os.stat("cached/" + name)
            except FileNotFoundError:
                pass
threads = [threading.Thread(target=looker) for _ in range(4)]
for t in threads:
    t.start()
for n in range(50):
    write("cached.src/f", "round %d" % n)
    os.utime("cached.src/f", (n, n))
    copy("cached.src", "cached", "merge")
    assert open("cached/f").read() == "round %d" % n, n
stop = True
for t in threads:
    t.join()
END
check "what was replaced is seen at once" timeout 60 python3 "$RUN_DIR/cached.py" "$MNT"
cd "$MNT" || exit
mkdir -p mounted/below mounted.src/below
echo new >mounted.src/below/file
echo new >mounted.src/file
echo older >mounted/file
if mount -t tmpfs tmpfs mounted/below; then
	echo inside >mounted/below/inside
	check "merging around a mount" setfattr -n user.arsync.copy -v $'mounted\nexisting=merge' mounted.src
	check_equal "what users have mounted in the mount stays" "inside new" "$(cat mounted/below/inside mounted/file | tr '\n' ' ' | sed 's/ $//')"
	umount mounted/below
	check_equal "and below it is the copy" new "$(cat mounted/below/file)"
fi
# A long copy holds the lock of its directory. What changes there meanwhile waits for it, and nothing else.
cat >"$RUN_DIR/held.py" <<'END'
import os, sys, threading, time
os.chdir(sys.argv[1])
for name in "held", "held.src", "long", "other":
    os.mkdir(name)
for i in range(4):
    with open("long/%d" % i, "wb") as f:
        for _ in range(100):
            f.write(os.urandom(1 << 20))
open("held.src/file", "w").write("new")
open("held/file", "w").write("old")
os.utime("held/file", (1, 1))
open("held/file").read()
def hold():
    os.setxattr("held", "user.arsync.copy_from", b"long\nreflink=never\nverify=yes")
thread = threading.Thread(target=hold)
thread.start()
time.sleep(0.05)
os.setxattr("held.src", "user.arsync.copy", b"held\nexisting=merge")
late, n = 0, 0
while True:
    name = "other/%d" % n
    assert not os.path.exists(name)
    os.setxattr("held.src", "user.arsync.copy", name.encode())
    seen = os.path.exists(name + "/file")
    if not thread.is_alive():
        break
    n += 1
    late += not seen
thread.join()
print("%d copies meanwhile, %d seen late" % (n, late))
assert late <= n / 2, (n, late) # memory may be too fast for any
end = time.monotonic() + 1
while open("held/file").read() != "new":
    assert time.monotonic() < end
END
check "a directory that is held keeps no others waiting" timeout 60 python3 "$RUN_DIR/held.py" "$MNT"

# Listings that the kernel has: only the time of modification tells it, and a merge sets that back.
mkdir -p "$MNT/listed/d"
echo 1 >"$MNT/listed/d/1"
touch -d 2020-01-01 "$MNT/listed/d"
check "a tree to be merged" setfattr -n user.arsync.copy -v merged "$MNT/listed"
for n in 2 3; do
	ls -l "$MNT/merged/d" >/dev/null
	echo $n >"$MNT/listed/d/$n"
	touch -d 2020-01-01 "$MNT/listed/d"
	check "merged again" setfattr -n user.arsync.copy -v $'merged\nexisting=merge' "$MNT/listed"
	check "file $n shows in a directory that was listed" contains "$(ls "$MNT/merged/d")" $n
done

# Whoever reads a listing, and does not get on, keeps nobody waiting. userfaultfd(2) sees to that.
cat >"$RUN_DIR/stuck.py" <<'END'
import ctypes, fcntl, os, struct, sys, threading, time
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
faults = libc.syscall(323, os.O_CLOEXEC) # x86-64
if faults < 0:
    sys.exit(print("no userfaultfd here"))
os.makedirs("stuck.src/d")
open("stuck.src/d/1", "w").close()
os.setxattr("stuck.src", "user.arsync.copy", b"stuck")
open("stuck.src/d/2", "w").close()
time.sleep(0.2) # until then the kernel keeps no listing
os.listdir("stuck/d")
fd = os.open("stuck/d", os.O_RDONLY | os.O_DIRECTORY)
fcntl.ioctl(faults, 0xC018AA3F, bytearray(struct.pack("3Q", 0xAA, 0, 0))) # UFFDIO_API
page = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
fcntl.ioctl(faults, 0xC020AA00, bytearray(struct.pack("4Q", page, 4096, 1, 0))) # UFFDIO_REGISTER
reader = threading.Thread(target=libc.getdents64, args=(fd, ctypes.c_void_p(page), ctypes.c_size_t(4096)))
reader.start()
time.sleep(0.3)
release = threading.Timer(5, os.close, (faults,))
release.start()
began = time.monotonic()
os.setxattr("stuck.src", "user.arsync.copy", b"stuck\nexisting=merge")
took = time.monotonic() - began
reader.join()
assert took < 3, took
END
[[ $(uname -m) != x86_64 ]] ||
	check "who reads a listing and is stuck keeps no merge waiting" timeout 60 python3 "$RUN_DIR/stuck.py" "$MNT"
cd / || exit
check "nothing is left in the end" nothing_left "$BACKING"
check_equal "nor aside" "" "$(find "$BACKING" "$SCRATCH" -name '.replaced-*')"
