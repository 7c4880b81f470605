"""Send a stream of unknown length to the storage in parallel parts, whole or not at all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

from blocks.errors import UPLOAD, NameTaken, StorageError
from blocks.s3.providers import next_part_size_bytes, part_size_bytes
from tasks.engine.deadline import within
from tasks.engine.repository.parts import Part, PartBuffer
from tasks.engine.repository.store import Store
from tasks.engine.repository.unseen import is_taken

T = TypeVar("T")
_PARALLEL_PARTS = 2
# A run that is told to stop has only a few seconds before it is killed.
_PARTS_END_S, _ABORT_S = 1.5, 4.0


class Upload:
    """One object being uploaded: a sink for `stream_dump`.

    `expected_bytes` is an estimate of the size, which determines the part size. A small object is sent in one
    request; a larger one in parts, at most `_PARALLEL_PARTS` at a time, so memory stays bounded. Claim the name first.
    """

    def __init__(
        self, storage: Store, key: str, expected_bytes: int, part_bytes: int | None = None, beside: str = ""
    ) -> None:
        self._storage = storage
        self._key, self._beside = key, beside
        self._provider = storage.provider
        self._buffer = PartBuffer(part_bytes or part_size_bytes(self._provider, expected_bytes))
        self._written = 0
        self._upload_id = ""
        self._begun: Future[str] | None = None
        self._sent: list[Future[str]] = []
        self._places = threading.Semaphore(_PARALLEL_PARTS)
        self._given_up = self._ended = False
        self._lock = threading.Lock()  # so that no part starts once the upload is aborted

    def claim(self) -> bool:
        """Claim the object's name; return False, and leave nothing, if another run has it or claims it at this moment.

        The claim is an upload that has begun: two runs that begin at once both see both, and give way. A storage that
        does not list uploads can only be asked for the object.
        """
        try:
            self._begin()
            keys = [self._key, self._beside] if self._beside else [self._key]
            taken = bool(self._others(keys)) or any(is_taken(self._storage, key) for key in keys)
        except BaseException:
            self.abort()
            raise
        if taken:
            self.abort()
        return not taken

    def _begin(self) -> None:
        """Begin the upload in a thread: a stop that arrives while the storage answers must not lose the upload's id."""
        begun: Future[str] = Future()
        self._begun = begun
        threading.Thread(
            target=settle, args=(begun, lambda: self._storage.begin_upload(self._key)), daemon=True
        ).start()
        self._upload_id = begun.result()

    def _others(self, keys: Sequence[str]) -> set[str]:
        """Return other uploads under these names; none if the storage does not list any now, or not for our keys.

        A storage that does not answer at all will not answer the next request either, which fails then.
        """
        try:
            return self._storage.uploads_of(*keys) - {self._upload_id}
        except StorageError:
            return set()

    def write(self, data: bytes) -> None:
        """Take the next bytes; block while the maximum number of parts is in flight."""
        view = memoryview(data)
        while view:
            view = self._buffer.write(view)
            if self._buffer.full:
                self._send()

    def _send(self) -> None:
        """Send the part that is full; the next ones may have to be larger."""
        self.make_room()
        number = len(self._sent) + 1
        with self._lock:
            self._insist_on_going_on()
            part = self._buffer.take(next_part_size_bytes(self._provider, self._buffer.part_bytes, number))
        self.send(part.lend())

    @property
    def written_bytes(self) -> int:
        """How much was written so far."""
        return self._written + self._buffer.filled

    def complete(self) -> None:
        """Send what is left and make the object visible; never overwrite another run's object."""
        self.finish(self._buffer.rest().lend())

    # What several uploads of the same parts use instead of `write` and `complete`

    def make_room(self, timeout_s: float | None = None) -> bool:
        """Wait until another part can be sent; return False if that takes longer. Raises the error of an earlier part."""
        self._raise_errors()
        if not self._upload_id:
            self._begin()
            if self._given_up:  # in the meantime
                self._abort_upload()
        if len(self._sent) >= self._provider.max_parts:
            raise StorageError(
                f"{self._key}: more than {self._provider.max_parts} parts",
                during=UPLOAD,
                hint="the database grew far beyond the server's own estimate; run the backup again",
            )
        return self._places.acquire(timeout=timeout_s)

    def send(self, part: Part) -> None:
        """Hand a part that was lent to us to a thread; call `make_room` before."""
        with self._lock:
            try:
                self._insist_on_going_on()
            except InterruptedError:
                part.give_back()
                raise
            self._sent.append(Future())
            self._written += part.size_bytes
            # No thread pool: process exit waits for a pool's threads, however long the storage takes to respond.
            arguments = (self._sent[-1], len(self._sent), part)
            threading.Thread(target=self._put_part, args=arguments, name="upload", daemon=True).start()

    def finish(self, last: Part) -> None:
        """Send the last part, which was lent to us and can be empty, and make the object visible; never overwrite another."""
        try:
            if is_taken(self._storage, self._key):
                raise NameTaken.at(self._key)
            if self._sent and last.size_bytes:
                self.make_room()
                self.send(last.lend())
            elif not self._sent:
                self._written = last.size_bytes
            tags = [sent.result() for sent in self._sent]
            try:
                self._make_visible(tags, last)
            except StorageError as error:
                if isinstance(error, NameTaken) or not self._is_there():
                    raise
        finally:
            last.give_back()
        if not tags:
            self._abort_upload()  # it was only a claim
        self._ended = True

    def take_back(self) -> None:
        """Remove the object that was completed: too few storages have it for a backup."""
        with contextlib.suppress(StorageError):
            self._storage.remove(self._key)

    def _make_visible(self, tags: list[str], only: Part) -> None:
        if tags:
            self._storage.complete_upload(self._key, self._upload_id, tags)
        elif not self._storage.put_new(self._key, only.read(), "application/gzip"):
            raise NameTaken.at(self._key)

    def _is_there(self) -> bool:
        """Whether the object exists though the response was lost: on retry, the storage no longer knows the upload."""
        with contextlib.suppress(StorageError):
            found = self._storage.stat(self._key)
            return found is not None and found.size_bytes == self._written
        return False

    def abort(self) -> None:
        """Leave nothing behind, unless the object is complete. Any thread may call it, even while another is blocked in `write`.

        If the storage is slow to respond, cleanup carries on for as long as the process lives; after that, the sweep of
        stale uploads takes care of it.
        """
        with self._lock:
            ended, self._ended, self._given_up = self._ended, True, True
        if ended:
            return
        self._places.release()
        within(_ABORT_S, self._clear)

    def _clear(self) -> None:
        _, under_way = wait(self._sent, _PARTS_END_S)
        self._buffer.close()
        if self._begun and not self._upload_id:
            with contextlib.suppress(StorageError):
                self._upload_id = self._begun.result()
        self._abort_upload()
        if under_way:
            # A part in flight may arrive after the abort; the storage would keep it, and bill for it.
            wait(under_way)
            self._abort_upload()

    def _abort_upload(self) -> None:
        if self._upload_id:
            with contextlib.suppress(StorageError):
                self._storage.abort_upload(self._key, self._upload_id)

    def _insist_on_going_on(self) -> None:
        if self._given_up:
            raise InterruptedError("the upload was aborted")

    def _raise_errors(self) -> None:
        for sent in self._sent[-2 * _PARALLEL_PARTS :]:
            if sent.done():
                sent.result()

    def _put_part(self, sent: Future[str], number: int, part: Part) -> None:
        try:
            sent.set_result(self._storage.put_part(self._key, self._upload_id, number, part.body))
        except BaseException as error:  # noqa: BLE001  (re-raised by `result()`)
            sent.set_exception(error)
        finally:
            part.give_back()
            self._places.release()


def settle(found: Future[T], ask: Callable[[], T]) -> None:
    """Do what is asked for and settle a future with what comes of it."""
    try:
        found.set_result(ask())
    except BaseException as error:  # noqa: BLE001  (re-raised by `result()`)
        found.set_exception(error)
