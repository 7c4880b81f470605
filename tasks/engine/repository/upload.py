"""Send a stream of unknown length to the storage in parallel parts, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from io import BytesIO
from typing import IO, cast

from blocks.errors import UPLOAD, NameTaken, NoSpaceLeft, StorageError, TemporaryFileFailed
from blocks.s3.providers import MIB, next_part_size_bytes, part_size_bytes
from tasks.engine.deadline import within
from tasks.engine.repository.store import Store

_PARALLEL_PARTS = 2
# A run that is told to stop has only a few seconds before it is killed.
_PARTS_END_S, _ABORT_S = 1.5, 4.0
# Parts up to this size are buffered in memory; larger ones, needed for databases over 56 GB, in unnamed temporary
# files, three at most. (The threshold is 28 GB if the storage wants equal parts, 5.6 GB if it allows only 1,000 parts.)
_MEMORY_PART_BYTES = 16 * MIB
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Upload:
    """One object being uploaded: a sink for `stream_dump`.

    `expected_bytes` is an estimate of the size, which determines the part size. A small object is sent in one
    request; a larger one in parts, at most `_PARALLEL_PARTS` at a time, so memory stays bounded. Claim the name first.
    """

    def __init__(self, storage: Store, key: str, expected_bytes: int, part_bytes: int | None = None) -> None:
        self._storage = storage
        self._key = key
        self._provider = storage.provider
        self._part_bytes = part_bytes or part_size_bytes(self._provider, expected_bytes)
        self._part = self._new_part()
        self._filled = self._written = 0
        self._upload_id = ""
        self._sent: list[Future[str]] = []
        self._places = threading.Semaphore(_PARALLEL_PARTS)
        self._given_up = False
        self._lock = threading.Lock()  # so that no part starts once the upload is aborted

    def claim(self) -> bool:
        """Claim the object's name; return False, and leave nothing, if another run has it or claims it at this moment.

        The claim is an upload that has begun: two runs that begin at once both see both, and give way. A storage that
        does not list uploads can only be asked for the object.
        """
        self._upload_id = self._storage.begin_upload(self._key)
        try:
            taken = bool(self._others()) or self._storage.stat(self._key, UPLOAD) is not None
        except BaseException:
            self.abort()
            raise
        if taken:
            self.abort()
        return not taken

    def _others(self) -> set[str]:
        """Return other uploads under this name; none if the storage does not list any, or not for these keys."""
        try:
            return self._storage.uploads_of(self._key) - {self._upload_id}
        except StorageError as error:
            if error.transient:
                raise
            return set()

    def write(self, data: bytes) -> None:
        """Take the next bytes; block while the maximum number of parts is in flight."""
        view = memoryview(data)
        while view:
            with _disk():
                taken = self._part.write(view[: self._part_bytes - self._filled])
            self._filled += taken
            self._written += taken
            view = view[taken:]
            if self._filled == self._part_bytes:
                self._send()

    def complete(self) -> None:
        """Send what is left and make the object visible; never overwrite another run's object."""
        if self._storage.stat(self._key, UPLOAD):
            raise NameTaken(self._key)
        if self._sent and self._filled:
            self._send()
        tags = [sent.result() for sent in self._sent]
        try:
            self._make_visible(tags)
        except StorageError as error:
            if isinstance(error, NameTaken) or not self._is_there():
                raise
        if not tags:
            self._abort_upload()  # it was only a claim
        self._part.close()

    def _make_visible(self, tags: list[str]) -> None:
        if tags:
            self._storage.complete_upload(self._key, self._upload_id, tags)
        else:
            self._part.seek(0)
            if not self._storage.put_new(self._key, self._part.read(), "application/gzip"):
                raise NameTaken(self._key)

    def _is_there(self) -> bool:
        """Whether the object exists though the response was lost: on retry, the storage no longer knows the upload."""
        with contextlib.suppress(StorageError):
            found = self._storage.stat(self._key)
            return found is not None and found.size_bytes == self._written
        return False

    def abort(self) -> None:
        """Leave nothing behind. Any thread may call it, even while another is blocked in `write`.

        If the storage is slow to respond, cleanup carries on for as long as the process lives; after that, the sweep of
        stale uploads takes care of it.
        """
        with self._lock:
            self._given_up = True
        self._places.release()
        within(_ABORT_S, self._clear)

    def _clear(self) -> None:
        _, under_way = wait(self._sent, _PARTS_END_S)
        self._part.close()
        self._abort_upload()
        if under_way:
            # A part in flight may arrive after the abort; the storage would keep it, and bill for it.
            wait(under_way)
            self._abort_upload()

    def _abort_upload(self) -> None:
        if self._upload_id:
            with contextlib.suppress(StorageError):
                self._storage.abort_upload(self._key, self._upload_id)

    def _send(self) -> None:
        """Hand the filled part to a thread; raise the error of an earlier part, if any."""
        for sent in self._sent[-2 * _PARALLEL_PARTS :]:
            if sent.done():
                sent.result()
        if not self._upload_id:
            self._upload_id = self._storage.begin_upload(self._key)
            if self._given_up:  # in the meantime
                self._abort_upload()
        number = len(self._sent) + 1
        if number > self._provider.max_parts:
            raise StorageError(
                f"{self._key}: more than {self._provider.max_parts} parts",
                during=UPLOAD,
                hint="the database grew far beyond the server's own estimate; run the backup again",
            )
        self._places.acquire()
        with self._lock:
            if self._given_up:
                raise InterruptedError("the upload was aborted")
            self._part_bytes = next_part_size_bytes(self._provider, self._part_bytes, number)
            part, self._part, self._filled = self._part, self._new_part(), 0
            self._sent.append(Future())
            # No thread pool: process exit waits for a pool's threads, however long the storage takes to respond.
            arguments = (self._sent[-1], number, part)
            threading.Thread(target=self._put_part, args=arguments, name="upload", daemon=True).start()

    def _put_part(self, sent: Future[str], number: int, part: IO[bytes]) -> None:
        try:
            with part:
                part.seek(0)
                # A file is sent in small chunks, bytes all at once.
                body = part.getvalue() if isinstance(part, BytesIO) else part
                sent.set_result(self._storage.put_part(self._key, self._upload_id, number, body))
        except BaseException as error:  # noqa: BLE001  (re-raised by `result()`)
            sent.set_exception(error)
        finally:
            self._places.release()

    def _new_part(self) -> IO[bytes]:
        if self._part_bytes <= _MEMORY_PART_BYTES:
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
