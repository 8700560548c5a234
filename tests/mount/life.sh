#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The life of a mount: what is refused before it begins, how it ends, and its options.
# shellcheck disable=SC2034,SC2119
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr setfattr

here=$RUN_DIR/life
mkdir -p "$here/backing" "$here/mnt"
: >"$here/file"
cd "$here" || exit

# run SECONDS arsyncfs...: what it says is in `output`, standard output in `out`; returns its status
run() {
	local status=0
	bounded 20 timeout 15 "$@" >"$RUN_DIR/out" 2>"$RUN_DIR/err" </dev/null || status=$?
	out=$(cat "$RUN_DIR/out")
	output=$(cat "$RUN_DIR/err")
	return "$status"
}

# refused DESCRIPTION TEXT ARGUMENT...: a non-zero exit, one line that contains TEXT, nothing mounted
refused() {
	local description=$1 text=$2 before status=0
	shift 2
	before=$(cat /proc/self/mountinfo)
	run "$ARSYNCFS" "$@" || status=$?
	if ((status == 0 || status >= 124)); then
		fail "$description" "exit status $status; $output"
	elif [[ $(wc -l <"$RUN_DIR/err") != 1 || -n $out ]]; then
		fail "$description: one line" "$out$output"
	elif [[ $output != *"$text"* || $output != arsyncfs:* ]]; then
		fail "$description: says '$text'" "$output"
	else
		pass "$description"
		echo "# $output"
	fi
	check_equal "$description: nothing is mounted" "$before" "$(cat /proc/self/mountinfo)"
}

# --- Refusals -----------------------------------------------------------------------------------------

refused "no backing directory" "No such file" none mnt
refused "no backing directory, absolute" "No such file" "$here/none" "$here/mnt"
refused "the backing is a file" "Not a directory" file mnt
refused "no mountpoint" "No such file" backing none
refused "the mountpoint is a file" "Not a directory" backing file
refused "the mountpoint below a file" "Not a directory" backing file/mnt
refused "the mountpoint is occupied" "already" backing "$MNT"
refused "the mountpoint is inside the backing" "inside" . mnt
mkdir -p backing/deep/er
refused "the mountpoint is deep inside the backing" "inside" backing backing/deep/er
refused "no arguments" "usage"
refused "one argument" "usage" backing
refused "three arguments" "too many" backing mnt more
refused "an empty argument" "No such file" "" mnt
refused "an unknown option" "unknown option --nonsense" --nonsense backing mnt
refused "an unknown option with a value" "nonsense=1" --nonsense=1 backing mnt
refused "an unknown short option" "-x" -x backing mnt
refused "remounting" "mount -i -o remount,... mnt" backing mnt -o remount,ro
refused "an unknown option in -o" "nonsense" -o nonsense backing mnt
refused "an unknown option among others" "nonsense" -o ro,nonsense,noatime backing mnt
refused "-o without a value" "-o" backing mnt -o
for option in workers queue_depth block_size depth reflink offload direct io fsync cache passthrough transport trigger_wait log; do
	refused "--$option without a value" "$option" "--$option" backing mnt
	refused "--$option= with nothing" "$option" "--$option=" backing mnt
	refused "--$option=nonsense" "$option" "--$option=nonsense" backing mnt
	refused "-o $option=nonsense" "$option" -o "$option=nonsense" backing mnt
done
for value in 0 -1 100000 1x 99999999999999999999 ' 1'; do
	refused "--workers=$value" "workers" "--workers=$value" backing mnt
	refused "--queue_depth=$value" "queue_depth" "--queue_depth=$value" backing mnt
done
for value in 0 1 4095 64k 100000 1T 17M 99999999999G -64K; do
	refused "--block_size=$value" "block_size" "--block_size=$value" backing mnt
done
for value in -1 7 1x automatic; do
	refused "--depth=$value" "depth" "--depth=$value" backing mnt
done
for value in -1 86401 1s; do
	refused "--trigger_wait=$value" "trigger_wait" "--trigger_wait=$value" backing mnt
done

