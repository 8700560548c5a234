#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# setfattr -n user.arsync.copy: what a tree copy keeps, compared with the source and with `cp -a`.
# shellcheck disable=SC2016 # names that look like expansions
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need getfattr setfattr setfacl md5sum

copy() { setfattr -n user.arsync.copy -v "$2" "$1"; }

cd "$MNT" || exit

# --- A tree with everything ---------------------------------------------------------------------------

make_tree() {
	local i name
	mkdir -p "$1" && cd "$1" || return
	mkdir -p a/b/c empty mode many
	for size in 0 1 4095 4096 4097 65536 1000000 5242880; do
		head -c "$size" /dev/urandom >"a/size$size"
	done
	# Holes at the beginning, in the middle, at the end, and nothing else
	truncate -s 30M a/sparse a/hole
	for i in 3 17 25; do
		printf 'some data' | dd of=a/sparse bs=1M seek="$i" conv=notrunc status=none
	done
	# Hard links within and between directories, and one whose other name is outside
	echo linked >a/link1
	ln a/link1 a/link2
	ln a/link1 a/b/link3
	ln a/size1000000 a/b/c/size
	echo outside >../outside.$$
	ln ../outside.$$ a/inside
	# Symbolic links: relative, dangling, absolute, to directories, in a circle, two names
	ln -s size4096 a/relative
	ln -s nowhere/at/all a/dangling
	ln -s /etc/passwd a/absolute
	ln -s b a/to_directory
	ln -s circle a/circle
	ln a/relative a/b/relative
	mkfifo -m 0622 a/fifo
	ln a/fifo a/b/fifo
	python3 - 2>/dev/null <<-'END' || echo "no socket: no python3"
		import socket
		socket.socket(socket.AF_UNIX).bind("a/socket")
	END
	mknod -m 0640 a/null c 1 3
	mknod -m 0600 a/block b 7 1234
	# Names
	for name in $'line\nbreak' ' spaces  ' '-rf' '--help' "quote'\"" 'back\slash' '*' '...' '$(false)' \
		$'not UTF-8 \xff\xfe' 'ünïcödé' "$(printf 'n%.0s' {1..255})" '.hidden'; do
		echo "$name" >"a/b/$name"
		mkdir "a/b/c/$name"
	done
	# Modes; the setuid ones belong to others
	for mode in 0000 0400 0555 0644 0777 4755 2755 2644 6711 1644 7777; do
		echo "$mode" >"mode/file$mode"
		mkdir "mode/dir$mode"
		echo "in $mode" >"mode/dir$mode/file"
	done
	for name in mode/*; do
		chown 4321:4322 "$name"
		chmod "${name: -4}" "$name"
	done
	chown -h 4323:4324 a/relative
	chown 4323 a/b/c
	# Attributes
	setfattr -n user.one -v 1 a/size1
	setfattr -n user.two -v 0x00ff0a a/size1
	setfattr -n user.empty a/size0
	setfattr -n user.large -v "$(printf 'v%.0s' {1..2000})" a/b
	setfattr -n trusted.some -v thing a/size4095
	setfattr -h -n trusted.some -v thing a/dangling
	! command -v setcap >/dev/null || setcap cap_net_raw+ep a/size65536
	setfacl -m u:4321:rwx,g:4322:r a/size4096
	setfacl -m d:u:4321:rwx,d:o::- a/b/c
	setfacl -m u:4325:- a/b
	# Deep, wide
	(
		cd many || exit
		for ((i = 0; i < 3000; i++)); do
			echo "file $i" >"file$i"
		done
	)
	deep=d
	for ((i = 0; i < 6; i++)); do
		deep=$deep/$deep
	done
	mkdir -p "deep/$deep/$deep/$deep/$deep" # 256 levels
	echo bottom >"deep/$deep/$deep/$deep/$deep/file"
	# Times: of all kinds, to the nanosecond, directories last
	touch -h -d '1999-12-31 23:59:59.999999999' a/dangling
	touch -d '1965-01-02 03:04:05.5' a/size4097
	touch -d '2001-02-03 04:05:06.700000001' a/size0 a/fifo a/null
	touch -d '2030-01-01 00:00:00.000000001' a/size1 empty
	touch -a -d '2031-01-01 00:00:00.123456789' a/size4096
	touch -d '2002-02-02 02:02:02.020202020' a/b/c a/b a mode/dir0555 deep .
}

echo "# making a tree"
(make_tree "$BACKING/tree") || fail "cannot make a tree"
sync -f "$BACKING"

check_fails "the copy is not there yet" "No such file" ls copy # and the kernel knows that now
check "copy of the tree" copy tree copy
check "the copy is visible at once" test -d copy/a
cp -a "$BACKING/tree" "$SCRATCH/tree"
check_same_tree "the copy is what cp -a makes" "$SCRATCH/tree" "$MNT/copy"
check_same_tree "the copy in the backing directory, too" "$SCRATCH/tree" "$BACKING/copy"
check_same_tree "the source has not changed" "$BACKING/tree" "$MNT/tree"
# The other name of a/inside is outside the tree, so the copy has one link less.
rm "$BACKING"/outside.*
check_same_tree "the copy is what the source is" "$BACKING/tree" "$BACKING/copy"
sync -f copy
check "holes are kept: sparse" holes_kept "$BACKING/tree/a/sparse" copy/a/sparse
check "holes are kept: hole" holes_kept "$BACKING/tree/a/hole" copy/a/hole
check_equal "access time" "$(stat -c %x "$SCRATCH/tree/a/size4096")" "$(stat -c %x copy/a/size4096)"
check_equal "no control attribute is listed" "" \
	"$(getfattr -R -d -m 'user\.arsync' "$MNT" "$MNT/copy/a" 2>/dev/null)"
check "nothing is left" nothing_left "$BACKING"
check "the copy can be copied" copy copy again
check_same_tree "the copy of the copy" "$BACKING/copy" "$BACKING/again"
check "rm -r of a copy" rm -r again

# --- How a destination is named -----------------------------------------------------------------------

mkdir -p src/sub dest
echo text >src/sub/file
echo one >single
chmod 0640 single
touch -d '2001-02-03 04:05:06.7' single
listed=0
named() { # DESCRIPTION SRC DEST WHERE
	check "$1" copy "$2" "$3"
	check_same_tree "$1: copy" "$BACKING/$2" "$BACKING/$4"
	listed=$((listed + 1))
}
named "relative to the root" src dest/relative dest/relative
named "absolute" src "$MNT/dest/absolute" dest/absolute
named "with ./ and double slashes" src .//dest///dots dest/dots
named "DEST/ receives the copy" src dest/ dest/src
mkdir dest/in
named "absolute DEST/" src/sub "$MNT/dest/in/" dest/in/sub
named "DEST/." src "dest/in/." dest/in/src
check "a regular file" copy single dest/single
check_equal "a regular file: content" one "$(cat dest/single)"
check_equal "a regular file: attributes" "$(stat -c '%a %y' single)" "$(stat -c '%a %y' dest/single)"
check "a regular file into DEST/" copy single dest/in/
check_equal "a regular file into DEST/: content" one "$(cat dest/in/single)"
mkdir "dest/odd name"$'\xff'
check "an odd name" copy src "dest/odd name"$'\xff'/"\"quoted\" *"
check_same_tree "an odd name: copy" "$BACKING/src" "$BACKING/dest/odd name"$'\xff'/"\"quoted\" *"
check "from another working directory" bash -c 'cd src && setfattr -n user.arsync.copy -v dest/elsewhere sub'
check_same_tree "from another working directory: copy" "$BACKING/src/sub" "$BACKING/dest/elsewhere"
ln -s dest link
check "through a symbolic link" copy src link/linked
check_same_tree "through a symbolic link: copy" "$BACKING/src" "$BACKING/dest/linked"

# --- Refusals -----------------------------------------------------------------------------------------

mkdir file_parent
: >file_parent/file
ln -s /tmp out_link
ln -s ../../.. up_link
ln -s nowhere dangling
before=$(find "$BACKING" | sort)
refused() { # DESCRIPTION TEXT SRC DEST
	check_fails "$1" "$2" copy "$3" "$4"
}
refused "DEST exists" "File exists" src dest/src
refused "DEST exists and is a file" "File exists" src single
refused "DEST exists: a dangling link" "File exists" src dangling
refused "DEST/ has that name" "File exists" src dest/
refused "a file onto itself" "File exists" single single
refused "DEST is the root" "File exists" src .
refused "DEST is SRC" "File exists" src src
refused "DEST inside SRC" "Invalid argument" src src/inside
refused "DEST deep inside SRC" "Invalid argument" src src/sub/inside
refused "DEST/ inside SRC" "Invalid argument" src src/sub/
refused "the root into itself" "Invalid argument" . inside
refused "the parent is missing" "No such file" src missing/copy
refused "the parent is missing: absolute" "No such file" src "$MNT/missing/copy"
refused "DEST/ is missing" "No such file" src missing/
refused "the parent is a file" "Not a directory" src file_parent/file/copy
refused "DEST/ is a file" "Not a directory" src file_parent/file/
refused "absolute, outside the mount" "Invalid cross-device link" src /tmp/copy
refused "absolute, in the backing directory" "Invalid cross-device link" src "$BACKING/copy"
refused "absolute, a mountpoint of a longer name" "Invalid cross-device link" src "${MNT}x/copy"
refused "a link out of the mount" "Invalid cross-device link" src out_link/copy
refused "a link up and out of the mount" "Invalid cross-device link" src up_link/copy
refused "a name of 256 bytes" "File name too long" src "$(printf 'n%.0s' {1..256})"
refused "an unknown option" "Invalid argument" src $'dest/option\nnonsense=1'
# (".." is refused as such or as a way out.)
for name in ../copy dest/../../copy "$MNT/../copy"; do
	check_not "no way out by $name" copy src "$name"
done
check_fails "an empty destination" "Invalid argument" setfattr -n user.arsync.copy src
check_fails "an unknown control attribute" "not supported" setfattr -n user.arsync.nonsense -v x src
check_not "reading a command" getfattr --only-values -n user.arsync.copy src
check_fails "removing a command" "not supported" setfattr -x user.arsync.copy src
check_fails "setting the statistics" "not supported" setfattr -n user.arsync.stats -v x .
check_equal "refusals leave nothing" "$before" "$(find "$BACKING" | sort)"
check_not "nothing in /tmp" test -e /tmp/copy
check_not "nothing beside the mountpoint" test -e "${MNT%/*}/copy"

# A source that fails half-way: one of its files cannot be read. (root can read all; so let a directory
# be a mountpoint of something that is not part of the tree.)
check "a tree with a mount below" mkdir -p tree2/a tree2/mounted tree2/z
mount -t tmpfs tmpfs "$BACKING/tree2/mounted" 2>/dev/null && {
	echo other >"$BACKING/tree2/mounted/other"
	check "a tree with a mount below: copy" copy tree2 tree2copy
	check "nothing is left" nothing_left "$BACKING"
	umount "$BACKING/tree2/mounted"
}

# --- Real input ---------------------------------------------------------------------------------------

if [[ -d /usr/include ]]; then
	cp -a /usr/include "$BACKING/include"
	started=$(now_ms)
	check "copy of /usr/include" copy include include.copy
	echo "# $(find /usr/include | wc -l) files in $(($(now_ms) - started)) ms"
	check_same_tree "/usr/include" "$BACKING/include" "$MNT/include.copy"
else
	echo "# no /usr/include"
fi

# --- At once, and while the source changes ------------------------------------------------------------

two_at_once() {
	local first second
	copy tree once1 &
	first=$!
	copy tree once2 &
	second=$!
	wait "$first" && wait "$second"
}
check "two copies at once" two_at_once
check_same_tree "the first of two" "$BACKING/copy" "$BACKING/once1"
check_same_tree "the second of two" "$BACKING/copy" "$BACKING/once2"

two_to_one() {
	local first second good=0
	copy tree race &
	first=$!
	copy src race &
	second=$!
	wait "$first" && good=$((good + 1))
	wait "$second" && good=$((good + 1))
	((good == 1))
}
check "two copies to one name: one wins" two_to_one
check "nothing is left" nothing_left "$BACKING"

# The source is torn apart meanwhile: any result is fine, but no crash, and nothing left of a failure.
mkdir changing
changes() {
	local i
	for ((i = 0; i < 40; i++)); do
		mkdir -p changing/d/e
		head -c 200000 /dev/zero | tee changing/f$i changing/d/f$i >changing/d/e/f$i
		mv changing/d "changing/moved$i"
		ln -f changing/f$i changing/link
		truncate -s 1000 changing/f$((i / 2))
		rm -rf "changing/moved$((i / 2))"
	done 2>/dev/null
}
changes &
changer=$!
tries=0
while kill -0 "$changer" 2>/dev/null && ((tries < 100)); do
	tries=$((tries + 1))
	copy changing "changed$tries" 2>/dev/null
done
wait "$changer"
check "nothing is left of $tries copies of a changing source" nothing_left "$BACKING"
check "the mount works" copy src after
check_same_tree "the mount works: copy" "$BACKING/src" "$BACKING/after"
check "no copy is left running" wait_until 5 jobs_ended
