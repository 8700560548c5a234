#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What the kernel does to a file system that copies, and that it must not come to harm by: who waits for
# a file that is being copied to, mounts inside the mount, checks that the kernel does not make. Needs slow
# copies and allow_other.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr setfattr setpriv python3

cd "$MNT" || exit

# --- Who waits for the destination of a cp --------------------------------------------------------------

# The kernel holds its lock until a request is answered, and a waiting rm that of the directory, too. So
# requests are short, and who waits comes between two of them. (Not measured in time: a chmod waits for a
# slow disk without us, too.)
mkdir copies
head -c 2500M /dev/zero >big

# requests_during COMMAND...: how many of cp came meanwhile, and how long it took
requests_during() {
	local before started
	before=$(requests COPY_FILE_RANGE)
	started=$(now_ms)
	"$@"
	echo "$(($(requests COPY_FILE_RANGE) - before)) $(($(now_ms) - started))"
}

# while_copied DESCRIPTION TIMES MOST COMMAND...: waits for no more than so many requests each time
while_copied() {
	local pid i requests ms description=$1 times=$2 most=$3
	shift 3
	rm -f copies/copy
	cp big copies/copy &
	pid=$!
	wait_until 10 test -s copies/copy
	for ((i = 1; i <= times; i++)); do
		read -r requests ms < <(requests_during "$@")
		check "$description, $i: not for more than $most requests ($requests, $ms ms)" \
			between 0 "$requests" "$most"
	done
	check "$description: the copy was still running" kill -0 "$pid"
	kill "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
}
while_copied "chmod of the destination" 2 5 chmod 600 copies/copy
while_copied "a name in its directory" 2 10 touch copies/other
remove_and_list() { rm copies/copy && ls copies >/dev/null && cp --reflink=never "$RUN_DIR/mnt.pid" copies/copy; }
while_copied "rm of the destination, ls and a new one" 1 10 remove_and_list
rm -r copies big

# --- Ways that never come here --------------------------------------------------------------------------

head -c 1M /dev/urandom >file
before=$(stats | sed 's/.*"copied":\({.*}\),"past.*/\1/')
check "cp --reflink=never" cp --reflink=never file plain
check_equal "cp --reflink=never copies by itself" "$before" "$(stats | sed 's/.*"copied":\({.*}\),"past.*/\1/')"
check_fails "cp --reflink=always" "not supported" cp --reflink=always file cloned

# --- Mounts inside the mount stay -----------------------------------------------------------------------

mkdir -p tree/below to/tree/at to/seen
echo new >tree/below/file
mount -t tmpfs none to/tree/at
mount -t tmpfs none to/seen
touch to/tree/at/mine to/seen/mine
stat to/none 2>/dev/null # remembered as missing
check "a tree copy beside them" setfattr -n user.arsync.copy -v to/none tree
check "it is there at once" test -e to/none/below/file
check "a merge into what is around one" setfattr -n user.arsync.copy -v $'to/tree\nexisting=merge' tree
check "what was merged is there at once" test -e to/tree/below/file
echo newer >tree/below/file
check "and again" setfattr -n user.arsync.copy -v $'to/tree\nexisting=merge' tree
check_equal "what has replaced a file is there at once" newer "$(cat to/tree/below/file)"
sleep 1.1 # names are looked up again
check "the mount in it is as before" test -e to/tree/at/mine
check "and the other one" test -e to/seen/mine
umount to/tree/at to/seen

# --- Checks that the kernel does not make ---------------------------------------------------------------

as_user() { setpriv --reuid=4321 --regid=4322 --clear-groups "$@"; }
install -m 0600 /dev/null closed
for name in system.name system.nfs4_acl system.posix_acl_nonsense system.arsync; do
	check_fails "setting $name of somebody's file" "not supported" as_user setfattr -n $name -v x closed
	check_not "asking for it" as_user getfattr -n $name closed
	check_fails "removing it" "not supported" as_user setfattr -x $name closed
done
check_fails "its ACL, by somebody else" "not permitted" as_user setfattr -n system.posix_acl_access \
	-v 0x0200000001000600ffffffff04000600ffffffff20000600ffffffff closed
check_equal "it is as before" "600 0" "$(stat -c '%a %u' "$BACKING/closed")"
check_equal "and has no attributes" "" "$(getfattr --absolute-names -d -m - "$BACKING/closed")"

# --- Writes ask for nothing -----------------------------------------------------------------------------

# Without HANDLE_KILLPRIV_V2 the kernel asks for security.capability before each.
before=$(requests GETXATTR)
python3 - <<'END'
import os
fd = os.open("written", os.O_WRONLY | os.O_CREAT)
for i in range(500):
    os.pwrite(fd, b"bytes", i * 5000)
END
check "500 writes ask for few attributes" between 0 $(($(requests GETXATTR) - before)) 5

# --- Writes that do not go through the kernel beside others that do -------------------------------------

# flushes: how often the disk below has been told to write all that it has
disk=$(findmnt --noheadings --output SOURCE --target "$BACKING")
flushes() { awk '{ print $16 }' "/sys/block/${disk#/dev/}/stat"; }
before=$(flushes)
python3 - <<'END'
import mmap, os
fd = os.open("synced", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
block = mmap.mmap(-1, 4096)
for i in range(20):
    os.pwritev(fd, [block], i * 4096, os.RWF_DSYNC)
END
check "each write with RWF_DSYNC is on the disk: $(($(flushes) - before))" test $(($(flushes) - before)) -ge 20

# The kernel's page cache of such a file is nobody's business.
out=$(
	python3 - <<'END'
import errno, os
old, new = b"A" * 100, b"B" * 100
with open("sent", "wb") as f:
    f.write(old)
os.chmod("sent", 0o666)
root = os.open("sent", os.O_RDONLY)
append = os.open("sent", os.O_WRONLY | os.O_APPEND)
to_user, to_root = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    os.setresgid(4322, 4322, 4322)
    os.setresuid(4321, 4321, 4321)
    fd = os.open("sent", os.O_RDWR)
    target = os.memfd_create("target")
    def send(offset):
        try:
            os.sendfile(target, fd, offset, 100)
        except OSError as error:
            assert error.errno == errno.EINVAL
            os.write(target, os.pread(fd, 100, offset))
    send(0)
    os.write(to_root[1], b"x")
    os.read(to_user[0], 1)
    send(100)
    print("right" if os.pread(target, 300, 0) == old + new else os.pread(target, 300, 0), flush=True)
    os._exit(0)
os.read(to_root[0], 1)
os.write(append, new)
os.write(to_user[1], b"x")
os.waitpid(pid, 0)
END
)
check_equal "sendfile sees what another one has appended" right "$out"
