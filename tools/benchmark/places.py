# SPDX-License-Identifier: MIT
"""Where a work runs: a freshly made file system, and what is mounted on a directory of it."""
import ctypes
import functools
import json
import os
import signal
import subprocess
import time

from . import ring
from .base import BenchError, KIB, MIB, mount_at, needed, program, read_text, run, undisturbed, warn

# What each file system needs: the program that makes it, its arguments, its mount options, and
# whether its files can share blocks.
KINDS = {
    "ext4": ("mkfs.ext4", ["-q", "-F"], "noinit_itable", False),
    "ext4-nojournal": ("mkfs.ext4", ["-q", "-F", "-O", "^has_journal"], "noinit_itable", False),
    "xfs": ("mkfs.xfs", ["-q", "-f", "-m", "reflink=1"], "defaults", True),
    "xfs-noreflink": ("mkfs.xfs", ["-q", "-f", "-m", "reflink=0"], "defaults", False),
    "btrfs": ("mkfs.btrfs", ["-q", "-f"], "defaults", True),
    "tmpfs": (None, [], "", False),
}
ENGINE_OPTIONS = ("workers", "queue_depth", "block_size", "depth", "reflink", "offload", "direct", "io",
                  "fsync")
RING = "--transport=ring"  # needs the kernel's switch
MOUNT_ONLY_OPTIONS = ("cache", "passthrough", "transport", "cpu_latency", "readahead_tree",
                      "trigger_wait", "log")
EXT4_BYTES_PER_INODE = 16 * KIB  # what mkfs.ext4 provides for by itself
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None)


def shares_blocks(kind):
    """Whether copies can be clones on this file system."""
    return KINDS[kind][3]


def on_disk(kind):
    """Whether it is an image below --dir; the others are memory."""
    return KINDS[kind][0] is not None


def why_missing(kind):
    """Why this file system cannot be made here, or an empty string."""
    maker = KINDS[kind][0]
    return f"no {maker} on this machine" if maker and not program(maker) else ""


class FileSystem:
    """A file system on a sparse image, or a tmpfs, mounted below `directory`. For `with`."""

    def __init__(self, kind, size, inodes, directory):
        self.kind, self.size, self.inodes = kind, size, inodes
        self.root = os.path.join(directory, "fs")
        self.image = os.path.join(directory, "image")
        self.options = ""  # as the kernel shows them

    def __enter__(self):
        os.mkdir(self.root)
        try:
            if on_disk(self.kind):
                self._make_image()
                self._mount_image()
            else:
                run("mount", "-t", "tmpfs", "-o", f"size={self.size},mode=0755", "bench", self.root)
        except BaseException:
            self.__exit__()
            raise
        mount = mount_at(self.root)
        self.options = f"{mount['type']} {mount['options']}"
        return self

    def _make_image(self):
        maker, arguments = KINDS[self.kind][:2]
        with open(self.image, "wb") as file:
            file.truncate(self.size)
        if maker == "mkfs.ext4" and self.inodes > self.size // EXT4_BYTES_PER_INODE:
            arguments = [*arguments, "-N", str(self.inodes)]  # the others make them as needed
        run(maker, *arguments, self.image)

    def _mount_image(self):
        """Neither the image's name nor the loop device outlives the mount, however we end."""
        kind = self.kind.partition("-")[0]
        with undisturbed():
            loop = run("losetup", "--find", "--show", "--direct-io=on", self.image).strip()
            try:
                run("mount", "-t", kind, "-o", KINDS[self.kind][2], loop, self.root)
            finally:
                run("losetup", "--detach", loop)  # it goes with its last user: the mount
                os.unlink(self.image)
        if read_text(f"/sys/block/{os.path.basename(loop)}/loop/dio") != "1":
            warn(f"{loop} has no direct I/O: the image's pages are cached twice; try another --dir")

    def __exit__(self, *_):
        if mount_at(self.root):
            _insist(10, lambda: run("umount", self.root), lambda: not mount_at(self.root))
        if mount_at(self.root):
            warn(f"{self.root} is busy; it is detached and ends with its last user")
            run("umount", "--lazy", self.root)
        os.rmdir(self.root)
        if os.path.exists(self.image):
            os.unlink(self.image)


def _insist(seconds, attempt, succeeded):
    """Repeats an attempt that may fail until it succeeded, for so long at most."""
    end = time.monotonic() + seconds
    while not succeeded() and time.monotonic() < end:
        try:
            attempt()
        except BenchError:
            time.sleep(0.1)
    return succeeded()


