#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Tree copies of root and of a user from and to the directory of somebody who moves everything about
# meanwhile, to read or to change what is not theirs. Needs a mount with allow_other.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need setpriv getfattr setfattr python3

seconds=9 # of each attack
as_user() { setpriv --reuid=4321 --regid=4322 --clear-groups "$@"; }
as_hostile() { setpriv --reuid=4323 --regid=4324 --clear-groups "$@"; }
as_hostile ls "$MNT" >/dev/null || skip "the mount is not for others"
python=$(for each in "$(command -v python3)" /usr/bin/python3; do
	as_hostile "$each" -c '' 2>/dev/null && echo "$each" && break
done)
[[ -n $python ]] || skip "no python3 for users"
cp "$(dirname "$0")/hostile.py" "$RUN_DIR/" # where users get at it
copy() { setfattr -n user.arsync.copy -v "$2" "$MNT/$1" 2>>"$RUN_DIR/copy.err"; }

# Root's and the user's, closed to everybody else
cd "$BACKING" || exit
mkdir -p vault "$SCRATCH/outside" classified/sub home/private/sub shared
for file in vault/secret "$SCRATCH/outside/secret"; do echo SECRET >"$file"; done
for ((i = 0; i < 40; i++)); do
	echo CLASSIFIED >"classified/sub/$i"
	echo CLASSIFIED >"home/private/$i"
