# SPDX-License-Identifier: MIT
"""Timing processes: wall-clock seconds around them, bounded, and never left behind."""
import contextlib
import ctypes
import os
import pickle
import signal
import time

from .base import BenchError, KIB, TimeLimit, needed, time_limit

RUN_LIMIT = 1800  # seconds that one run may take
KILL_WAIT = 5  # seconds for killed processes to go; one that hangs in a mount goes with the mount
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Makes processes ours whose parent was killed, so that they can be waited for."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def collect(pid):
    """Waits for a killed process, or for all of a process group (a negative number)."""
    end = time.monotonic() + KILL_WAIT
    try:
        while time.monotonic() < end:
            ended = os.waitpid(pid, os.WNOHANG)[0]
            if ended == pid:
                return
            if not ended:
                time.sleep(0.01)
    except ChildProcessError:
        pass  # the group has no more members


class Children:
    """Processes of one run. On any way out, those that still live are killed and collected."""

    def __init__(self):
        self.living = {}  # pid: what it is, for messages
        self.errors = os.memfd_create("stderr")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.living:
            # A signal may have come between its end and our noticing it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                collect(pid)
        os.close(self.errors)

    def spawn(self, command, group=False):
        """Starts a command with no input and no output; group: in a process group of its own."""
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                   (os.POSIX_SPAWN_DUP2, self.errors, 2)]
        more = {"setpgroup": 0} if group else {}
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions,
                             setsigdef=[signal.SIGPIPE], **more)
        self.living[pid] = " ".join(command)
        return pid

    def wait(self, pid):
        """Waits for one; anything but success is an error with what it wrote."""
        self._ended(pid, os.waitpid(pid, 0)[1])

    def has_ended(self, pid):
        """Whether one has ended; as wait() if so."""
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            self._ended(pid, status)
        return bool(ended)

    def _ended(self, pid, status):
        what = self.living.pop(pid)
        if status:
            self.fail(what, os.waitstatus_to_exitcode(status))

    def fail(self, what, code):
        """Raises the error of a process that ended like this."""
        said = os.pread(self.errors, 4000, 0).decode(errors="replace").strip()
        how = f"ended with status {code}" if code >= 0 else f"was killed by signal {-code}"
        raise BenchError(f"'{what}' {how}: {said or 'it said nothing'}")


def time_steps(steps):
    """Seconds that the steps take one after another; a step is a list of commands run at once."""
    with Children() as children, time_limit(RUN_LIMIT, " ".join(steps[0][0])):
        start = time.monotonic()
        for step in steps:
            for pid in [children.spawn(command) for command in step]:
                children.wait(pid)
        return time.monotonic() - start


def time_beside(command, step):
    """Seconds that a command takes; meanwhile step() is called again and again."""
    with Children() as children:
        start = time.monotonic()
        pid = children.spawn(command)
        while not children.has_ended(pid):
            if time.monotonic() - start > RUN_LIMIT:
                raise TimeLimit(f"{' '.join(command)} did not end within {RUN_LIMIT} s")
            step()
        return time.monotonic() - start


def resident_memory(pid, field="VmRSS"):
    """Bytes of a process that are in memory; VmHWM: at most so far."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * KIB
    raise BenchError(f"process {pid} has no {field}")


def time_calls(function, what):
    """Seconds that function() takes in a forked process: if it hangs in a mount, we do not."""
    reader, writer = os.pipe()
    with Children() as children, time_limit(RUN_LIMIT, what):
        pid = os.fork()
        if pid == 0:
            _child(function, writer)
        children.living[pid] = what
        os.close(writer)
        with os.fdopen(reader, "rb") as results:
            answer = results.read()
        children.wait(pid)
    seconds, problem = pickle.loads(answer)
    if problem:
        raise BenchError(f"{what}: {problem}")
    return seconds


def _child(function, writer):
    """The forked half of time_calls: never returns."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    seconds, problem = 0.0, ""
    try:
        start = time.monotonic()
        function()
        seconds = time.monotonic() - start
    except Exception as error:  # whatever it is, the parent tells it
        problem = str(error) or type(error).__name__
    os.write(writer, pickle.dumps((seconds, problem)))
    os._exit(0)


class Loop:
    """A command that is run over and over while the `with` block lasts."""

    def __init__(self, command):
        self.command = [needed("sh"), "-c", 'while "$@"; do :; done', "sh", *command]
        self.children = Children()
        self.pid = None

    def __enter__(self):
        self.pid = self.children.spawn(self.command, group=True)
        return self

    def __exit__(self, kind, *_):
        with self.children:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            what = self.children.living.pop(self.pid)
            if not ended:
                os.killpg(self.pid, signal.SIGKILL)
                collect(-self.pid)
            elif kind is None:
                self.children.fail(what, os.waitstatus_to_exitcode(status))
