"""Run other programs so that none outlives us, none hangs us, and no exit goes unnoticed.

The only module that uses `subprocess`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, Literal, Self

from tasks.engine.confinement import Confinement, prepared
from tasks.engine.held_back import signals_held_back
from tasks.engine.strays import end_strays, take_in_strays

_PR_SET_PDEATHSIG = 1
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20
_STDERR_LINES = 200
_LINE_BYTES = 2_000
_END_S = 5
_STEP_S = 0.02
_ORPHANED_S = 8
_LIBC = ctypes.CDLL(None, use_errno=True) if os.uname().sysname == "Linux" else None


@dataclass(frozen=True)
class User:
    """The user a child runs as; PostgreSQL servers refuse to run as root."""

    uid: int
    gid: int


class Child:
    """A running program: its pipes, the first and last lines of its stderr, and its exit.

    Use it as a context manager: leaving it kills whatever still runs in the program's process group and, if the program
    was confined, processes that left the group. With `read="all"`, stderr is part of its output.
    """

    _live: ClassVar[set[int]] = set()

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], *, read: bool | Literal["all"] = False, user: User | None = None,
                 cwd: str | Path = "/", confinement: Confinement | None = None, before: Callable[[], None] | None = None) -> None:  # fmt: skip
        self.name = Path(argv[0]).name
        self.timed_out = False
        self._timer: threading.Timer | None = None
        self._head: list[str] = []
        self._tail: deque[str] = deque(maxlen=_STDERR_LINES)
        self._lines = 0
        self._before = take_in_strays() if confinement else None
        self._listener = threading.Thread(target=self._listen, name=f"{self.name}-stderr", daemon=True)
        with prepared(confinement) as confine, signals_held_back() as held:
            self._popen = subprocess.Popen(
                list(argv),
                env=dict(environ),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if read else subprocess.DEVNULL,
                stderr=subprocess.STDOUT if read == "all" else subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                preexec_fn=lambda: _begin(before, confine),
                **_privileges(user),
            )
            self._live.add(self.pid)
            self._listener.start()
            _widen(self._popen.stdout)
            if held:  # a signal that ends us: nobody else will know of this program
                self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer:
            self._timer.cancel()
        self.kill()
        self._live.discard(self.pid)
        if self._before is not None:
            end_strays(self._before | self._live)
        if self._popen.stdout is not None:
            with contextlib.suppress(OSError):
                self._popen.stdout.close()

    @property
    def pid(self) -> int:
        """The process id, which is also the process group id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the program is still running."""
        return self._popen.poll() is None

    @property
    def output(self) -> int:
        """The file descriptor of its standard output."""
        assert self._popen.stdout is not None
        return self._popen.stdout.fileno()

    @property
    def exited(self) -> bool:
        """Whether the program has exited; unlike `running`, this keeps its number, which is also its group's, taken."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # SIGCHLD is ignored: whoever started us chose so
            return True

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the program to exit and return its exit code; raises TimeoutError."""
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} did not end within {timeout_s} s") from None
        self._listener.join(timeout=5)
        return code

    def limit(self, timeout_s: float) -> None:
        """Kill the program unless it exits within this time; `timed_out` then becomes True."""
        self._timer = threading.Timer(timeout_s, self._end_late)
        self._timer.daemon = True
        self._timer.start()

    def _end_late(self) -> None:
        self.timed_out = self.running
        self.kill()

    def send(self, signal_number: signal.Signals) -> None:
        """Signal the program itself if it is still running."""
        if self.running:
            self._popen.send_signal(signal_number)

    def end(self) -> None:
        """Ask the program to exit and give it a moment to clean up: initdb, for one, has shared memory to release."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            self.wait(_END_S)

    def kill(self) -> None:
        """Kill the whole process group."""
        if self.running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._popen.kill()
            self._popen.wait()
        self._listener.join(timeout=5)

    def end_group(self, patience_s: float) -> int:
        """End all of its process group, even if the program itself has exited; return the program's exit code."""
        deadline = time.monotonic() + patience_s
        if not self.exited:
            self._signal_group(signal.SIGTERM)
        while not self.exited and time.monotonic() < deadline:
            time.sleep(_STEP_S)
        self._signal_group(signal.SIGKILL)
        return self.wait()

    def _signal_group(self, signal_number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal_number)

    def error_summary(self) -> str:
        """Return the first errors from stderr, without the rows of data that servers quote."""
        errors = [line for line in self._tail if "error" in line.lower() or "fatal" in line.lower()]
        return "; ".join((errors or list(self._tail))[:3])

    def stderr_lines(self) -> list[str]:
        """Return the last lines that it wrote to stderr."""
        return list(self._tail)

    def everything_said(self) -> tuple[list[str], int]:
        """Return the first and last lines it wrote to stderr, and how many in between were dropped."""
        kept = max(0, self._lines - len(self._head))
        tail = list(self._tail)[-kept:] if kept else []
        return [*self._head, *tail], self._lines - len(self._head) - len(tail)

    def _listen(self) -> None:
        if self._popen.stderr is None:
            return
        with contextlib.suppress(ValueError, OSError), self._popen.stderr as pipe:
            for raw in _lines(pipe):
                line = raw.decode(errors="replace").rstrip()
                self._tail.append(line)
                self._lines += 1
                if len(self._head) < _STDERR_LINES:
                    self._head.append(line)


