"""Clean up what a killed server leaves outside its folder: its processes and a shared memory segment.

A server that shuts down by itself removes both. Only Linux reveals a process's working directory and a segment's
creator; elsewhere there is nothing to go by, and nothing is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

_PROCESSES = Path("/proc")
_SEGMENTS = Path("/proc/sysvipc/shm")
_PROGRAM = "postgres"
_WAIT_S = 5.0
_IPC_RMID = 0
_PID_FILE_BYTES = 4096


def clear_after_server(folder: Path) -> None:
    """Kill the server processes whose working directory is in a folder, and remove their server's shared memory."""
    deadline = time.monotonic() + _WAIT_S
    # A busy backend can take hours to notice that its postmaster is gone.
    while (running := list(_servers_in(folder.resolve()))) and time.monotonic() < deadline:
        for pid in running:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = _read_file(folder / "data" / "postmaster.pid").splitlines()
        key, segment = lines[6].split()
        _remove_segment(key, segment, creator=lines[0].strip())


def _read_file(path: Path) -> str:
    """Read the beginning of a file that code of the dumped database may have planted: a pipe, a device or a link."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError("not a regular file")
        return os.read(opened, _PID_FILE_BYTES).decode(errors="replace")
    finally:
        os.close(opened)


def _servers_in(folder: Path) -> Iterator[int]:
    for entry in _PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text().strip() == _PROGRAM and (entry / "cwd").readlink().is_relative_to(folder):
                yield int(entry.name)


def _remove_segment(key: str, segment: str, creator: str) -> None:
    """Remove a segment that no process is attached to, if the kernel confirms that it is the one we mean."""
    for line in _SEGMENTS.read_text().splitlines()[1:]:
        found_key, found, _, _, made_by, _, attached = line.split()[:7]
        if (found_key, found, made_by, attached) == (key, segment, creator, "0"):
            ctypes.CDLL(None).shmctl(int(segment), _IPC_RMID, None)