# FUSE over io_uring where the kernel has it switched off; others may switch it on at any time
uring_switch=/sys/module/fuse/parameters/enable_uring
uring_is_off() { [[ -e $uring_switch && $(<"$uring_switch") == N ]]; }
if uring_is_off; then
	status=0
	run "$ARSYNCFS" --transport=ring backing mnt || status=$?
	if uring_is_off; then
		check "transport=ring insists" test "$status" = 1
		check "transport=ring says what to do" contains "$output" "echo Y > $uring_switch"
		check_not "transport=ring: nothing is mounted" is_mounted "$here/mnt"
	fi
	umount mnt 2>/dev/null
fi

# A mount whose daemon is gone
MNT=$RUN_DIR/dead BACKING=$here/backing mount_start
MNT=$RUN_DIR/dead
kill -KILL "$(daemon_pid)"
check "a killed daemon ends" wait_until 10 daemon_ended
# With FUSE over io_uring the connection ends a moment after the daemon.
is_dead() { LC_ALL=C stat "$MNT" 2>&1 | grep -q "not connected"; }
check "its mount is dead" wait_until 5 is_dead
refused "onto a dead mount" "fusermount3 -u" backing "$MNT"
refused "the backing is a dead mount" "fusermount3 -u" "$MNT" mnt
check "umount of a dead mount" umount "$MNT"
rm "$MNT.pid"
MNT=$RUN_DIR/mnt

for option in --help -h --version -V; do
	run "$ARSYNCFS" "$option"
	check_equal "$option: exit status" 0 $?
	check_equal "$option: standard error" "" "$output"
	case $option in
	*h*) check "$option: text" contains "$out" --reflink= ;;
	*) check "$option: text" contains "$out" "arsyncfs " ;;
	esac
done

# --- Where it may be mounted --------------------------------------------------------------------------

# smoke DIRECTORY BACKING: everyday work, seen on both sides.
smoke() {
	(
		cd "$1" &&
			mkdir smoke &&
			head -c 3000000 /dev/urandom | base64 >smoke/file &&
			cp smoke/file smoke/copy &&
			cmp smoke/file smoke/copy &&
			cmp smoke/copy "$2/smoke/copy" &&
			echo appended >>smoke/copy &&
			[[ $(tail -n 1 "$2/smoke/copy") == appended ]] &&
			sed -i 1,3d smoke/copy &&
			mv smoke/copy smoke/moved &&
			cmp smoke/moved "$2/smoke/moved" &&
			[[ ! -e $2/smoke/copy ]] &&
			chmod 640 smoke/moved &&
			[[ $(stat -c %a "$2/smoke/moved") == 640 ]] &&
			ln -s moved smoke/link &&
			[[ $(readlink "$2/smoke/link") == moved ]] &&
			setfattr -n user.arsync.copy -v tree smoke &&
			diff -r smoke tree &&
			diff -r "$2/smoke" "$2/tree" &&
			rm -r smoke tree &&
			[[ -z $(ls -A "$2") ]]
	)
}

# with_mount DESCRIPTION BACKING MNT OPTION...: a smoke test on that mount. (Directories below $RUN_DIR.)
with_mount() {
	local description=$1 BACKING=$2 MNT=$3 seen=$2
	shift 3
	if [[ $BACKING == "$MNT"* ]]; then
		# The mount covers it: look through another.
		mkdir -p "$RUN_DIR/seen"
		mount --bind "$BACKING" "$RUN_DIR/seen"
		seen=$RUN_DIR/seen
	fi
	check "$description: mount" mount_start "$@"
	check "$description: smoke test" bounded 60 smoke "$MNT" "$seen"
	check "$description: unmount" mount_stop
	[[ $seen == "$BACKING" ]] || umount "$seen"
}

mkdir -p "$RUN_DIR/self" "$RUN_DIR/outer/inner/backing"
with_mount "BACKING is MOUNTPOINT" "$RUN_DIR/self" "$RUN_DIR/self"
check_equal "BACKING is MOUNTPOINT: afterwards" "" "$(ls -A "$RUN_DIR/self")"
with_mount "BACKING inside MOUNTPOINT" "$RUN_DIR/outer/inner/backing" "$RUN_DIR/outer"
rmdir "$here"/backing/deep/er "$here"/backing/deep
ln -s "$here/mnt" "$RUN_DIR/link"
with_mount "an odd name" "$here/backing" "$RUN_DIR/a b,c\\d"