def _lines(pipe: IO[bytes]) -> Any:
    """Read lines of bounded length: a server's error can quote a value of any size."""
    with open(pipe.fileno(), "rb", closefd=False) as reader:
        yield from iter(lambda: reader.readline(_LINE_BYTES), b"")


def run(argv: Sequence[str], environ: Mapping[str, str], *, user: User | None = None, timeout_s: float = 60,
        cwd: str | Path = "/", before: Callable[[], None] | None = None) -> tuple[int, str]:  # fmt: skip
    """Run a short program to completion; return its exit code and its output, stderr included.

    `before` is called in the child before the program. Raises OSError when it cannot be started, TimeoutError when it does not exit in time.
    """
    with Child(argv, environ, read=True, user=user, cwd=cwd, before=before) as child:
        printed = bytearray()
        child.limit(timeout_s)
        try:
            while chunk := os.read(child.output, 65536):
                printed += chunk
        except BaseException:
            child.end()
            raise
        code = child.wait()
        if child.timed_out:
            raise TimeoutError(f"{child.name} did not end within {timeout_s} s")
        return code, printed.decode(errors="replace") + "\n".join(child.stderr_lines())


def start_detached(argv: Sequence[str], environ: Mapping[str, str], cwd: str | Path) -> int:
    """Start a program that outlives us; return its process id, which is also its process group id."""
    devnull = subprocess.DEVNULL
    return subprocess.Popen(
        list(argv), env=dict(environ), cwd=cwd, stdin=devnull, stdout=devnull, stderr=devnull, start_new_session=True
    ).pid


Process = subprocess.Popen[bytes]


def start_ours(argv: Sequence[str], environ: Mapping[str, str]) -> Process:
    """Start a command of our own, which logs where we do. Call it in the main thread: `end_with_parent` ends it with that."""
    # Until the command gets to `end_with_parent`, it is killed if we die.
    return subprocess.Popen(
        list(argv), env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent
    )


def end_with_parent() -> None:
    """Terminate this process when its parent dies, even by SIGKILL. Call it in the main thread."""
    if _LIBC is not None:
        signal.signal(signal.SIGUSR1, _orphaned)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)


def _orphaned(*_: object) -> None:
    """Clean up as on SIGTERM, but with a deadline: the parent we would report to is gone."""
    signal.alarm(_ORPHANED_S)
    signal.raise_signal(signal.SIGTERM)


def _begin(before: Callable[[], None] | None, confine: Callable[[], None]) -> None:
    _die_with_parent()
    if before:
        before()
    confine()


def _die_with_parent() -> None:
    # Without this, if we were SIGKILLed, pg_dump would live on with its locks and snapshot.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _privileges(user: User | None) -> dict[str, Any]:
    return {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}


def _widen(pipe: IO[bytes] | None) -> None:
    """Grow a pipe's buffer to 1 MiB: with 64 KiB the two ends constantly wait for each other."""
    with contextlib.suppress(OSError):
        if pipe is not None:
            fcntl.fcntl(pipe.fileno(), _F_SETPIPE_SZ, _PIPE_BYTES)


def kill_children() -> None:
    """Kill all programs that run for us now: whoever waits for one of them must end."""
    for pid in list(Child._live):  # noqa: SLF001  (this module's own)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
