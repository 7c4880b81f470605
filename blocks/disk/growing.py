"""Put the parts of an upload into one file while they arrive, so that a backup needs its space once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import IO

from blocks.disk.files import append, write_new


class GrowingFile:
    """An upload's file. Parts are appended in order; one that arrives before its turn waits in a file of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: list[int] = []
        self._lock = threading.Lock()
        self._early: dict[int, Path] = {}

    def add(self, number: int, body: bytes | IO[bytes]) -> int:
        """Take one part (numbers start at 1); return its size."""
        with self._lock:
            if number != len(self.sizes) + 1:
                path = self.path.with_name(f"{self.path.name}.{number}")
                size = write_new(path, body)
                self._early[number] = path
                return size
            self.sizes.append(size := append(self.path, body))
            self._catch_up()
            return size

    def _catch_up(self) -> None:
        while path := self._early.get(len(self.sizes) + 1):
            with path.open("rb") as waiting:
                size = append(self.path, waiting)
            del self._early[len(self.sizes) + 1]
            self.sizes.append(size)
            path.unlink()
