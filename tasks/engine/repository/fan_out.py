"""Send one object to several storages at once: they share its parts, and what happens to one costs the others nothing.

The first storage sets the pace. Each other one may hold it up for a while in all, and is left out after that; so is one
to which nothing gets through for as long. What is left out falls behind, and is caught up with later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass, replace

from blocks.errors import UPLOAD, PgRoundtripError, StorageError
from blocks.s3.providers import MIB, Provider, next_part_size_bytes, part_size_bytes
from tasks.engine.deadline import within
from tasks.engine.repository.parts import Part, PartBuffer
from tasks.engine.repository.store import Store
from tasks.engine.repository.upload import Upload, settle
from tasks.engine.wording import human_seconds

# A run that is told to stop has only a few seconds before it is killed.
_ABORT_S = 5.0
_SLOW = "nothing is lost: it is copied there later; COPY_WAIT is how long a backup waits for a slow destination"
Note = Callable[[str, PgRoundtripError], None]


@dataclass
class _Lane:
    """One of the storages, and how long the others still wait for it."""

    name: str
    store: Store
    upload: Upload
    left_s: float


class FanOut:
    """One object on its way to several storages: a sink for `stream_dump`. Claim its name in each of them first.

    `note` is called with the name of a storage that is left out, and why. With fewer than `required` left, its error is
    raised, and nothing is left behind anywhere.
    """

    def __init__(
        self, claimed: Mapping[str, tuple[Store, Upload]], expected_bytes: int, required: int, patience_s: float, note: Note
    ) -> None:  # fmt: skip
        self._lanes = [_Lane(name, store, upload, patience_s) for name, (store, upload) in claimed.items()]
        self._required, self._patience_s, self._note = max(1, required), patience_s, note
        self._provider = common([store.provider for store, _ in claimed.values()])
        self._buffer = PartBuffer(part_size_bytes(self._provider, expected_bytes))
        self._number = 0
        self._given_up = False
        self._lock = threading.Lock()
        self._leaving: list[threading.Thread] = []
        self._last_error: PgRoundtripError = StorageError("no destination is left", during=UPLOAD)

    @property
    def names(self) -> tuple[str, ...]:
        """The storages that it still goes to, and that have it in the end."""
        return tuple(lane.name for lane in self._lanes)

    def write(self, data: bytes) -> None:
        """Take the next bytes; block while the slowest storage that counts has the maximum number of parts in flight."""
        view = memoryview(data)
        while view:
            view = self._buffer.write(view)
            if self._buffer.full:
                self._send()

    def _send(self) -> None:
        self._make_room()
        self._number += 1
        with self._lock:
            self._insist_on_going_on()
            part = self._buffer.take(next_part_size_bytes(self._provider, self._buffer.part_bytes, self._number))
        self._lend(part)
        for lane in self._lanes:
            lane.upload.send(part)

    def _lend(self, part: Part) -> None:
        """Lend it to all before the first can give it back."""
        for _ in self._lanes:
            part.lend()

    def _make_room(self) -> None:
        """Wait until each can take a part; leave out those that failed, and those that are waited for too long."""
        for number, lane in enumerate(tuple(self._lanes)):
            limit_s, begun = self._limit(lane, first=number == 0), time.monotonic()
            try:
                if not lane.upload.make_room(limit_s):
                    self._leave_out(lane, self._too_slow())
            except Exception as error:  # noqa: BLE001  (whatever it is, it costs the others nothing)
                self._leave_out(lane, error)
            if number:
                lane.left_s -= time.monotonic() - begun

    def _limit(self, lane: _Lane, *, first: bool) -> float | None:
        """Return how long to wait for one now: as long as it takes if nobody else would have the backup then."""
        if len(self._lanes) <= self._required:
            return None
        return self._patience_s if first else max(0.0, lane.left_s)

    def _too_slow(self) -> PgRoundtripError:
        said = f"it held up the backup for {human_seconds(self._patience_s)}"
        return StorageError(said, during=UPLOAD, hint=_SLOW, transient=True)

    def complete(self) -> None:
        """Make the object visible in each; raises, and removes it again, if too few have it in the end."""
        last = self._buffer.rest()
        self._lend(last)
        ends = [(lane, _in_thread(lane.upload, last)) for lane in self._lanes]
        for number, (lane, end) in enumerate(ends):
            begun = time.monotonic()
            try:
                end.result(self._limit(lane, first=number == 0))
            except OutOfTime:
                self._leave_out(lane, self._too_slow(), enough=True)
            except Exception as error:  # noqa: BLE001
                self._leave_out(lane, error, enough=True)
            if number:
                lane.left_s -= time.monotonic() - begun
        self._await_leaving()
        if len(self._lanes) < self._required:
            self._take_back([lane for lane, _ in ends])
            raise self._last_error

    def _take_back(self, lanes: Sequence[_Lane]) -> None:
        """Remove what is complete where that is too little: nobody else can have objects of names that we claimed."""

        def remove() -> None:
            for lane in lanes:
                if lane in self._lanes:
                    lane.upload.take_back()

        within(_ABORT_S, remove)

    def abort(self) -> None:
        """Leave nothing behind. Any thread may call it, even while another is blocked in `write`."""
        with self._lock:
            self._given_up = True
        for lane in tuple(self._lanes):
            self._leaving.append(_started(lane.upload.abort))
        self._await_leaving()
        self._buffer.close()

    def _leave_out(self, lane: _Lane, error: Exception, *, enough: bool = False) -> None:
        """Go on without one; raises its error if too few are left, unless that is looked at later."""
        self._insist_on_going_on()
        self._lanes.remove(lane)
        self._leaving.append(_started(lane.upload.abort))
        told = error if isinstance(error, PgRoundtripError) else StorageError(type(error).__name__, during=UPLOAD)
        self._last_error = told
        if len(self._lanes) >= self._required:
            self._note(lane.name, told)
        elif not enough:
            raise told

    def _insist_on_going_on(self) -> None:
        if self._given_up:
            raise InterruptedError("the upload was aborted")

    def _await_leaving(self) -> None:
        """Wait for what is being aborted, but not for long: the sweep of stale uploads takes care of the rest."""
        until = time.monotonic() + _ABORT_S
        for thread in self._leaving:
            thread.join(max(0.0, until - time.monotonic()))
        self._leaving.clear()


def common(providers: Collection[Provider]) -> Provider:
    """Return a provider with the limits of all of these: each part has to suit each of them."""
    return replace(
        next(iter(providers)),
        max_parts=min(p.max_parts for p in providers),
        min_part_bytes=max(p.min_part_bytes for p in providers),
        max_part_bytes=min(p.max_part_bytes for p in providers),
        equal_parts=any(p.equal_parts for p in providers),
    )


def lane_upload(store: Store, key: str, beside: str = "") -> Upload:
    """Return the upload of a storage that gets its parts from elsewhere: it needs no large buffer of its own."""
    return Upload(store, key, 0, part_bytes=MIB, beside=beside)


def _in_thread(upload: Upload, last: Part) -> Future[None]:
    """Finish an upload in a thread; not one of a pool, for which the process would wait at its end."""
    end: Future[None] = Future()
    _started(lambda: settle(end, lambda: upload.finish(last)))
    return end


def _started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name="upload", daemon=True)
    thread.start()
    return thread
