#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# File handles of the mount: handles.py take LIST FILE...   writes the handle of each file to LIST
#                            handles.py open LIST DIRECTORY opens each by its handle, and says what came of it:
#                            "DEVICE:INODE PATH", or why not
"""name_to_handle_at(2) and open_by_handle_at(2), which Python has not."""
import ctypes
import os
import pickle
import stat
import sys

AT_FDCWD = -100
HANDLE_BYTES = 128
libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    """struct file_handle"""

    _fields_ = [
        ("size", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("bytes", ctypes.c_ubyte * HANDLE_BYTES),
    ]


def take(path):
    """The handle of a file, which may be a symbolic link."""
    handle = Handle(size=HANDLE_BYTES)
    mount = ctypes.c_int()
    result = libc.name_to_handle_at(
        AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return bytes(handle)


def describe(mount, handle):
    """Opens the file of a handle. What it is."""
    parsed = Handle.from_buffer_copy(handle)
    fd = libc.open_by_handle_at(mount, ctypes.byref(parsed), os.O_PATH)
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    found = os.fstat(fd)
    path = os.readlink(f"/proc/self/fd/{fd}")
    os.close(fd)
    # Only of directories the kernel finds out where they are.
    return f"{found.st_ino} {path if stat.S_ISDIR(found.st_mode) else ''}".strip()


def main():
    """See above."""
    command, name = sys.argv[1:3]
    if command == "take":
        with open(name, "wb") as file:
            pickle.dump([take(path) for path in sys.argv[3:]], file)
        return
    with open(name, "rb") as file:
        handles = pickle.load(file)
    mount = os.open(sys.argv[3], os.O_RDONLY | os.O_DIRECTORY)
    for handle in handles:
        print(describe(mount, handle))


main()
