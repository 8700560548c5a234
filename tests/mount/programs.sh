#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Everyday programs inside the mount do what they do on the raw file system.
# shellcheck disable=SC2012,SC2016,SC2031
# shellcheck source=tests/mount/lib.sh
. "$TEST_LIB"

export HOME=$RUN_DIR/home LC_ALL=C TZ=UTC GIT_CONFIG_NOSYSTEM=1
mkdir -p "$HOME"

# Some input, the same for both sides
input=$RUN_DIR/input
mkdir -p "$input/d/e" "$input/empty"
for ((i = 0; i < 200; i++)); do
	printf 'line %d\n' "$i" "$((i * i))" >"$input/d/file$i"
done
head -c 2000000 /dev/urandom >"$input/d/e/random"
truncate -s 3M "$input/sparse"
ln "$input/d/file1" "$input/d/e/linked"
ln -s ../file2 "$input/d/e/link"
chmod 750 "$input/d/e" "$input/d/file3"
setfattr -n user.key -v value "$input/d/file4" 2>/dev/null
find "$input" -exec touch -h -d '2020-01-02 03:04:05.678901234' {} +

# Each is run in an empty directory, and says what should be equal.

run_rsync() {
	rsync -aHAX "$input/" copy/ && rsync -aHAX --checksum --itemize-changes "$input/" copy/ &&
		echo changed >copy/d/file9 && rm copy/d/file8 && touch -d 2021-01-01 copy/d/file9 &&
		rsync -aHAX --delete --inplace --itemize-changes "$input/" copy/ &&
		rsync -aHAX --whole-file copy/ again/ && rsync -aHAX --no-whole-file --itemize-changes copy/ again/
}

run_tar() {
	# (The names of sparse files in the archive contain the number of the process.)
	tar -cf archive.tar --xattrs --sparse --sort=name -C "$input" . && mkdir out &&
		tar -xpf archive.tar --xattrs -C out && tar -df archive.tar -C out &&
		tar -tvf archive.tar --full-time && tar -czf archive.tar.gz out && tar -tzf archive.tar.gz | sort | md5sum
	rm -f archive.tar archive.tar.gz
}

run_coreutils() {
	cp -a "$input" copy && mv copy/d moved && mv moved/file1 moved/file2 && ln moved/file3 hard && ln -sf hard soft &&
		ls -ln --time-style=full-iso moved | awk '{ print $1, $2, $3, $4, $5, $NF }' &&
		rm -r copy && cp -r moved copy2 && rm -rf moved/e && mkdir -p a/b/c && rmdir -p a/b/c &&
		touch -d '2020-02-02 02:02:02.222222222' hard && stat -c '%n %a %h %s %y' hard &&
		install -D -m 640 hard in/st/alled && chmod -R go-rwx copy2 && du --apparent-size -s copy2/file5 &&
		dd if=hard of=dd bs=3 conv=notrunc,fsync status=none && truncate -s +100 dd && shred -n 1 -u dd &&
		split -l 10 -d moved/file150 part && cat part* | md5sum && find . -newer hard | sort | wc -l
	# What was made just now has no time of its own.
	find . -exec touch -h -d 2020-01-01 {} +
}

# dd takes O_DIRECT away for a last block that is too short.
run_dd() {
	local size
	for size in 777 65536 1000777; do
		head -c $size "$input/d/e/random" >source && dd if=source of=copy bs=64k oflag=direct status=none &&
			cmp source copy && dd if=copy of=again bs=64k iflag=direct oflag=direct,append conv=notrunc status=none &&
			cmp source again && rm again
	done
	python3 - <<-'END'
		import fcntl, mmap, os
		fd = os.open("cleared", os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o644)
		block = mmap.mmap(-1, 8192)
		block.write(b"x" * 8192)
		print(os.write(fd, block))
		fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT)
		print(os.pwrite(fd, b"odd", 4097), os.write(fd, b"end"), os.fstat(fd).st_size)
	END
	head -c 32M /dev/urandom >large
	for size in 8 16; do
		dd if=large of=joined bs=${size}M oflag=direct,append conv=notrunc status=none && cmp large joined && rm joined
	done
	rm large
	md5sum -- *
	find . -exec touch -h -d 2020-01-01 {} +
}

