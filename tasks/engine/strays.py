"""Kill the daemonized processes that a confined program leaves behind.

Once their parent is gone, the kernel reparents them to the nearest subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)): to us.
We tell them apart from our own children by pid, and from children that other code in this process started by
no_new_privs, which only confined programs have set.
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


_takers: list[None] = []  # one for each running confined program


def take_in_strays() -> set[int]:
    """Become the subreaper of orphaned descendants until `end_strays`; return the children we already have."""
    _takers.append(None)
    _take_in(1)
    return set(_children())


def _take_in(wanted: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_TAKE_IN, wanted, 0, 0, 0)


def end_strays(known: Collection[int]) -> None:
    """Kill confined children that are not `known`, and the processes reparented to us as those die."""
    deadline = time.monotonic() + _WAIT_S
    while (
        strays := [pid for pid in _children() if pid not in known and _is_confined(pid)]
    ) and time.monotonic() < deadline:
        for pid in strays:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    _takers.pop()
    if not _takers:  # otherwise unrelated orphans would stay with us as zombies
        _take_in(0)


def _children() -> Iterator[int]:
    for task in _TASKS.glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, task.read_text().split())


def _is_confined(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nNoNewPrivs:\t1\n" in Path(f"/proc/{pid}/status").read_text()
    return False
