"""Let bytes pass stages between the dump and the storage, and the same kind of stages on their way back.

A stage takes bytes and gives bytes, and has its result at the end: it may count, hash, encrypt or decrypt them. Whoever
adds one puts it into a list; nothing else knows how many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol


class Stage(Protocol):
    """One step on the way of an object's bytes."""

    def write(self, data: bytes) -> bytes:
        """Take the next bytes; returns those that go on now."""

    def finish(self) -> bytes:
        """Return what was held back; nothing comes after it."""


class Count:
    """Count what passes."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def write(self, data: bytes) -> bytes:
        """Count, and let all of it pass."""
        self.size_bytes += len(data)
        return data

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""


class Sha256:
    """Hash what passes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> bytes:
        """Hash, and let all of it pass."""
        self._hash.update(data)
        return data

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""

    @property
    def digest(self) -> bytes:
        """The hash of what passed so far."""
        return self._hash.digest()

    @property
    def hexdigest(self) -> str:
        """The same, as the manifest has it."""
        return self._hash.hexdigest()

    def digest_with(self, more: bytes | memoryview) -> bytes:
        """The hash as it would be with these bytes."""
        ahead = self._hash.copy()
        ahead.update(more)
        return ahead.digest()


def through(stages: Sequence[Stage], data: bytes) -> bytes:
    """Send bytes through stages, the first one first."""
    for stage in stages:
        data = stage.write(data)
    return data


def rest(stages: Sequence[Stage]) -> bytes:
    """End stages: what each held back passes those after it."""
    parts = []
    for number, stage in enumerate(stages, 1):
        parts.append(through(stages[number:], stage.finish()))
    return b"".join(parts)