done
head -c 20M /dev/zero >classified/sub/large # takes a moment
mkfifo classified/fifo
ln -s "$SCRATCH/outside/secret" classified/link
chmod 0700 vault classified home/private "$SCRATCH/outside"
chown -R 4321:4322 home
# The hostile user's, where others may make copies
mkdir -p h/src/d/e h/trap h/precious/of/root
for ((i = 0; i < 40; i++)); do echo harmless | tee "h/src/d/$i" "h/src/d/e/$i" >"h/src/$i"; done
echo harmless >h/src/file
make_links() {
	rm -rf h/*.link
	ln -s "$SCRATCH/outside" h/src.link
	ln -s ../../../vault h/d.link # where it is put
	ln -s ../vault h/vault.link
	ln -s "$SCRATCH/outside" h/out.link
	ln -s "$SCRATCH/outside/secret" h/file.link
	chown -h 4323:4324 h/*.link
}
make_links
chown -R -h 4323:4324 h
chmod 0777 h h/trap
chown -R 0:0 h/precious
echo precious >h/precious/of/root/file
chmod 0750 h/precious
precious=$(stat -c %i h/precious)
# Open, so that it can be looked at wherever it is, and nothing else gets its number.
exec {trap_fd}<h/trap

# state_of DIRECTORY...: everything but access times
state_of() { find "$@" \( -path home -o -path shared \) -o -printf '%p %y %m %U:%G %s %T@ %l\n' | sort; }
# Wherever it is now, except for its name
precious_now() {
	(cd "$(find h -maxdepth 1 -inum "$precious")" && find . -printf '%p %y %m %U:%G %s %T@\n' && cat of/root/file)
}
others_before=$(state_of vault classified home shared "$SCRATCH/outside")
precious_before=$(precious_now)
state() { check_equal "$1: what is others' is as before" "$others_before" \
	"$(state_of vault classified home shared "$SCRATCH/outside")"; }

# attack WHAT: in the background
attack() {
	as_hostile "$python" "$RUN_DIR/hostile.py" "$1" "$BACKING/h" "$MNT" "$seconds" >"$RUN_DIR/tried" &
	attacker=$!
}
attacking() { kill -0 "$attacker" 2>/dev/null; }
attacked() {
	wait "$attacker"
	check_equal "$1: the attacker has not failed" 0 $?
	check "$1: something was tried" between 20 "$(cat "$RUN_DIR/tried")" 100000000
	check "$1: nothing was found" test ! -e h/loot
}

# --- The source is moved about --------------------------------------------------------------------------

attack source
for ((n = 0; ; n++)); do
	attacking || break
	copy h/src "shared/root.$n" && good=$n
	as_user setfattr -n user.arsync.copy_from -v h/src "$MNT/home" 2>>"$RUN_DIR/copy.err"
	rm -rf home/src
done
attacked "source"
echo "# $n copies by each, $(find shared -mindepth 1 -maxdepth 1 | wc -l) by root are there"
check "source: some copies could be made" test -n "${good-}"
check_not "source: nothing from elsewhere is in the copies" grep -rlE 'SECRET|CLASSIFIED' shared
find shared -mindepth 1 -delete
state "source"

# --- The destination's directory is moved about ---------------------------------------------------------

attack destination
made=0
for ((n = 0; ; n++)); do
	attacking || break
	# Nothing is removed by name here: it could be anything by then.
	(($(df --output=avail -k h | tail -n 1) > 200000)) || {
		sleep 0.2
		continue
	}
	copy classified "h/root.$n" && made=$((made + 1))
	as_user setfattr -n user.arsync.copy -v "h/user.$n" "$MNT/home/private" 2>>"$RUN_DIR/copy.err" &&
		made=$((made + 1))
	# and one that is cancelled
	timeout --signal=INT 0.01 setfattr -n user.arsync.copy -v "h/cancelled.$n" "$MNT/classified" 2>>"$RUN_DIR/copy.err"
done
attacked "destination"
echo "# $n copies by each, $made with success"
check "destination: some copies could be made" test "$made" -gt 0
check "no copy is left running" wait_until 10 jobs_ended
state "destination"
check_equal "destination: what root has there is as before" "$precious_before" "$(precious_now)"
# What the attacker gave such a name is no copy, and the copy has failed.
check_equal "destination: copies are their makers' and closed" "" \
	"$(find h -maxdepth 1 \( -name 'root.*' -o -name 'user.*' \) \( -user 0 -o -user 4321 \) \
		! -inum "$precious" ! -perm 0700)"
check_equal "destination: the trap is the attacker's, and nothing is in it" "777 4323 " \
	"$(find -L "/proc/$$/fd/$trap_fd" -maxdepth 0 -printf '%m %U '
		find "/proc/$$/fd/$trap_fd/" -mindepth 1)"
exec {trap_fd}<&-

# --- A directory that copies are merged into is moved about -----------------------------------------------

mkdir -m 0777 given given/sub h/merged
for ((i = 0; i < 40; i++)); do echo given | tee "given/$i" >"given/sub/$i"; done
echo given >given/file
mkfifo given/fifo
copy given $'h/merged\nexisting=merge' || fail "the first merge"
attack merge
made=0
for ((n = 0; ; n++)); do
	attacking || break
	find given -type f -exec touch {} + # newer than the copies
	copy given $'h/merged\nexisting=merge\non_error=continue' && made=$((made + 1))
	as_user setfattr -n user.arsync.copy -v $'h/merged\nexisting=replace\non_error=continue' \
		"$MNT/home/private" 2>>"$RUN_DIR/copy.err"
	copy given $'h/merged\nexisting=update\non_error=continue' && made=$((made + 1))
done
attacked "merge"
echo "# $n times two by root and one by a user, $made of root's with success"
check "merge: some copies could be made" test "$made" -gt 0
state "merge"
make_links # what was replaced has their names
rm -rf h/merged
check "merge: and once more, undisturbed" copy given $'h/merged\nexisting=merge'
check "merge: all is there" diff -r --no-dereference -x fifo given h/merged

# --- Jobs -----------------------------------------------------------------------------------------------

attack jobs
for ((n = 0; ; n++)); do
	attacking || break
	setfattr -n user.arsync.submit -v "shared/job.$n" "$MNT/vault"
	as_user setfattr -n user.arsync.submit -v "home/job.$n" "$MNT/home/private"
	sleep 0.05
done
attacked "jobs"
check "no job is left running" wait_until 20 jobs_ended
check_equal "nobody's job was cancelled" "{'done'}" \
	"$(getfattr --absolute-names --only-values -n user.arsync.jobs "$MNT" |
		python3 -c 'import json, sys; print({j["state"] for j in json.load(sys.stdin) if "job." in j["destination"]})')"
rm -rf shared/job.* home/job.*

# --- What needs no race ---------------------------------------------------------------------------------

cd "$MNT/h" || exit
mkdir bound "$SCRATCH/bound"
echo SECRET >"$SCRATCH/bound/secret"
chmod 0600 "$SCRATCH/bound/secret"
mount --bind "$SCRATCH/bound" "$BACKING/h/bound"
mkdir in
chown 4323 in
refused() { check_fails "$1" "$2" as_hostile setfattr -n "user.arsync.$3" -v "$4" "$5"; }
refused "a source that is closed" "Permission denied" copy_from vault in
refused "a source in a closed directory" "Permission denied" copy_from vault/secret in
refused "through .." "cross-device" copy_from h/../vault in
refused "through a symbolic link that leads out" "cross-device" copy_from h/out.link/secret in
refused "through one that leads to what is closed" "Permission denied" copy_from h/vault.link/ in
refused "out of the mount" "cross-device" copy_from "$SCRATCH/outside" in
refused "a mount with something closed in it" "Permission denied" copy_from h/bound in
refused "out of a mount" "cross-device" copy_from h/bound/../../vault in
refused "to a directory of others" "Permission denied" copy home/copy in
refused "to a mount of others" "Permission denied" copy h/bound/copy in
refused "to somewhere through .." "cross-device" copy h/../shared/copy in
refused "to somewhere through a symbolic link" "cross-device" copy h/out.link/copy in
refused "under a name that is a path" "" copy_from $'h/trap\nname=../x' in
check "nothing is left" test ! -e "$BACKING/h/in/secret" -a -z "$(find "$BACKING/h/in" -mindepth 1)"
cd / || exit
umount --lazy "$BACKING/h/bound" # it was visited
cd "$BACKING" && state "all"
