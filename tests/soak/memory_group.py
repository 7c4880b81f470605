"""Run programs in a control group of limited memory, as a container does, and read what they used."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")
_NEEDED = (
    "this test limits memory, so it needs root and the memory controller of cgroup v1 or v2, writable at /sys/fs/cgroup"
)
_LEAVE_S = 10


@dataclass(frozen=True)
class _Files:
    """What a version of control groups calls its files and figures."""

    root: Path
    limit: str
    peak: str
    kills: str
    swap: str
    # What cannot be dropped when memory is short: of processes, and of shared memory.
    held: tuple[str, str]


_V1 = _Files(
    _ROOT / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control",
    "memory.memsw.limit_in_bytes", ("total_rss", "total_shmem"),
)  # fmt: skip
_V2 = _Files(_ROOT, "memory.max", "memory.peak", "memory.events", "memory.swap.max", ("anon", "shmem"))


class MemoryGroup:
    """A group: start commands in it with `entering` before them."""

    def __init__(self, folder: Path, files: _Files) -> None:
        self._folder, self._files = folder, files
        self.entering = ("sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh")

    @property
    def peak_bytes(self) -> int:
        """The most that was charged to the group, the file cache included: that grows to whatever is free."""
        return int((self._folder / self._files.peak).read_text())

    @property
    def held_bytes(self) -> int:
        """What its processes hold now, without the file cache."""
        figures = self._figures("memory.stat")
        return sum(figures.get(name, 0) for name in self._files.held)

    @property
    def kills(self) -> int:
        """How many of its processes were killed because memory ran out."""
        return self._figures(self._files.kills)["oom_kill"]

    def processes(self) -> list[int]:
        """Return its processes."""
        return [int(pid) for pid in (self._folder / "cgroup.procs").read_text().split()]

    def _figures(self, file: str) -> dict[str, int]:
        lines = (line.split() for line in (self._folder / file).read_text().splitlines())
        return {name: int(value) for name, value in lines}


@contextmanager
def limited_memory(name: str, limit_bytes: int) -> Iterator[MemoryGroup]:
    """Keep a group of this name while the context lasts; without swap, so that the limit is one."""
    files = _V1 if (_V1.root / _V1.limit).exists() else _V2
    folder = files.root / name
    try:
        if files is _V2:
            _hand_on_memory()
        folder.mkdir()
        (folder / files.limit).write_text(str(limit_bytes))
        group = MemoryGroup(folder, files)
        assert group.kills == 0
    except (OSError, KeyError) as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.fail(f"{_NEEDED}: {error}")
    with contextlib.suppress(OSError):  # not every kernel counts swap
        (folder / files.swap).write_text(str(limit_bytes if files is _V1 else 0))
    try:
        yield group
    finally:
        deadline = time.monotonic() + _LEAVE_S
        while group.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        folder.rmdir()


def _hand_on_memory() -> None:
    """Let groups below the root limit memory. In a container, its processes must leave that root first."""
    control = _ROOT / "cgroup.subtree_control"
    if "memory" in control.read_text().split():
        return
    with contextlib.suppress(OSError):
        control.write_text("+memory")
        return
    inner = _ROOT / "pg-roundtrip-tests"
    inner.mkdir(exist_ok=True)
    for pid in (_ROOT / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):  # it has exited
            (inner / "cgroup.procs").write_text(pid)
    control.write_text("+memory")