# relative paths, and a mountpoint that is a symbolic link
bounded 20 "$ARSYNCFS" backing ../link
check "relative paths" is_mounted "$here/mnt"
check "relative paths: smoke test" bounded 60 smoke "$here/mnt" "$here/backing"

# --- In the background --------------------------------------------------------------------------------

# daemons: the processes that run arsyncfs, but for that of $RUN_DIR/mnt
daemons() {
	local process
	for process in /proc/[0-9]*; do
		[[ $(readlink "$process/exe") == "$ARSYNCFS" && ${process#/proc/} != "$(cat "$RUN_DIR/mnt.pid")" ]] &&
			echo "${process#/proc/}"
	done
}
no_daemons() { [[ -z $(daemons) ]]; }

check "umount" umount "$here/mnt"
check "its daemon ends" wait_until 5 no_daemons
bounded 20 "$ARSYNCFS" "$here/backing" "$here/mnt" >"$RUN_DIR/out" 2>&1
check_equal "without -f it goes to the background" 0 $?
check_equal "silently" "" "$(cat "$RUN_DIR/out")"
check "it is mounted" is_mounted "$here/mnt"
check_equal "by one daemon" 1 "$(daemons | wc -l)"
daemon=$(daemons)
check_equal "which has no terminal" "?" "$(ps -o tty= -p "$daemon" | tr -d ' ')"
check_not "and keeps no directory busy but in /proc" contains "$(readlink "/proc/$daemon/cwd")" "$here"
check "in the background: smoke test" bounded 60 smoke "$here/mnt" "$here/backing"
umount "$here/mnt"
check "it is gone after umount" wait_until 10 no_daemons

# started_with_closed DESCRIPTION STATUS: it has just been started without some of 0, 1 and 2.
started_with_closed() {
	check_equal "$1: exit status" 0 "$2"
	check "$1: it is mounted" is_mounted "$here/mnt"
	check "$1: smoke test" bounded 60 smoke "$here/mnt" "$here/backing"
	umount "$here/mnt"
	check "$1: it is gone after umount" wait_until 10 no_daemons
}
# Within bounded(): what a shell starts with & gets /dev/null as its standard input.
without_input() { "$@" <&-; }
without_output() { "$@" <&- >&-; }
without_error() { "$@" <&- >&- 2>&-; }
bounded 20 without_input "$ARSYNCFS" "$here/backing" "$here/mnt"
started_with_closed "standard input is closed" $?
bounded 20 without_output "$ARSYNCFS" "$here/backing" "$here/mnt"
started_with_closed "standard input and output are closed" $?
bounded 20 without_error "$ARSYNCFS" "$here/backing" "$here/mnt"
started_with_closed "standard input, output and error are closed" $?

for signal in TERM INT HUP; do
	env --default-signal "$ARSYNCFS" "$here/backing" "$here/mnt"
	check "mounted again" is_mounted "$here/mnt"
	: >"$here/mnt/opened"
	exec 3<"$here/mnt/opened" # busy
	kill -s "$signal" "$(daemons)"
	check "SIG$signal ends it" wait_until 10 no_daemons
	check_not "SIG$signal: it is unmounted" is_mounted "$here/mnt"
	exec 3<&-
	rm -f "$here/backing/opened"
done

# The exit status is seen in the foreground only.
for signal in TERM INT HUP; do
	MNT=$RUN_DIR/$signal BACKING=$here/backing
	check "in the foreground" mount_start
	kill -s "$signal" "$(daemon_pid)"
	check "SIG$signal ends it" wait_until 10 daemon_ended
	check_equal "SIG$signal: exit status" 0 "$(cat "$MNT.exit")"
	check_not "SIG$signal: it is unmounted" is_mounted "$MNT"
done
MNT=$RUN_DIR/mnt

# --- Options ------------------------------------------------------------------------------------------

options_of() { mountinfo_of "$1" | awk '{ print "," $6 "," $NF "," }'; }

for option in --io=sync --io=auto --passthrough=never --passthrough=auto --cache=never --cache=always --cache=auto \
	--reflink=never --fsync=file --fsync=tree --workers=1 --workers=3 --queue_depth=1 --block_size=64K --block_size=4M \
	--depth=0 --depth=3 --depth=auto --trigger_wait=0 --log=debug --log=error "-oio=sync,cache=never"; do
	with_mount "$option" "$here/backing" "$RUN_DIR/options" "$option"
done

MNT=$RUN_DIR/fstab BACKING=$here/backing
check "as in fstab" mount_start -o \
	rw,nosuid,nodev,noexec,noatime,allow_other,nofail,_netdev,x-systemd.automount,x-foo=bar,workers=2,io=sync,fsname=some
for option in rw nosuid nodev noexec noatime allow_other default_permissions; do
	check "as in fstab: $option" contains "$(options_of "$MNT")" ",$option,"
done
check "as in fstab: smoke test" bounded 60 smoke "$MNT" "$BACKING"
check_equal "fsname and type" "some fuse.arsyncfs" \
	"$(mountinfo_of "$MNT" | awk '{ print $(NF - 1), $(NF - 2) }')"
check "as in fstab: io=sync" contains "$(stats)" '"io":"sync"'
check "as in fstab: unmount" mount_stop

mkdir "$BACKING/ro"
echo text >"$BACKING/ro/file"
check "read-only" mount_start -o ro
check_equal "read-only: reading" text "$(cat "$MNT/ro/file")"
check_fails "read-only: making" "Read-only" touch "$MNT/ro/new"
check_fails "read-only: writing" "Read-only" bash -c "echo x >>$MNT/ro/file"
check_fails "read-only: mkdir" "Read-only" mkdir "$MNT/ro/d"
check_fails "read-only: removing" "Read-only" rm "$MNT/ro/file"
check_fails "read-only: renaming" "Read-only" mv "$MNT/ro/file" "$MNT/ro/new"
check_fails "read-only: linking" "Read-only" ln "$MNT/ro/file" "$MNT/ro/new"
check_fails "read-only: chmod" "Read-only" chmod 600 "$MNT/ro/file"
check_fails "read-only: cp" "Read-only" cp "$MNT/ro/file" "$MNT/ro/new"
check_fails "read-only: setfattr" "Read-only" setfattr -n user.a -v b "$MNT/ro/file"
check_fails "read-only: tree copy" "Read-only" setfattr -n user.arsync.copy -v new "$MNT/ro"
check_equal "read-only: nothing has changed" "file" "$(ls -A "$BACKING/ro")"
check "read-only: unmount" mount_stop
rm -r "$BACKING/ro"

# Others are kept out without allow_other, whatever the modes say.
chmod 777 "$BACKING"
check "for root alone" mount_start
check_fails "others are kept out" "Permission denied" setpriv --reuid=4321 --regid=4321 --clear-groups ls "$MNT"
check "for root alone: unmount" mount_stop

# mount(8) finds arsyncfs by its type.
if command -v mount.fuse3 >/dev/null || command -v mount.fuse >/dev/null; then
	# In a place where mount.fuse3 looks; it does not ask PATH. Nobody else sees this mount.
	mount -t tmpfs tmpfs /usr/local/sbin
	ln -s "$ARSYNCFS" /usr/local/sbin/arsyncfs
	check "mount -t fuse.arsyncfs" bounded 20 mount -t fuse.arsyncfs "$BACKING" "$here/mnt" \
		-o noatime,cache=never,x-gvfs-hide
	check "mount -t fuse.arsyncfs: smoke test" bounded 60 smoke "$here/mnt" "$BACKING"
	check "mount -t fuse.arsyncfs: umount" umount "$here/mnt"
	check "mount -t fuse.arsyncfs: it is gone" wait_until 10 no_daemons
	umount /usr/local/sbin
else
	echo "# no mount.fuse3: mount -t fuse.arsyncfs is not tested"
fi

# Two mounts of one backing directory, and a mount of a mount
MNT=$RUN_DIR/first
check "two mounts: first" mount_start
first=$MNT
MNT=$RUN_DIR/second
check "two mounts: second" mount_start
echo one >"$first/file"
check_equal "two mounts: written in one, read in the other" one "$(cat "$MNT/file")"
rm "$MNT/file"
check "two mounts: second ends" mount_stop
MNT=$RUN_DIR/third BACKING=$first
check "a mount of a mount" mount_start
check "a mount of a mount: smoke test" bounded 60 smoke "$MNT" "$BACKING"
check "a mount of a mount: ends" mount_stop
MNT=$first BACKING=$here/backing
check "two mounts: first ends" mount_stop
