"""End what a confined program has left behind: processes that put themselves into the background.

Their parent is gone, so the system gives them to the nearest ancestor that takes them in (PR_SET_CHILD_SUBREAPER, prctl(2)):
to us. What we have started ourselves is told from them by its number; what somebody else in this process has started, by
its privileges, which a confined program has given up.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

_TAKE_IN = 36
_TASKS = Path("/proc/self/task")
_WAIT_S = 5.0
_LIBC = ctypes.CDLL(None, use_errno=True) if os.uname().sysname == "Linux" else None


_takers: list[None] = []  # one for each confined program that runs


def take_in_strays() -> set[int]:
    """Have processes without a parent given to us until `end_strays`; returns the children that we have already."""
    _takers.append(None)
    _take_in(1)
    return set(_children())


def _take_in(wanted: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_TAKE_IN, wanted, 0, 0, 0)


def end_strays(known: Collection[int]) -> None:
    """Kill the confined processes among our children, and what comes to us through their end, but for those that are known."""
    deadline = time.monotonic() + _WAIT_S
    while (
        strays := [pid for pid in _children() if pid not in known and _is_confined(pid)]
    ) and time.monotonic() < deadline:
        for pid in strays:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    _takers.pop()
    if not _takers:  # else others' orphans would stay with us as zombies
        _take_in(0)


def _children() -> Iterator[int]:
    for task in _TASKS.glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, task.read_text().split())


def _is_confined(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nNoNewPrivs:\t1\n" in Path(f"/proc/{pid}/status").read_text()
    return False