class Daemon:
    """A FUSE daemon in the foreground, as a child, mounted at `at`; a context manager.

    command: without the two directories, which come last.
    """

    def __init__(self, command, backing, at):
        self.at = at
        self.log = f"{at}.log"
        self.control = f"{at}.fusectl"
        self.name = os.path.basename(command[0])
        self.command = [*command, backing, at]
        self.process = None

    def __enter__(self):
        os.mkdir(self.at)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        with open(self.log, "wb") as log:
            # In a session of its own: Ctrl-C is for us. If we are killed, the daemon ends, too.
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM))
        end = time.monotonic() + 20
        while not mount_at(self.at):
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{self.name} did not mount: {read_text(self.log)}")
            time.sleep(0.01)

    def __exit__(self, kind=None, *_):
        trouble = self._stop()
        said = read_text(self.log)
        os.unlink(self.log)
        os.rmdir(self.at)
        if not trouble:
            return
        trouble += f"; its log: {said or '(empty)'}"
        if kind is None:
            raise BenchError(trouble)
        warn(trouble)

    def _stop(self):
        """Unmounts and waits for the daemon; says what went wrong, or nothing."""
        trouble = ""
        if not _insist(5, lambda: run("umount", self.at, timeout=10),
                       lambda: not mount_at(self.at)):
            trouble = f"the mount of {self.name} could not be unmounted"
            self._abort()
        if self.process is None:
            return trouble
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            return trouble or f"{self.name} was still running 15 s after its unmount"
        return trouble or (f"{self.name} ended with status {code}" if code else "")

    def _abort(self):
        """Aborts the FUSE connection, which frees whoever waits for the daemon; then detaches."""
        mount = mount_at(self.at)
        if not mount:
            return
        os.mkdir(self.control)
        run("mount", "-t", "fusectl", "none", self.control)
        try:
            with open(os.path.join(self.control, mount["minor"], "abort"), "w",
                      encoding="ascii") as file:
                file.write("1\n")
        finally:
            run("umount", "--lazy", self.control)
            os.rmdir(self.control)
        if mount_at(self.at):
            run("umount", "--lazy", self.at)


class Place:
    """A mounted file system with arsyncfs on it, once or more, and the programs that copy there.

    mounts: {name: Daemon}, all of the same directory. notes: what could not be mounted, and why.
    """

    def __init__(self, file_system, mounts, notes, build, engine_options):
        self.kind = file_system.kind
        self.root = file_system.root
        self.mount_options = file_system.options
        self.backing = os.path.join(self.root, "backing")
        self.mounts = mounts
        self.notes = notes
        self.engine = os.path.join(build, "arsync")
        self.queued = os.path.join(build, "tools", "queued")
        self.engine_options = engine_options

    def below(self, name):
        """The path of a name on the file system itself."""
        return os.path.join(self.backing, name)

    def inside(self, name, mount="mount"):
        """The path of the same name in a mount."""
        return os.path.join(self.mounts[mount].at, name)

    def ways(self):
        """Pairs of a name and what makes a path of a name: the directory itself, each mount."""
        return [("backing", self.below),
                *((mount, functools.partial(self.inside, mount=mount)) for mount in self.mounts)]

    def statistics(self, mount):
        """What arsyncfs counts."""
        return json.loads(os.getxattr(self.mounts[mount].at, "user.arsync.stats"))

    def pid(self, mount):
        """The process of a mount."""
        return self.mounts[mount].process.pid

    def engine_command(self, source, destination, **options):
        """`arsync copy` with the options of this place and some more."""
        every = self.engine_options | options
        return [self.engine, "copy", *option_arguments(every), source, destination]


def option_arguments(options):
    """{"depth": "2"} -> ["--depth=2"]"""
    return [f"--{name}={value}" for name, value in options.items()]


def make_place(stack, file_system, directory, build, commands, engine_options):
    """A Place that lives as long as the ExitStack.

    file_system: not mounted yet. commands: {name of a mount: the daemon's command without the
    directories}; those that this machine cannot run are left out, and a note says so.
    """
    stack.enter_context(file_system)
    backing = os.path.join(file_system.root, "backing")
    os.mkdir(backing)
    mounts, notes = {}, []
    for name, command in commands.items():
        missing = ring.why_missing() if RING in command else ""
        if missing:
            notes.append(f"without {name}: {missing}")
            continue
        if RING in command:
            stack.enter_context(ring.switched_on())
        at = os.path.join(directory, f"mnt-{name}")
        mounts[name] = stack.enter_context(Daemon(command, backing, at))
    return Place(file_system, mounts, notes, build, engine_options)


def check_space(directory, disk_bytes, memory_bytes, memory_available):
    """Fails in one sentence when the images, or a tmpfs, do not fit."""
    stat = os.statvfs(directory)
    free = stat.f_bavail * stat.f_frsize
    for what, need, have in ((f"free space in {directory}", disk_bytes, free),
                             ("available memory", memory_bytes, memory_available)):
        if need > have:
            raise BenchError(f"this needs {need // MIB} MiB of {what}, and there are "
                             f"{have // MIB} MiB; choose another --dir, fewer works or a --scale")


def check_programs(build):
    """Fails in one sentence when arsyncfs is not built or the machine lacks what mounts need."""
    for name in ("arsyncfs", "arsync", "tools/queued"):
        if not os.access(os.path.join(build, name), os.X_OK):
            raise BenchError(f"there is no {name} in {build}; build it there, or say --build DIR")
    for name in ("losetup", "mount", "umount"):
        needed(name)
    if not os.path.exists("/dev/fuse"):
        raise BenchError("there is no /dev/fuse here; load the kernel module: modprobe fuse")
