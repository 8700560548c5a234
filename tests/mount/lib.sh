# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What mount tests use. `run` gives every test program this environment:
#
#   BACKING   an empty directory, mirrored at MNT by a freshly started arsyncfs
#   MNT       the mountpoint
#   SCRATCH   an empty directory on the same file system, outside of BACKING: what the raw file
#             system does, to compare with
#   FSTYPE    ext4, xfs, btrfs or tmpfs
#   IO        uring, sync, or empty for arsyncfs's own choice
#   RUN_DIR   a private directory (not on the tested file system) that is removed afterwards
#   STATE_DIRECTORY    where arsyncfs notes its copies
#   ARSYNCFS, ARSYNC   the programs
#
#   TEST_LIB  this file
#
# A test in shell begins with `. "$TEST_LIB"`, makes checks, and just ends. It fails when a check
# failed, when it made none, or when it ended with a non-zero status. No `set -e` is needed.

# --- Checks ---------------------------------------------------------------------------------------

checks_made=0
checks_failed=0

pass() {
	checks_made=$((checks_made + 1))
	echo "ok $checks_made - $1"
}

# fail DESCRIPTION [DETAILS]
fail() {
	checks_made=$((checks_made + 1))
	checks_failed=$((checks_failed + 1))
	echo "not ok $checks_made - $1"
	[[ -z ${2-} ]] || printf '%s\n' "$2" | sed 's/^/    /'
}

# check DESCRIPTION COMMAND...: COMMAND must succeed.
check() {
	local description=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	if ((status == 0)); then
		pass "$description"
	else
		fail "$description" "$* ended with $status: $output"
	fi
}

# check_not DESCRIPTION COMMAND...: COMMAND must fail, for whatever reason.
check_not() {
	local description=$1
	shift
	if "$@" >/dev/null 2>&1; then
		fail "$description" "$* succeeded"
	else
		pass "$description"
	fi
}

# check_fails DESCRIPTION TEXT COMMAND...: COMMAND must fail and say TEXT, which is what the C locale
# calls the errno, for instance "File exists".
check_fails() {
	local description=$1 text=$2 output status=0
	shift 2
	output=$(LC_ALL=C "$@" 2>&1) || status=$?
	if ((status == 0)); then
		fail "$description" "$* succeeded: $output"
	elif [[ $output == *"$text"* ]]; then
		pass "$description"
	else
		fail "$description" "$* should have said '$text', it said: $output"
	fi
}

# contains TEXT PART
contains() {
	[[ $1 == *"$2"* ]] || {
		echo "no '$2' in: $1"
		return 1
	}
}

# between LEAST NUMBER MOST
between() {
	(($1 <= $2 && $2 <= $3)) || {
		echo "$2 is not between $1 and $3"
		return 1
	}
}

# check_equal DESCRIPTION EXPECTED ACTUAL
check_equal() {
	if [[ $2 == "$3" ]]; then
		pass "$1"
	else
		fail "$1" "$(diff <(echo "$2") <(echo "$3") | head -n 20)"
	fi
}

# tree_list DIRECTORY: everything that a copy of a tree must keep, as sorted lines. A line per file: name,
# target of a symbolic link, type, mode, owner, links, nanosecond mtime, size; then which names belong to
# one inode, all extended attributes (ACLs among them), and checksums.
tree_list() {
	(
		cd "$1" || exit
		LC_ALL=C
		export LC_ALL
		find . -printf '%p -> %l: %y %m %U:%G links %n mtime %T@' \
			\( -type d -printf '\0' -o -printf ' size %s\0' \) | sort -z | tr '\0\n' '\n?'
		find . ! -type d -links +1 -printf '%i %p\0' | sort -z | tr '\0\n' '\n?' |
			awk '{
				inode = $1
				sub(/^[0-9]+ /, "")
				if (!(inode in first)) first[inode] = $0
				print "inode of " first[inode] ": " $0
			}' | sort
		getfattr --no-dereference --recursive --physical --dump --encoding=hex --match=- . \
			2>/dev/null | awk 'BEGIN { RS = ""; FS = "\n" } { $1 = $1; print }' | sort
		find . -type f -print0 | sort -z | xargs -0 -r md5sum --zero | tr '\0\n' '\n?'
	)
}

# same_tree A B: compares everything of tree_list and says what differs.
same_tree() {
	local lists
	lists=$(mktemp -d "$RUN_DIR/lists.XXXXXX")
	tree_list "$1" >"$lists/a"
	tree_list "$2" >"$lists/b"
	[[ -s $lists/a ]] || echo "there is nothing in $1" >>"$lists/a"
	if diff "$lists/a" "$lists/b" >"$lists/diff"; then
		rm -r "$lists"
		return 0
	fi
	head -n 20 "$lists/diff"
	rm -r "$lists"
	return 1
}

# check_same_tree DESCRIPTION A B
check_same_tree() { check "$1" same_tree "$2" "$3"; }

