#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""terminal.py COLUMNS[:AFTER=COLUMNS] [--int-after SECONDS] -- COMMAND...: runs COMMAND on a terminal.

Prints a line of JSON: the exit status, and what the terminal showed as a list of lines as they were drawn,
each with the width that the terminal had then. AFTER seconds after the first output the terminal gets
another width; SECONDS after it somebody types Ctrl-C.
"""
import fcntl, json, os, pty, re, select, signal, struct, sys, termios, time

split = sys.argv.index("--")
command = sys.argv[split + 1:]
widths, _, resize = sys.argv[1].partition(":")
width = int(widths)
resize_after, resize_to = (float(x) for x in resize.split("=")) if resize else (None, None)
int_after = float(sys.argv[sys.argv.index("--int-after") + 1]) if "--int-after" in sys.argv[:split] else None


def set_width(fd, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


pid, fd = pty.fork()
if pid == 0:
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
    time.sleep(0.1)  # until the width is set
    os.execvp(command[0], command)
set_width(fd, width)
started = time.monotonic()
first = None
drawn = []  # [width, bytes]
ended = None
while True:
    now = time.monotonic() - first if first else -1
    if resize_after is not None and now >= resize_after:
        resize_after, width = None, int(resize_to)
        set_width(fd, width)
        drawn.append([width, b""])
    if int_after is not None and now >= int_after:
        int_after = None
        os.write(fd, b"\x03")
    ready, _, _ = select.select([fd], [], [], 0.02)
    if not ready:
        continue
    try:
        data = os.read(fd, 65536)
    except OSError:  # EIO: nobody has the terminal open any more
        data = b""
    if not data:
        break
    first = first or time.monotonic()
    if not drawn or drawn[-1][0] != width:
        drawn.append([width, b""])
    drawn[-1][1] += data
_, status = os.waitpid(pid, 0)
lines = []
for columns, data in drawn:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode("utf-8", "replace"))
    text = text.replace("^C", "")  # the terminal's echo
    lines += [[columns, line] for line in re.split(r"[\r\n]+", text) if line]
print(json.dumps({"status": os.waitstatus_to_exitcode(status), "lines": lines, "seconds": time.monotonic() - started}))
