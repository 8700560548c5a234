#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The control attributes: orders in the background and from the destination's side, jobs as JSON, long
# polls, cancel, two users, thousands of jobs. Needs a mount with allow_other and
# options that make copies slow.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need python3 getfattr setfattr setpriv

as_user() { setpriv --reuid=4321 --regid=4322 --clear-groups "$@"; }
as_other() { setpriv --reuid=4323 --regid=4324 --clear-groups "$@"; }
set_attribute() { setfattr -n "user.arsync.$1" -v "$2" "$3"; }
get() { getfattr --absolute-names --only-values -n "user.arsync.$1" "${2:-$MNT}"; }

# json EXPRESSION: what python makes of it, with the JSON of standard input as j
json() { python3 -c "import json, sys; j = json.load(sys.stdin); print($1)"; }

# field ID NAME: of a job
field() { get "job.$1" | json "j['$2']"; }

# last_id: the number of the newest job
last_id() { get jobs.18446744073709551615 | json "j[0]['id'] if j else 0"; }

# wait_for ID: until the job has ended, by long polls; prints its state
wait_for() {
	local state=running
	while [[ $state == queued || $state == running || $state == cancelling ]]; do
		state=$(get "wait.$1" | json "j['state']") || return
	done
	echo "$state"
}

cd "$MNT" || exit
as_user ls "$MNT" >/dev/null || skip "the mount is not for others"
mkdir -p tree/a/b into
for ((i = 0; i < 50; i++)); do echo "$i" >"tree/a/file$i"; done
head -c 3000000 /dev/urandom >tree/big
ln tree/big tree/linked

# --- submit, and the job's JSON -----------------------------------------------------------------------

check_equal "no jobs yet" "[]" "$(get jobs)"
check "submit" set_attribute submit copy tree
id=$(last_id)
check_equal "its number" 1 "$id"
check_equal "it ends well" "done" "$(wait_for "$id")"
check "the copy is there at once" test -e copy/a/file0
check_same_tree "submit: the copy" "$BACKING/tree" "$BACKING/copy"
check_equal "source and destination" "tree copy" \
	"$(get job.1 | json "j['source'] + ' ' + j['destination']")"
check_equal "files" "51 51 False" "$(get job.1 | json "j['files'], j['files_total'], j['totals_estimated']" | tr -d '(),')"
check_equal "bytes" "$(find "$BACKING/tree" -type f -printf '%i %s\n' | sort -u | awk '{ n += $2 } END { print n }')" \
	"$(field 1 bytes)"
check_equal "no errors" "[]" "$(field 1 errors)"
check_equal "who" "0" "$(field 1 uid)"
check_equal "in the background" "True" "$(field 1 background)"

check "copy is a job, too" set_attribute copy copy2 tree
check_equal "copy: done" "done False" "$(get job.2 | json "j['state'], j['background']" | tr -d "(),'")"
check "into an existing directory" set_attribute submit into/ tree
check_equal "into: done" "done" "$(wait_for 3)"
check_same_tree "into: the copy" "$BACKING/tree" "$BACKING/into/tree"
check "a file" set_attribute submit file tree/big
check_equal "a file: done" "done" "$(wait_for 4)"
check "a file: the copy" cmp tree/big file
check "a tag" set_attribute submit $'tagged\ntag=my-tag.1' tree/big
check_equal "a tag: in the JSON" my-tag.1 "$(field 5 tag)"
wait_for 5 >/dev/null
check_equal "the newest comes first" "5 4 3 2 1" "$(get jobs | json "*[x['id'] for x in j]")"
check_equal "jobs before a number" "2 1" "$(get jobs.3 | json "*[x['id'] for x in j]")"
check_equal "jobs before the first" "[]" "$(get jobs.1)"

# --- from the destination -----------------------------------------------------------------------------