run_editors() {
	local i
	printf 'one\ntwo\nthree\n' >file
	chmod 640 file
	ln file linked
	sed -i 's/two/2/' file && cat file linked && stat -c '%a %h' file
	# As editors save: write a new file, fsync, rename over the old one; or keep a backup; or in place
	printf 'saved\n' >.file.swp && sync .file.swp && chmod --reference=file .file.swp && mv .file.swp file && cat file
	cp -p file file~ && printf 'in place\n' >file && cat file file~
	for ((i = 0; i < 50; i++)); do
		echo "$i" >file.new && mv file.new file && [[ $(cat file) == "$i" ]] || return
	done
	perl -pi -e 's/^/perl /' file 2>/dev/null || sed -i 's/^/perl /' file
	cat file
	sort -o file file && printf 'x\n' | tee -a file && wc -c <file
	rm -f file~
	find . -exec touch -h -d 2020-01-01 {} +
}

run_git() {
	export GIT_AUTHOR_NAME=somebody GIT_AUTHOR_EMAIL=some@body.invalid GIT_AUTHOR_DATE='2020-01-01T00:00:00Z'
	export GIT_COMMITTER_NAME=somebody GIT_COMMITTER_EMAIL=some@body.invalid GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
	git init -q -b main repo && cd repo && cp -r "$input/d" . && git add -A && git commit -q -m first &&
		git status --porcelain && echo more >>d/file5 && git rm -q d/file6 && git mv d/file7 d/file77 &&
		git status --porcelain && git commit -q -a -m second && git log --format='%H %s' &&
		git branch side HEAD~ && git checkout -q side && echo side >d/side && git add d/side && git commit -q -m third &&
		git checkout -q main && git merge -q -m merged side && git status --porcelain && git gc -q --prune=now &&
		git fsck --strict && git clone -q . ../clone && git -C ../clone log --format=%H && git -C ../clone status --porcelain &&
		git clone -q --no-hardlinks . ../clone2 && git stash list && echo dirty >d/file5 && git stash -q && git stash pop -q &&
		git checkout -q . && git worktree add -q ../work side && git -C ../work status --porcelain
	# The index and the logs have times, inode numbers and paths in them.
	cd .. && rm -rf ./*/.git
	find . -exec touch -h -d 2020-01-01 {} +
}

run_make() {
	mkdir src obj
	for ((i = 0; i < 10; i++)); do
		printf 'int f%d(void);\nint f%d(void) { return %d; }\n' "$i" "$i" "$i" >"src/f$i.c"
	done
	{
		printf 'int f%d(void);\n' {0..9}
		printf 'int main(void) { return f0()'
		printf ' + f%d()' {1..9}
		printf ' - 45; }\n'
	} >src/main.c
	printf 'prog: $(patsubst src/%%.c,obj/%%.o,$(wildcard src/*.c))\n\tcc -o $@ $(sort $^)\nobj/%%.o: src/%%.c\n\tcc -O1 -c -o $@ $<\n' >Makefile
	make -s -j4 && ./prog && echo "it runs" && make -q && echo "all made" && sleep 0.02 && touch src/f3.c &&
		make | grep -c 'cc -O1' && ar rcs lib.a obj/*.o && rm -f lib.a
	find . -exec touch -h -d 2020-01-01 {} +
}

run_sqlite() {
	local i
	sqlite3 data.db 'create table t(a integer primary key, b text);' || return
	sqlite3 data.db 'pragma journal_mode=wal;'
	for ((i = 0; i < 4; i++)); do
		for ((j = 0; j < 10; j++)); do
			sqlite3 -cmd '.timeout 20000' data.db "insert into t(b) values('$i $j')" || echo failed
		done &
	done
	wait
	sqlite3 data.db 'select count(*), count(distinct b) from t; pragma integrity_check; pragma journal_mode=delete;' &&
		sqlite3 data.db 'begin; delete from t where a > 20; rollback; select count(*) from t; vacuum;' &&
		ls && rm data.db
}

run_python() {
	python3 - <<-'END'
		import fcntl, mmap, os, shutil, tempfile
		with open("map", "wb") as f: f.write(b"x" * 100000)
		with open("map", "r+b") as f:
		    m = mmap.mmap(f.fileno(), 0); m[5:10] = b"hello"; m.flush(); m.close()
		print(open("map", "rb").read(12))
		shutil.copyfile("map", "map2"); shutil.copytree(".", "../python.tree"); shutil.move("../python.tree", "tree")
		with tempfile.NamedTemporaryFile(dir=".") as t: t.write(b"temporary"); t.flush(); print(os.path.getsize(t.name))
		with open("lock", "w") as f: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB); print("locked")
		os.replace("map2", "map"); print(sorted(os.listdir(".")), sorted(os.listdir("tree")))
		with open("log", "a") as f:
		    for i in range(1000): print(i, file=f, flush=True)
		os.copy_file_range(os.open("log", os.O_RDONLY), os.open("part", os.O_WRONLY | os.O_CREAT, 0o644), 1000, 5, 7)
		print(os.path.getsize("part"))
	END
	find . -exec touch -h -d 2020-01-01 {} +
}

# both NAME NEEDED...: runs run_NAME on both sides
both() {
	local name=$1 side
	shift
	for side; do
		command -v "$side" >/dev/null || {
			echo "# no $side: $name is not tested"
			return
		}
	done
	for side in "$SCRATCH" "$MNT"; do
		mkdir "$side/$name"
		(cd "$side/$name" && "run_$name") >"$RUN_DIR/${side##*/}.out" 2>&1
		echo "status $?" >>"$RUN_DIR/${side##*/}.out"
		touch -d 2020-01-01 "$side/$name"
	done
	sed -i "s,$MNT,DIRECTORY,g; s,$SCRATCH,DIRECTORY,g" "$RUN_DIR/${SCRATCH##*/}.out" "$RUN_DIR/${MNT##*/}.out"
	check_equal "$name: what it says" "$(cat "$RUN_DIR/${SCRATCH##*/}.out")" "$(cat "$RUN_DIR/${MNT##*/}.out")"
	[[ $(tail -n 1 "$RUN_DIR/${SCRATCH##*/}.out") == "status 0" ]] ||
		fail "$name works on the raw file system" "$(tail -n 5 "$RUN_DIR/${SCRATCH##*/}.out")"
	check_same_tree "$name: what it leaves" "$SCRATCH/$name" "$MNT/$name"
	check_same_tree "$name: what it leaves in the backing directory" "$SCRATCH/$name" "$BACKING/$name"
	check "$name: rm -r" rm -r "$MNT/$name"
}

both rsync rsync
both tar tar
both coreutils shred
both dd dd python3
both editors sed
both git git
both make make cc
both sqlite sqlite3
both python python3
# Configuration files are replaced by rename(2): the name is always there, and so it opens.
errors=$(timeout 60 python3 - "$MNT" 2>&1 <<'END'
import collections, os, sys, time
os.chdir(sys.argv[1])
open("replaced", "w").close()
end = time.monotonic() + 2
replacers = []
for i in range(3):
    pid = os.fork()
    if pid == 0:
        while time.monotonic() < end:
            os.close(os.open("new%d" % i, os.O_CREAT | os.O_WRONLY))
            os.rename("new%d" % i, "replaced")
        os._exit(0)
    replacers.append(pid)
errors, opened = collections.Counter(), 0
while time.monotonic() < end:
    try:
        os.close(os.open("replaced", os.O_RDONLY))
        opened += 1
    except OSError as error:
        errors[error.strerror] += 1
for pid in replacers:
    os.waitpid(pid, 0)
os.unlink("replaced")
print(dict(errors) if errors else "none" if opened > 100 else "only %d opened" % opened)
END
)
check_equal "a file that is replaced again and again opens: errors" none "$errors"

# What was open before it became append-only is no way around that.
left=$(python3 - "$MNT/log" 2>&1 <<'END'
import fcntl, mmap, os, sys
path = sys.argv[1]
def flags(value):
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, 0x40086602, value.to_bytes(8, "little")) # FS_IOC_SETFLAGS
    os.close(fd)
with open(path, "w") as log:
    log.write("content")
before = os.open(path, os.O_RDONLY)
flags(0x20) # FS_APPEND_FL
appending = os.open(path, os.O_WRONLY | os.O_APPEND)
os.write(appending, b" more")
try:
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    mapped = mmap.mmap(fd, 7)
    mapped[0:4] = b"EVIL"
    mapped.flush()
except OSError:
    pass
print(os.pread(before, 100, 0).decode())
flags(0)
os.unlink(path)
END
)
check_equal "an append-only file that somebody has open is not overwritten" "content more" "$left"
check_equal "the backing directory is empty again" "" "$(ls -A "$BACKING")"