# holes_kept FILE FILE...: the copies allocate no more than the first plus some slack.
holes_kept() {
	local blocks limit file
	limit=$(($(stat -c %b "$1") + 512))
	for file in "${@:2}"; do
		blocks=$(stat -c %b "$file")
		((blocks <= limit)) || {
			echo "$file has $blocks blocks, more than $limit"
			return 1
		}
	done
}

# nothing_left DIRECTORY...: no staging name of a tree copy.
nothing_left() {
	local found
	found=$(find "$@" -name '.arsync-*')
	[[ -z $found ]] || {
		echo "$found"
		return 1
	}
}

# skip REASON: ends the test; it counts as skipped.
skip() {
	echo "SKIP: $1"
	skipped=true
	exit 77
}

# need COMMAND...: skips the test where one is missing.
need() {
	local command
	for command; do
		command -v "$command" >/dev/null || skip "no $command on this machine"
	done
}

checks_end() {
	local status=$1
	[[ -z ${skipped-} ]] || exit 77
	((status == 0)) || echo "the test ended with status $status"
	((checks_made > 0)) || echo "the test made no check"
	((status == 0 && checks_made > 0 && checks_failed == 0)) || exit 1
}

# --- Processes ------------------------------------------------------------------------------------

# bounded SECONDS COMMAND...: like timeout(1), but comes back (with 124) even from a COMMAND that
# hangs in the kernel.
bounded() {
	local end=$((SECONDS + $1)) pid
	shift
	"$@" &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		if ((SECONDS > end)); then
			disown "$pid" # no message about its end
			kill -KILL "$pid" 2>/dev/null
			return 124
		fi
		sleep 0.02
	done
	wait "$pid"
}

# wait_until SECONDS COMMAND...: until COMMAND succeeds.
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS <= end)) || return 1
		sleep 0.02
	done
}

# milliseconds since some time
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# --- File systems ---------------------------------------------------------------------------------

# mountinfo_of DIRECTORY: the lines of /proc/self/mountinfo for what is mounted there, the last on top.
# The kernel writes odd characters as three octal digits.
mountinfo_of() {
	local at=$1
	at=${at//\\/\\134}
	at=${at// /\\040}
	at=${at//$'\t'/\\011}
	at=${at//$'\n'/\\012}
	AT=$at awk '$5 == ENVIRON["AT"]' /proc/self/mountinfo
}

is_mounted() { [[ -n $(mountinfo_of "$1") ]]; }

# fs_make NAME TYPE SIZE: a file system (SIZE as 64M, 2G ...), to be mounted with fs_mount once. Skips
# the test where that is not possible.
fs_make() {
	local name=$1 type=$2 size=$3 image=$RUN_DIR/$1.img said
	echo "$type $size" >"$RUN_DIR/$name.fs"
	[[ $type != tmpfs ]] || return 0
	command -v "mkfs.$type" >/dev/null || skip "no mkfs.$type on this machine"
	truncate -s "$size" "$image" || skip "cannot make a file of $size in $RUN_DIR"
	local -a command
	# shellcheck disable=SC2054 # the commas belong to mkfs
	case $type in
	ext4) command=(mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1) ;;
	xfs) command=(mkfs.xfs -q -f) ;;
	btrfs) command=(mkfs.btrfs -q -f) ;;
	*) skip "unknown file system '$type'" ;;
	esac
	said=$("${command[@]}" "$image" 2>&1) || skip "mkfs.$type failed: ${said%%$'\n'*}"
}

# fs_mount NAME DIRECTORY [OPTIONS]: mounts what fs_make made. The image's name goes away at once, so
# that nothing remains of it, however the test ends.
fs_mount() {
	local type size said image=$RUN_DIR/$1.img
	read -r type size <"$RUN_DIR/$1.fs"
	local options=${3-}
	mkdir -p "$2"
	case $type in
	tmpfs)
		said=$(mount -t tmpfs -o "size=$size,mode=0755${options:+,$options}" tmpfs "$2" 2>&1) ||
			skip "cannot mount a tmpfs here: $said"
		return
		;;
	# No background initialisation of inode tables while we test.
	ext4) options=noinit_itable${options:+,$options} ;;
	esac
	said=$(mount -t "$type" -o "loop${options:+,$options}" "$image" "$2" 2>&1) ||
		skip "cannot mount $type through a loop device here: ${said%%$'\n'*}"
	rm -f "$image"
}

# --- arsyncfs -------------------------------------------------------------------------------------

# The state of the daemon at $MNT: $MNT.pid, $MNT.exit (its exit status, once it has ended), $MNT.log.

daemon_pid() { cat "$MNT.pid"; }
daemon_ended() { [[ -s $MNT.exit ]]; } # (written in one piece)
mounted_or_ended() { is_mounted "$MNT" || daemon_ended; }

