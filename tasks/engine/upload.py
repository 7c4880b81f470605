"""Send a stream of unknown length to the storage in parallel parts, whole or not at all."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import IO

from blocks.errors import StorageError
from blocks.providers import MIB, part_size_bytes
from blocks.storage import UPLOAD, BackupStorage

_PARALLEL_PARTS = 3
# Parts up to this size wait in memory; larger ones, which databases of more than 56 GB need, wait in unnamed temporary
# files, four at most. (Where a storage allows 1,000 parts only, that begins at 5.6 GB.)
_MEMORY_PART_BYTES = 16 * MIB


class Upload:
    """One object on its way: a sink for `stream_dump`.

    `expected_bytes` is a guess at the size, from which the part size follows. A small object goes in one
    request; a larger one in parts of which `_PARALLEL_PARTS` are under way at most, so memory stays bounded.
    """

    def __init__(self, storage: BackupStorage, key: str, expected_bytes: int, part_bytes: int | None = None) -> None:
        self._storage = storage
        self._key = key
        self._max_parts = storage.provider.max_parts
        self._part_bytes = part_bytes or part_size_bytes(storage.provider, expected_bytes)
        self._part = self._new_part()
        self._filled = 0
        self._upload_id = ""
        self._sent: list[Future[str]] = []
        self._places = threading.Semaphore(_PARALLEL_PARTS)
        self._pool = ThreadPoolExecutor(_PARALLEL_PARTS, "upload")

    def write(self, data: bytes) -> None:
        """Take the next bytes; waits while all parts that may be under way are."""
        view = memoryview(data)
        while view:
            taken = self._part.write(view[: self._part_bytes - self._filled])
            self._filled += taken
            view = view[taken:]
            if self._filled == self._part_bytes:
                self._send()

    def complete(self) -> None:
        """Send what is left and make the object visible; never in the place of another run's."""
        if self._storage.stat(self._key, UPLOAD):
            hint = (
                "two backups began in the same second; give each database a BACKUP_PREFIX of its own, and run it again"
            )
            raise StorageError(f"{self._key}: another backup took this name", message="S3 upload failed", hint=hint)
        if not self._upload_id:
            self._part.seek(0)
            self._storage.put(self._key, self._part.read(), "application/gzip")
        else:
            if self._filled:
                self._send()
            self._storage.complete_upload(self._key, self._upload_id, [sent.result() for sent in self._sent])
        self._pool.shutdown()
        self._part.close()

    def abort(self) -> None:
        """Leave nothing behind; if even that fails, the sweep of stale uploads does it later."""
        for sent in self._sent:
            sent.cancel()
        self._pool.shutdown(wait=True)
        self._part.close()
        if self._upload_id:
            with contextlib.suppress(StorageError):
                self._storage.abort_upload(self._key, self._upload_id)

    def _send(self) -> None:
        """Hand the filled part to a thread; raises what an earlier part met."""
        for sent in self._sent[-2 * _PARALLEL_PARTS :]:
            if sent.done():
                sent.result()
        if not self._upload_id:
            self._upload_id = self._storage.begin_upload(self._key)
        number = len(self._sent) + 1
        if number > self._max_parts:
            raise StorageError(
                f"{self._key}: more than {self._max_parts} parts",
                message="S3 upload failed",
                hint="the database grew far beyond the server's own estimate; run the backup again",
            )
        self._places.acquire()
        part, self._part, self._filled = self._part, self._new_part(), 0
        self._sent.append(self._pool.submit(self._put_part, number, part))
        # A dump of more than three times the database's size still fits: late parts grow. A storage that insists on
        # equal parts refuses that, which is no worse than running out of parts.
        if number >= self._max_parts // 2 and number % max(1, self._max_parts // 10) == 0:
            self._part_bytes = min(2 * self._part_bytes, self._storage.provider.max_part_bytes)

    def _put_part(self, number: int, part: IO[bytes]) -> str:
        try:
            with part:
                part.seek(0)
                # A file is sent in small pieces, bytes in one go.
                body = part.getvalue() if isinstance(part, BytesIO) else part
                return self._storage.put_part(self._key, self._upload_id, number, body)
        finally:
            self._places.release()

    def _new_part(self) -> IO[bytes]:
        return BytesIO() if self._part_bytes <= _MEMORY_PART_BYTES else tempfile.TemporaryFile()