mkdir dest
check "copy_from" set_attribute copy_from tree dest
check_same_tree "copy_from: the copy" "$BACKING/tree" "$BACKING/dest/tree"
check "copy_from: seen through the mount" test -e dest/tree/big
check "submit_from with a name" set_attribute submit_from $'tree\nname=other' dest
check_equal "submit_from: done" "done" "$(wait_for "$(last_id)")"
check_same_tree "submit_from: the copy" "$BACKING/tree" "$BACKING/dest/other"
check_equal "submit_from: destination" dest/other "$(field "$(last_id)" destination)"
check "an absolute source" set_attribute copy_from "$MNT/tree/a"$'\nname=abs' dest
check_same_tree "an absolute source: the copy" "$BACKING/tree/a" "$BACKING/dest/abs"
started=$(now_ms)
ls dest/again 2>/dev/null # the kernel remembers that there is none
check "copy_from of a name that was looked up" set_attribute copy_from $'tree/a\nname=again' dest
took=$(($(now_ms) - started))
check "it is seen" wait_until 1 test -e dest/again/file1
check "it did not wait for the directory's lock" between 0 "$took" 900

# --- refusals -----------------------------------------------------------------------------------------

before=$(find "$BACKING" | sort)
ln -s tree link
ln -s /etc outside
for kind in copy submit; do
	check_fails "$kind: exists" "File exists" set_attribute $kind copy tree
	check_fails "$kind: no directory" "No such file" set_attribute $kind nowhere/copy tree
	check_fails "$kind: not below the mount" "Invalid cross-device" set_attribute $kind /tmp/x tree
	check_fails "$kind: .." "Invalid cross-device" set_attribute $kind into/../x tree
	check_fails "$kind: through a link that leads out" "Invalid cross-device" set_attribute $kind outside/x tree
	check_fails "$kind: an unknown option" "Invalid argument" set_attribute $kind $'x\nexistingly=merge' tree
	check_fails "$kind: name=" "Invalid argument" set_attribute $kind $'x\nname=y' tree
	check_fails "$kind: empty" "Invalid argument" set_attribute $kind "" tree
	check_fails "$kind: the root has no name" "Invalid argument" set_attribute $kind into/ .
done
for kind in copy_from submit_from; do
	check_fails "$kind: exists" "File exists" set_attribute $kind tree into
	check_fails "$kind: no source" "No such file" set_attribute $kind nowhere dest
	check_fails "$kind: not below the mount" "Invalid cross-device" set_attribute $kind /etc/passwd dest
	check_fails "$kind: .." "Invalid cross-device" set_attribute $kind dest/../tree dest
	check_fails "$kind: through a link that leads out" "Invalid cross-device" set_attribute $kind outside/passwd dest
	check_fails "$kind: not a directory" "Not a directory" set_attribute $kind tree/a tree/big
	check_fails "$kind: the root has no name" "Invalid argument" set_attribute $kind . dest
	check_fails "$kind: a bad name" "Invalid argument" set_attribute $kind $'tree\nname=a/b' dest
done
check_fails "copy_from: a symbolic link is not followed" "not supported" set_attribute copy_from link dest
check_fails "copy: into itself" "Invalid argument" set_attribute copy tree/a/self tree
rm link outside
check_equal "refusals leave nothing" "$before" "$(find "$BACKING" | sort)"

check_fails "submit: into itself is the job's error" "No such file" stat tree/self
check "submit: into itself is accepted" set_attribute submit tree/self tree
id=$(last_id)
check_equal "submit: and fails" failed "$(wait_for "$id")"
check_equal "the error is told" "EINVAL Invalid argument" \
	"$(get "job.$id" | json "j['errors'][0]['errno'], j['errors'][0]['message']" | tr -d "(),'")"

# --- attributes where they mean nothing ---------------------------------------------------------------

for name in jobs job.1 wait.1 stats; do
	check_fails "$name: only at the root" "not supported" get "$name" "$MNT/tree"
	check_fails "$name cannot be set" "not supported" set_attribute "$name" 1 .
done
for name in copy submit copy_from submit_from cancel nonsense job.x job.01 wait.; do
	check_fails "$name cannot be read" "not supported" get "$name"
done
check_fails "job.9999 does not exist" "No such attribute" get job.9999
check_fails "wait.9999 does not exist" "No such attribute" get wait.9999
check_fails "cancel of a file" "not supported" set_attribute cancel 1 tree/big
check_fails "cancel of no number" "Invalid argument" set_attribute cancel one .
check_fails "cancel of no job" "No such process" set_attribute cancel 9999 .
check_fails "cancel of a job that has ended" "No such process" set_attribute cancel 1 .
check_fails "a control attribute cannot be removed" "not supported" setfattr -x user.arsync.jobs .
check_equal "none is listed" "" "$(getfattr --absolute-names -m - "$MNT" 2>/dev/null | grep arsync)"