# mount_start [OPTION]...: starts arsyncfs at $MNT on $BACKING with these options besides those of
# `run`, and waits until it is mounted. $BACKING and $MNT (below $RUN_DIR) may be changed for a second.
mount_start() {
	local -a options=()
	[[ -z ${IO-} ]] || options+=("--io=$IO")
	[[ -z ${MOUNT_OPTIONS-} ]] || mapfile -t -O ${#options[@]} options <<<"$MOUNT_OPTIONS"
	mkdir -p "$MNT"
	rm -f "$MNT.pid" "$MNT.exit"
	: >>"$MNT.log"
	# In a session of its own: what ends the test must not end the daemon. The shell around it is
	# there to keep its exit status.
	# shellcheck disable=SC2016 # expanded by that shell
	setsid bash -c '
		mnt=$1; shift
		# Shells have their background commands ignore SIGINT.
		env --default-signal "$@" >>"$mnt.log" 2>&1 &
		echo $! >"$mnt.pid"
		wait $!
		echo $? >"$mnt.exit"
	' - "$MNT" "$ARSYNCFS" -f "${options[@]}" "$@" "$BACKING" "$MNT" </dev/null >/dev/null 2>&1 &
	wait_until 20 mounted_or_ended
	if is_mounted "$MNT" && ! daemon_ended; then
		return 0
	fi
	echo "arsyncfs did not mount; its log:"
	cat "$MNT.log"
	return 1
}

# mount_stop: unmounts $MNT and waits for the daemon's end. Fails, and says why, when the mount was
# busy or stuck or when the daemon did not end with 0. (A test that kills its daemon removes $MNT.pid.)
mount_stop() {
	local trouble='' end=$((SECONDS + 2))
	while is_mounted "$MNT" && ! bounded 10 umount "$MNT" 2>"$MNT.umount"; do
		# Something may still be on its way out, a killed test for instance.
		sleep 0.1
		if ((SECONDS > end)); then
			trouble=$(cat "$MNT.umount")
			trouble=${trouble:-"umount of $MNT did not answer"}
			break
		fi
	done
	[[ -e $MNT.pid ]] || return 0
	if [[ -z $trouble ]] && ! wait_until 15 daemon_ended; then
		trouble="arsyncfs was still running 15 s after the unmount"
	fi
	[[ -z $trouble ]] || mount_kill
	if [[ -z $trouble && $(cat "$MNT.exit") != 0 ]]; then
		trouble="arsyncfs ended with status $(cat "$MNT.exit")"
	fi
	rm -f "$MNT.pid"
	[[ -n $trouble ]] || return 0
	echo "$trouble"
	return 1
}

# stats: what user.arsync.stats of $MNT says, JSON in one line
stats() { getfattr --only-values --absolute-names -n user.arsync.stats "$MNT"; }

# copied_bytes WAY: how much the engine of $MNT has copied that way (clone, ring, sync or hole)
copied_bytes() { stats | sed -n "s/.*\"$1\":{\"pieces\":[0-9]*,\"bytes\":\([0-9]*\)}.*/\1/p"; }

# requests NAME: how many requests of that name $MNT has served
requests() { stats | sed -n "s/.*\"requests\":{.*\"$1\":\([0-9]*\).*/\1/p" | grep . || echo 0; }

# jobs_ended: no job of $MNT runs.
jobs_ended() { [[ $(stats) =~ \"started\":([0-9]+),\"ended\":([0-9]+) ]] && ((BASH_REMATCH[1] == BASH_REMATCH[2])); }

# byte_way: how the engine copies bytes here, ring or sync
byte_way() {
	case $IO in
	uring) echo ring ;;
	sync) echo sync ;;
	*) if [[ $(stats) == *'"io":"sync"'* ]]; then echo sync; else echo ring; fi ;;
	esac
}

# mount_kill: whatever it takes. Aborting the connection frees every process that waits for the daemon.
mount_kill() {
	mount_abort
	umount --lazy "$MNT" 2>/dev/null
	daemon_ended || kill -TERM "$(daemon_pid)" 2>/dev/null
	wait_until 5 daemon_ended || kill -KILL "$(daemon_pid)" 2>/dev/null
	wait_until 5 daemon_ended
}

# mount_abort: aborts the FUSE connection of $MNT. Its number is the minor number of the mount's device.
mount_abort() {
	local minor
	minor=$(mountinfo_of "$MNT" | awk 'END { split($3, device, ":"); print device[2] }')
	[[ -n $minor ]] || return 0
	mkdir -p "$RUN_DIR/fusectl"
	is_mounted "$RUN_DIR/fusectl" || mount -t fusectl none "$RUN_DIR/fusectl" || return
	echo 1 >"$RUN_DIR/fusectl/$minor/abort"
}

# The program that sources this is a test, unless it is `run`.
[[ -n ${TEST_RUNNER-} ]] || trap 'checks_end $?' EXIT
