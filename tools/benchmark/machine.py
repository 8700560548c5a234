# SPDX-License-Identifier: MIT
"""The machine: what it is, and the state of its caches before a run."""
import contextlib
import ctypes
import datetime
import mmap
import os
import subprocess
import time

from .base import BenchError, MIB, format_size, program, read_text

QUIET_BYTES = 16 * MIB  # so much may still be dirty or under writeback when a run begins
QUIET_WAIT = 120  # seconds to wait for that
CALM_LOAD = 0.5

libc = ctypes.CDLL(None, use_errno=True)
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]


def meminfo():
    """/proc/meminfo in bytes."""
    lines = (line.split() for line in read_text("/proc/meminfo").splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines if len(fields) > 1}


def dirty_thresholds():
    """(background, limit): bytes of dirty page cache at which the kernel writes, and throttles."""
    lines = (line.split() for line in read_text("/proc/vmstat").splitlines())
    pages = {name: int(value) for name, value in lines}
    size = os.sysconf("SC_PAGE_SIZE")
    return (pages["nr_dirty_background_threshold"] * size, pages["nr_dirty_threshold"] * size)


def cpu_model():
    """As /proc/cpuinfo calls it, otherwise the architecture."""
    for line in read_text("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return os.uname().machine


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def version(path):
    """The first line of what `path --version` prints."""
    if not path:
        return "not installed"
    done = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=20)
    return (done.stdout.splitlines() or ["unknown"])[0].strip()


def describe(arsyncfs):
    """What the report says about the machine, ready for JSON."""
    background, limit = dirty_thresholds()
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "kernel": os.uname().release,
        "cpu": cpu_model(),
        "cores": cores(),
        "memory": meminfo()["MemTotal"],
        "dirty_background_ratio": read_text("/proc/sys/vm/dirty_background_ratio"),
        "dirty_background_bytes": background,
        "dirty_ratio": read_text("/proc/sys/vm/dirty_ratio"),
        "dirty_bytes": limit,
        "load": os.getloadavg()[0],
        "versions": {"arsyncfs": version(arsyncfs), "cp": version(program("cp")),
                     "rsync": version(program("rsync"))},
    }


def syncfs(directory):
    """Writes back the file system that holds this directory, and waits for that."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(fd):
            raise BenchError(f"syncfs of {directory}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


def settle(directory):
    """Syncs, and waits until the machine has little left to write. False when it never has."""
    syncfs(directory)
    end = time.monotonic() + QUIET_WAIT
    while True:
        memory = meminfo()
        if memory["Dirty"] + memory["Writeback"] < QUIET_BYTES:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.05)


def drop_caches():
    """Drops clean pages, dentries and inodes of the whole machine."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3\n")


def cached_fraction(path):
    """How much of a file is in page cache: 0.0 to 1.0."""
    with contextlib.ExitStack() as stack:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        # Private and writable, because that is what ctypes wants to see an address.
        size = os.fstat(fd).st_size
        view = stack.enter_context(mmap.mmap(fd, size, mmap.MAP_PRIVATE))
        pages = -(-size // mmap.PAGESIZE)
        resident = ctypes.create_string_buffer(pages)
        start = ctypes.c_char.from_buffer(view)
        failed = libc.mincore(ctypes.addressof(start), size, resident)
        del start  # or the mapping could not be closed
        if failed:
            raise BenchError(f"mincore of {path}: {os.strerror(ctypes.get_errno())}")
        return sum(byte & 1 for byte in resident.raw[:pages]) / pages


def describe_lines(machine):
    """The head of the report."""
    versions = machine["versions"]
    lines = [
        f"date      {machine['date']}",
        f"kernel    {machine['kernel']}",
        f"cpu       {machine['cpu']}, {machine['cores']} cores",
        f"memory    {format_size(machine['memory'])}",
        f"dirty     background {machine['dirty_background_ratio']} % = "
        f"{format_size(machine['dirty_background_bytes'])}, limit {machine['dirty_ratio']} % = "
        f"{format_size(machine['dirty_bytes'])}",
        f"versions  {versions['arsyncfs']}; {versions['cp']}; {versions['rsync']}",
        f"load      {machine['load']:.2f} at the start",
    ]
    if machine["load"] > CALM_LOAD:
        lines.append(f"WARNING   something else is running here (load above {CALM_LOAD}): "
                     "the figures will be unsteady")
    return lines
