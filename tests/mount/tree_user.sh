#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Tree copies of users who are not root: with their rights, owned by them. Needs a mount with allow_other.
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"
need setpriv getfattr setfattr setfacl

as_user() { setpriv --reuid=4321 --regid=4322 --clear-groups "$@"; }
in_group() { setpriv --reuid=4321 --regid=4322 --groups=4324 "$@"; }
copy() { as_user setfattr -n user.arsync.copy -v "$2" "$1"; }

cd "$MNT" || exit
as_user ls "$MNT" >/dev/null || skip "the mount is not for others"
mkdir home
chown 4321:4322 home
as_user bash -c '
	cd home && mkdir -p tree/a/b tree/empty && echo text >tree/a/file && echo more >tree/a/b/file
	ln tree/a/file tree/linked; ln -s a tree/link; mkfifo tree/fifo; chmod 600 tree/a/file
	chmod 2755 tree/a/b; chmod 555 tree/empty; touch -d "2001-02-03 04:05:06.7" tree/a tree
	setfattr -n user.key -v value tree/linked; setfacl -m u:4323:r tree/a/b/file
'

check "a user's tree" copy home/tree home/copy
check_same_tree "a user's tree: copy" "$BACKING/home/tree" "$BACKING/home/copy"
check_equal "all of it is the user's" "" "$(find home/copy ! -uid 4321)"
as_user cp -a home/tree home/reference
check_same_tree "as cp -a" "$BACKING/home/reference" "$BACKING/home/copy"

# Others' files that may be read become the user's own.
mkdir shared
echo readable >shared/file
echo theirs >shared/theirs
chown 4323:4324 shared/theirs
chmod 4755 shared/theirs
chown 4321 shared # SRC itself must be writable for a user.* attribute
check "readable files of others" copy shared home/shared
check_equal "they are the user's now" "" "$(find home/shared ! -uid 4321)"
check_equal "and not setuid" 755 "$(stat -c %a home/shared/theirs)"
as_user cp -a shared home/shared.reference 2>/dev/null
check_same_tree "readable files of others: as cp -a" "$BACKING/home/shared.reference" "$BACKING/home/shared"

# refused DESCRIPTION TEXT SRC DEST
before=$(find "$BACKING" | sort)
refused() { check_fails "$1" "$2" copy "$3" "$4"; }

mkdir theirs closed
chown 4323:4324 theirs closed
echo secret >theirs/secret
chmod 0600 theirs/secret
chmod 0700 closed
mkdir home/holding
mkdir shared/unreadable
echo secret >shared/unreadable/secret
chmod 0700 shared/unreadable
before=$(find "$BACKING" | sort)
refused "a file that may not be read" "Permission denied" theirs/secret home/secret
refused "a directory that may not be written" "Permission denied" theirs home/theirs
refused "a directory that may not be read" "Permission denied" closed home/closed
refused "a tree with something unreadable in it" "Permission denied" shared home/partly
refused "into a directory of others" "Permission denied" home/tree theirs/copy
refused "into a closed directory" "Permission denied" home/tree closed/copy
refused "past a closed directory" "Permission denied" home/tree closed/sub/copy
refused "into the root" "Permission denied" home/tree copy
chmod 0700 shared/unreadable
check_equal "refusals leave nothing" "$before" "$(find "$BACKING" | sort)"
check "nothing is left" nothing_left "$BACKING"

# A group the user is in, besides the first
mkdir group
chown 0:4324 group
chmod 2775 group
check_fails "not in the group" "Permission denied" copy home/tree group/copy
check "in the group" in_group setfattr -n user.arsync.copy -v group/copy home/tree
check_equal "in the group: owner" "" "$(find group/copy ! -uid 4321)"

# Root copies everything, with its owners.
check "root copies a user's tree" setfattr -n user.arsync.copy -v by_root home/tree
check_same_tree "root copies a user's tree: copy" "$BACKING/home/tree" "$BACKING/by_root"

# cp of a user: COPY_FILE_RANGE, with the user's quota of rights
as_user bash -c 'head -c 3000000 /dev/urandom >home/big && cp home/big home/big.copy && cmp home/big home/big.copy'
check_equal "cp of a user" 0 $?
check_equal "cp of a user: owner" 4321:4322 "$(stat -c %u:%g home/big.copy)"
