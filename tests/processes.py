"""Inspect processes that come and go: one that exits during inspection counts as gone and doesn't fail a test."""

from __future__ import annotations

import contextlib

import psutil


def ended(process: psutil.Process | int) -> bool:
    """Return whether a process has ended; a zombie has, and only waits for its parent to reap it."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return not found.is_running() or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def children_of(parent: int | None = None, *names: str) -> list[psutil.Process]:
    """Return the live descendants of a process, by default this one, optionally only those with given names."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(parent).children(recursive=True)
        return [child for child in started if not ended(child) and (not names or name_of(child) in names)]
    return []


def name_of(process: psutil.Process) -> str:
    """Return the program that a process runs; nothing when it has exited."""
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


def command_of(process: psutil.Process) -> str:
    """Return a process's command line, or a server process's title; nothing when it has exited."""
    with contextlib.suppress(psutil.Error, OSError):
        return " ".join(process.cmdline()).rstrip()
    return ""
