"""Cut a stream into parts that any number of uploads can send at once: the bytes are there only once."""

from __future__ import annotations

import errno
import io
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, TYPE_CHECKING, cast

from blocks.errors import NoSpaceLeft, TemporaryFileFailed
from blocks.s3.providers import MIB

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Parts up to this size are buffered in memory; larger ones, needed for databases over 56 GB, in unnamed temporary
# files, three at most. (The threshold is 28 GB if the storage wants equal parts, 5.6 GB if it allows only 1,000 parts.)
MEMORY_PART_BYTES = 16 * MIB
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Part:
    """A part that is filled: immutable bytes, or a file, which is closed when the last upload gives it back."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._file = file
        # `getvalue` doesn't copy the bytes, and each upload gets the same ones.
        self._data = file.getvalue() if isinstance(file, BytesIO) else None
        self._lent = 0
        self._lock = threading.Lock()

    def lend(self) -> Part:
        """Count one more upload that sends it."""
        with self._lock:
            self._lent += 1
        return self

    def give_back(self) -> None:
        """Count one upload less."""
        with self._lock:
            self._lent -= 1
            last = self._lent <= 0
        if last:
            self.close()

    def close(self) -> None:
        """Free what it takes."""
        self._file.close()

    @property
    def body(self) -> bytes | io.RawIOBase:
        """What to send: a file is sent in small chunks, bytes all at once."""
        return _Reader(self._file, self.size_bytes) if self._data is None else self._data

    def read(self) -> bytes:
        """Return all of it; for the only part of a small object."""
        body = self.body
        return body if isinstance(body, bytes) else body.read() or b""


class _Reader(io.RawIOBase):
    """One of several who read a file at the same time, each from its own position."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self._file, self._size_bytes, self._at = file, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._file.fileno(), len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, origin: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size_bytes}[origin]
        return self._at

    def tell(self) -> int:
        return self._at


class PartBuffer:
    """Collects what is written until a part is full."""

    def __init__(self, part_bytes: int) -> None:
        self.part_bytes = part_bytes
        self.filled = 0
        self._file = self._new_file()

    @property
    def full(self) -> bool:
        """Whether the part has its size."""
        return self.filled == self.part_bytes

    def write(self, view: memoryview) -> memoryview:
        """Take what fits; return the rest."""
        with _disk():
            taken = self._file.write(view[: self.part_bytes - self.filled])
        self.filled += taken
        return view[taken:]

    def take(self, next_part_bytes: int = 0) -> Part:
        """Return what was collected, and begin the next part, perhaps of another size."""
        part = Part(self._file, self.filled)
        self.part_bytes, self.filled = next_part_bytes or self.part_bytes, 0
        self._file = self._new_file()
        return part

    def rest(self) -> Part:
        """Return what was collected since, as the last part; nothing can be written after that."""
        return Part(self._file, self.filled)

    def close(self) -> None:
        """Throw away what was collected."""
        self._file.close()

    def _new_file(self) -> IO[bytes]:
        if self.part_bytes <= MEMORY_PART_BYTES:
            return BytesIO()
        with _disk():
            # Unbuffered, so that a full disk is reported on write and not a second time on close.
            return cast("IO[bytes]", tempfile.TemporaryFile(buffering=0))


@contextmanager
def _disk() -> Iterator[None]:
    """Translate a full disk, or the lack of a writable one for large parts, into our own errors."""
    try:
        yield
    except OSError as error:
        wait_there = "parts of very large backups are buffered there"
        if error.errno in _FULL:
            hint = f"free some space, or set TMPDIR to a folder on a larger disk; {wait_there}"
            raise NoSpaceLeft(tempfile.gettempdir(), hint=hint) from None
        # With every temporary folder full or read-only, tempfile finds none at all.
        hint = f"set TMPDIR to a writable folder with free space; {wait_there}"
        raise TemporaryFileFailed(error.strerror or str(error), hint=hint) from None
