"""Look at processes that come and go: one that ends between two looks is gone, and no failure of a test."""

from __future__ import annotations

import contextlib

import psutil


def ended(process: psutil.Process | int) -> bool:
    """Whether a process is over; a zombie is, and waits only for its parent to look."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return not found.is_running() or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def children_of(parent: int | None = None, *names: str) -> list[psutil.Process]:
    """What a process has started, this one when none is named, and what those have: all that live, or those with a name."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(parent).children(recursive=True)
        return [child for child in started if not ended(child) and (not names or name_of(child) in names)]
    return []


def name_of(process: psutil.Process) -> str:
    """The program that a process runs; nothing when it has ended."""
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


def command_of(process: psutil.Process) -> str:
    """A process's whole command line, for a server's process its title; nothing when it has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        return " ".join(process.cmdline()).rstrip()
    return ""
