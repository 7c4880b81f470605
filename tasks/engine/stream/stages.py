"""Pass bytes through stages on their way from the dump to the storage, and on their way back.

A stage takes bytes and returns bytes, and has its result at the end: it can count, hash, encrypt or decrypt. To add a
stage, put it into the list; nothing else knows how many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol


class Stage(Protocol):
    """One step that an object's bytes pass through."""

    def write(self, data: bytes) -> bytes:
        """Take the next bytes; return those to pass on now."""

    def finish(self) -> bytes:
        """Return what was held back; no `write` follows."""


class Count:
    """A stage that counts bytes."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def write(self, data: bytes) -> bytes:
        """Count the bytes and pass them on."""
        self.size_bytes += len(data)
        return data

    def finish(self) -> bytes:
        """Return nothing: this stage holds nothing back."""
        return b""


class Sha256:
    """A stage that hashes bytes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> bytes:
        """Hash the bytes and pass them on."""
        self._hash.update(data)
        return data

    def finish(self) -> bytes:
        """Return nothing: this stage holds nothing back."""
        return b""

    @property
    def digest(self) -> bytes:
        """The hash of the bytes so far."""
        return self._hash.digest()

    @property
    def hexdigest(self) -> str:
        """The same in hexadecimal, as in the manifest."""
        return self._hash.hexdigest()

    def digest_with(self, more: bytes | memoryview) -> bytes:
        """Return the hash as it would be after these bytes."""
        ahead = self._hash.copy()
        ahead.update(more)
        return ahead.digest()


def through(stages: Sequence[Stage], data: bytes) -> bytes:
    """Send bytes through stages in order."""
    for stage in stages:
        data = stage.write(data)
    return data


def rest(stages: Sequence[Stage]) -> bytes:
    """Finish the stages: pass what each held back through those after it."""
    parts = []
    for number, stage in enumerate(stages, 1):
        parts.append(through(stages[number:], stage.finish()))
    return b"".join(parts)
