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

from blocks.errors import UPLOAD, NoSpaceLeft, StorageError, TemporaryFileFailed
from blocks.s3.providers import MIB, next_part_size_bytes, part_size_bytes
from tasks.engine.deadline import within
from tasks.engine.repository.store import Store

_PARALLEL_PARTS = 2
# A run that is told to stop has a few seconds: then whoever told it kills it.
_PARTS_END_S, _ABORT_S = 1.5, 4.0
# Parts up to this size wait in memory; larger ones, which databases of more than 56 GB need, wait in unnamed temporary
# files, three at most. (Where a storage wants equal parts, that begins at 28 GB; where it allows 1,000 only, at 5.6 GB.)
_MEMORY_PART_BYTES = 16 * MIB
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Upload:
    """One object on its way: a sink for `stream_dump`.

    `expected_bytes` is a guess at the size, from which the part size follows. A small object goes in one
    request; a larger one in parts of which `_PARALLEL_PARTS` are under way at most, so memory stays bounded.
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
        self._lock = threading.Lock()  # either a part goes out, or the upload is given up

    def write(self, data: bytes) -> None:
        """Take the next bytes; waits while all parts that may be under way are."""
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
        """Send what is left and make the object visible; never in the place of another run's."""
        if self._storage.stat(self._key, UPLOAD):
            hint = (
                "two backups began in the same second; give each database a BACKUP_PREFIX of its own, and run it again"
            )
            raise StorageError(f"{self._key}: another backup took this name", during=UPLOAD, hint=hint)
        if self._upload_id and self._filled:
            self._send()
        tags = [sent.result() for sent in self._sent]
        try:
            self._make_visible(tags)
        except StorageError:
            if not self._is_there():
                raise
        self._part.close()

    def _make_visible(self, tags: list[str]) -> None:
        if self._upload_id:
            self._storage.complete_upload(self._key, self._upload_id, tags)
        else:
            self._part.seek(0)
            self._storage.put(self._key, self._part.read(), "application/gzip")

    def _is_there(self) -> bool:
        """Whether the object came to be, though its answer was lost on the way: asked again, a storage knows no upload."""
        with contextlib.suppress(StorageError):
            found = self._storage.stat(self._key)
            return found is not None and found.size_bytes == self._written
        return False

    def abort(self) -> None:
        """Leave nothing behind; called from any thread, also while another one waits in `write`.

        What the storage does not answer in time is gone on with for as long as the process lives, and left to the sweep
        of stale uploads after that.
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
            # A part that was under way may have come after the abort, and is kept and paid for.
            wait(under_way)
            self._abort_upload()

    def _abort_upload(self) -> None:
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
            if self._given_up:  # meanwhile
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
                raise InterruptedError("the upload was given up")
            self._part_bytes = next_part_size_bytes(self._provider, self._part_bytes, number)
            part, self._part, self._filled = self._part, self._new_part(), 0
            self._sent.append(Future())
            # No pool: the end of a process waits for the threads of one, however long the storage does not answer.
            arguments = (self._sent[-1], number, part)
            threading.Thread(target=self._put_part, args=arguments, name="upload", daemon=True).start()

    def _put_part(self, sent: Future[str], number: int, part: IO[bytes]) -> None:
        try:
            with part:
                part.seek(0)
                # A file is sent in small pieces, bytes in one go.
                body = part.getvalue() if isinstance(part, BytesIO) else part
                sent.set_result(self._storage.put_part(self._key, self._upload_id, number, body))
        except BaseException as error:  # noqa: BLE001  (raised again by who asks for the result)
            sent.set_exception(error)
        finally:
            self._places.release()

    def _new_part(self) -> IO[bytes]:
        if self._part_bytes <= _MEMORY_PART_BYTES:
            return BytesIO()
        with _disk():
            # Without a buffer, a full disk is met when something is written, and not once more when the file is closed.
            return cast("IO[bytes]", tempfile.TemporaryFile(buffering=0))


@contextmanager
def _disk() -> Iterator[None]:
    """Say in our words that the disk for large parts is full, or that there is none to write on."""
    try:
        yield
    except OSError as error:
        wait_there = "parts of very large backups wait there"
        if error.errno in _FULL:
            hint = f"free some space, or set TMPDIR to a folder on a larger disk; {wait_there}"
            raise NoSpaceLeft(tempfile.gettempdir(), hint=hint) from None
        # Where every folder for such files is full or closed, none is found at all.
        hint = f"set TMPDIR to a folder that can be written, with space in it; {wait_there}"
        raise TemporaryFileFailed(error.strerror or str(error), hint=hint) from None