# --- sizes --------------------------------------------------------------------------------------------

cat >"$RUN_DIR/sizes.py" <<'END'
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
mnt = sys.argv[1].encode()

def get(name, size):
    buffer = ctypes.create_string_buffer(max(size, 1))
    n = libc.getxattr(mnt, name, buffer if size else None, size)
    return (n, ctypes.get_errno() if n < 0 else 0, buffer.raw[:max(n, 0)] if size else b"")

for name in (b"user.arsync.job.1", b"user.arsync.wait.1", b"user.arsync.jobs", b"user.arsync.stats"):
    room, error, _ = get(name, 0)
    assert room > 0, (name, error)
    n, error, text = get(name, room)
    assert 0 < n < room, "%s: %d bytes into %d (%d)" % (name, n, room, error)
    json.loads(text)
    if b"stats" not in name: # that counts its own requests
        assert get(name, n)[0] == n, name
        for small in (1, n // 2, n - 1):
            assert get(name, small)[:2] == (-1, errno.ERANGE), (name, small)
END
check "sizes: probes, ERANGE" python3 "$RUN_DIR/sizes.py" "$MNT"

# --- names of any bytes -------------------------------------------------------------------------------

cat >"$RUN_DIR/names.py" <<'END'
import json, os, sys
os.chdir(sys.argv[1].encode())
os.mkdir(b"names")
names = [b"caf\xc3\xa9", b"not \xff\xfe UTF-8", b"\xed\xa0\x80 surrogate", b'quote" back\\slash', b"\x01\x1b[31m\x7f", b"\xf0\x9f\x90\xa7", b"\xc0\xaf"]
for name in names:
    with open(b"names/" + name, "w") as f:
        f.write("x")
    os.setxattr(b"names/" + name, b"user.arsync.copy", b"names/copy of " + name)
    text = os.getxattr(b".", b"user.arsync.jobs")
    job = json.loads(text.decode("utf-8", "strict"))[0]
    for key, want in ("source", b"names/" + name), ("destination", b"names/copy of " + name):
        try:
            assert job[key] == want.decode() and key + "_hex" not in job, job
        except UnicodeDecodeError:
            assert "\ufffd" in job[key], job
            assert bytes.fromhex(job[key + "_hex"]) == want, job
END
check "names of any bytes" python3 "$RUN_DIR/names.py" "$MNT"

# --- long polls and cancel ----------------------------------------------------------------------------

mkdir slow
# Memory copies faster than a disk that is written to directly.
mebibytes=200
[[ $FSTYPE != tmpfs ]] || mebibytes=500
for ((i = 0; i < 4; i++)); do head -c ${mebibytes}M /dev/zero >"slow/big$i"; done

cat >"$RUN_DIR/polls.py" <<'END'
# Long polls of many clients while a job runs, then a cancel: who waits hears of it at once.
import json, os, sys, threading, time
mnt = sys.argv[1]

def job(name):
    return json.loads(os.getxattr(mnt, "user.arsync." + name))

os.setxattr(mnt + "/slow", "user.arsync.submit", b"slow.copy")
number = job("jobs")[0]["id"]
live = ("queued", "running", "cancelling")
first = job("job.%d" % number)
assert first["state"] in live, first
answers = []

# A poll takes a second while the job runs, and on a busy machine that may be over before the cancel. (Over a
# ring they are answered at once where they hold too many of its entries.)
early = job("stats")["mount"]["transport"] == "ring"
def poll():
    while True:
        began = time.monotonic()
        answer = job("wait.%d" % number)
        if answer["state"] not in live:
            break
        assert early or time.monotonic() - began > 0.9, answer
    answers.append((answer, time.monotonic()))

# More than there are threads in the daemon
threads = [threading.Thread(target=poll) for _ in range(100)]
for t in threads:
    t.start()
time.sleep(0.2)
asked = time.monotonic()
os.stat(mnt + "/slow/big0")
os.listdir(mnt)
took = time.monotonic() - asked
assert took < 0.9, "ordinary requests waited %.3f s" % took
last = job("job.%d" % number)
assert last["bytes"] >= first["bytes"]
cancelled = time.monotonic()
os.setxattr(mnt, "user.arsync.cancel", b"%d" % number)
assert job("job.%d" % number)["state"] in ("cancelling", "cancelled")
time.sleep(0.2 * float(sys.argv[2]))
then = job("job.%d" % number)
time.sleep(0.1)
assert job("job.%d" % number)["bytes"] == then["bytes"], "it still copies"
for t in threads:
    t.join()
assert len(answers) == 100, "a poll has failed"
states = {a["state"] for a, _ in answers}
assert states == {"cancelled"}, states
took = max(at for _, at in answers) - cancelled
print("the last of 100 heard of the cancel after %.0f ms" % (took * 1000))
assert took < float(sys.argv[2]), took # with what there was to be removed
END
# What a disk has in flight is waited for, and a busy one takes its time.
grace=5
check "long polls of 100 clients, and a cancel" python3 "$RUN_DIR/polls.py" "$MNT" "$grace"
check "a cancelled copy does not exist" test ! -e slow.copy
check "nothing is left" wait_until 10 nothing_left "$BACKING"

cat >"$RUN_DIR/progress.py" <<'END'
# Progress never falls, moves inside a big file, and a poll takes a second while the job runs.
import json, os, sys, time
mnt = sys.argv[1]
os.setxattr(mnt + "/slow", "user.arsync.submit", b"slow.copy")
def job(name):
    return json.loads(os.getxattr(mnt, "user.arsync." + name))
number = job("jobs")[0]["id"]
seen = []
while True:
    now = job("job.%d" % number)
    seen.append(now)
    if now["state"] not in ("queued", "running"):
        break
    time.sleep(0.003)
assert now["state"] == "done", now
for a, b in zip(seen, seen[1:]):
    for key in "bytes", "files", "files_total", "bytes_total":
        assert b[key] >= a[key], (key, a, b)
    assert b["bytes"] <= b["bytes_total"] and b["files"] <= b["files_total"], b
inside = {s["bytes"] for s in seen if s["files"] < 4 and s["bytes"] % (200 * 2**20)}
print("%d looks, %d different amounts" % (len(seen), len(inside)))
assert len(inside) >= 3, inside
assert now["bytes"] == now["bytes_total"] == 4 * int(sys.argv[2]) * 2**20 and now["files"] == 4, now
assert now["rate"] > 0 and now["eta"] == 0 and now["elapsed"] > 0, now
END
check "progress" python3 "$RUN_DIR/progress.py" "$MNT" "$mebibytes"
check_same_tree "progress: the copy" "$BACKING/slow" "$BACKING/slow.copy"
rm -r slow.copy

# Ctrl-C on who waits: the answer comes at once, the job goes on.
check "submit of something slow" set_attribute submit slow.copy slow
id=$(last_id)
env --default-signal getfattr --absolute-names --only-values -n "user.arsync.wait.$id" "$MNT" >/dev/null &
pid=$!
sleep 0.1
started=$(now_ms)
kill -INT "$pid"
wait "$pid" 2>/dev/null
check "Ctrl-C ends a long poll" between 0 $(($(now_ms) - started)) 600
check_equal "and not the job" "done" "$(wait_for "$id")"
rm -r slow.copy

# --- two users ----------------------------------------------------------------------------------------

mkdir home theirs readable closed
chown 4321:4322 home
chown 4323:4324 theirs
echo text >readable/file
echo secret >closed/file
chmod 700 closed
echo secret >unreadable
chmod 600 unreadable
as_user mkdir home/dest

check_fails "a user cannot set attributes on what is root's" "Permission denied" \
	as_user setfattr -n user.arsync.submit -v home/copy readable
check "but may copy it from the destination" \
	as_user setfattr -n user.arsync.copy_from -v readable home/dest
check_equal "it is the user's" 4321:4322 "$(stat -c %u:%g home/dest/readable/file)"
check "also a single file" as_user setfattr -n user.arsync.copy_from -v readable/file home/dest
check_equal "it is the user's, too" 4321:4322 "$(stat -c %u:%g home/dest/file)"
check_fails "not what may not be read" "Permission denied" \
	as_user setfattr -n user.arsync.copy_from -v closed home/dest
check_fails "no file that may not be read" "Permission denied" \
	as_user setfattr -n user.arsync.copy_from -v unreadable home/dest
check_fails "nothing behind a closed directory" "Permission denied" \
	as_user setfattr -n user.arsync.copy_from -v closed/file home/dest
check_fails "not into others' directories" "Permission denied" \
	as_user setfattr -n user.arsync.copy_from -v readable theirs
check "nothing is left of refusals" nothing_left "$BACKING"

users_id=$(as_user getfattr --absolute-names --only-values -n user.arsync.jobs "$MNT" | json "j[0]['id']")
check_equal "users see their own jobs only" "{4321}" \
	"$(as_user getfattr --absolute-names --only-values -n user.arsync.jobs "$MNT" | json "{x['uid'] for x in j}")"
check_equal "others see none" "[]" "$(as_other getfattr --absolute-names --only-values -n user.arsync.jobs "$MNT")"
check_fails "nor by number" "No such attribute" \
	as_other getfattr --absolute-names --only-values -n "user.arsync.job.$users_id" "$MNT"
check_fails "nor by waiting" "No such attribute" \
	as_other getfattr --absolute-names --only-values -n "user.arsync.wait.$users_id" "$MNT"
check_equal "root sees all" "True" "$(get jobs | json "{0, 4321} <= {x['uid'] for x in j}")"

id=$(($(last_id) + 1)) # asked for before: then the job needs to run only for a moment
as_user setfattr -n user.arsync.submit_from -v slow home/dest
check_fails "others cannot cancel it" "Operation not permitted" \
	as_other setfattr -n user.arsync.cancel -v "$id" theirs
check "its user can" as_user setfattr -n user.arsync.cancel -v "$id" home
check_equal "it was a user's job" 4321 "$(field "$id" uid)"
check_equal "it is cancelled" cancelled "$(wait_for "$id")"
id=$((id + 1))
as_user setfattr -n user.arsync.submit_from -v slow home/dest
check "root can, too" set_attribute cancel "$id" .
check_equal "it is cancelled, too" cancelled "$(wait_for "$id")"
check "nothing is left of cancelled jobs" wait_until 10 nothing_left "$BACKING"
rm -r slow

# --- thousands ----------------------------------------------------------------------------------------

cat >"$RUN_DIR/thousands.py" <<'END'
import errno, json, os, sys, time
mnt, n = sys.argv[1], int(sys.argv[2])
def get(name):
    return json.loads(os.getxattr(mnt, "user.arsync." + name))
last = get("jobs.18446744073709551615")[0]["id"]
os.mkdir(mnt + "/many")
for i in range(n):
    while True:
        try:
            os.setxattr(mnt + "/tree/a", "user.arsync.submit", b"many/%d" % i)
            break
        except OSError as error: # too many wait
            assert error.errno == errno.EBUSY, error
            time.sleep(0.05)
ids = range(last + 1, last + n + 1)
while get("wait.%d" % ids[-1])["state"] in ("queued", "running"):
    pass
end = time.monotonic() + 60
while any(j["state"] in ("queued", "running") for j in get("jobs")):
    assert time.monotonic() < end
    time.sleep(0.05)
copies = os.listdir(mnt + "/many")
assert len(copies) == n, "%d copies of %d" % (len(copies), n)
# The last 1,000 are remembered, those before are not.
seen, before = [], 18446744073709551615
while True:
    page = get("jobs.%d" % before)
    if not page:
        break
    seen += page
    before = page[-1]["id"]
numbers = [j["id"] for j in seen]
assert len(numbers) == 1000 and numbers == sorted(set(numbers), reverse=True), len(numbers)
assert set(numbers) <= set(ids)
assert {j["state"] for j in seen} == {"done"}
assert len(os.getxattr(mnt, "user.arsync.jobs")) <= 65536
try:
    get("job.1")
    assert False, "job 1 is still remembered"
except OSError as error:
    assert error.errno == errno.ENODATA
END
check "3,000 jobs" python3 "$RUN_DIR/thousands.py" "$MNT" 3000
check_same_tree "one of them" "$BACKING/tree/a" "$BACKING/many/1234"
check "nothing is left of 3,000 jobs" nothing_left "$BACKING"
check "the daemon has few descriptors open" between 1 "$(find "/proc/$(daemon_pid)/fd" -mindepth 1 | wc -l)" 600
