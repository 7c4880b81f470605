"""Run a program and everything it starts, and measure its time and memory."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tasks.engine.process import Child

_SAMPLE_EVERY_S = 0.05
# A sample walks page tables and stalls the measured processes: it may cost at most this share of the time.
_SAMPLE_COST = 0.04
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


class BenchFailed(Exception):
    """The measured program failed."""


@dataclass(frozen=True)
class Measured:
    """The measurements of one run."""

    seconds: float
    peak_bytes: int
    printed: str


def run_measured(name: str, argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> Measured:
    """Run a program to its end; raise BenchFailed with its output unless it exits with 0."""
    begun = time.monotonic()
    with Child(argv, environ, read=True, cwd=folder) as child:
        with MemoryWatch(child.pid) as memory:
            code = child.wait()
            seconds = time.monotonic() - begun
        if code:
            raise BenchFailed(f"{name}: exit code {code}: {child.error_summary()}")
        return Measured(seconds, memory.peak_bytes, _all_of(child.output))


def _all_of(descriptor: int) -> str:
    """Return all output of a program that has exited; the output must have fitted into the pipe."""
    parts = []
    while part := os.read(descriptor, 65_536):
        parts.append(part)
    return b"".join(parts).decode(errors="replace")


class MemoryWatch:
    """Sample the memory of a process and its descendants in a thread, and keep the largest sum.

    The sum is of proportional set sizes, so pages shared between processes are counted once. Peaks between two
    samples are missed.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            begun = time.monotonic()
            self.peak_bytes = max(self.peak_bytes, sum(map(_proportional_bytes, tree(self._pid))))
            pause = max(_SAMPLE_EVERY_S, (time.monotonic() - begun) / _SAMPLE_COST)


def tree(pid: int) -> Iterator[int]:
    """Return a process and all its descendants."""
    yield pid
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it exited in the meantime
            for child in listing.read_text().split():
                yield from tree(int(child))


def _proportional_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0
