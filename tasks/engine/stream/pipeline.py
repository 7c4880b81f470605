"""Move a dump from its source to the storage in one pass: scan, compress, hash, upload, all at the same time.

    source ──► scan ──► compress (all cores) ──► SHA-256 ──► parts ──► storage
    reading thread      worker threads           writing thread        upload threads

Every arrow is a bounded queue, so memory does not grow with the database, and the slowest stage alone
decides the speed. The heavy calls (read, compress, hash, send) all free the interpreter.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from blocks.errors import BackupDamaged, DatabaseTimeout, DumpFailed, EmptyBackup
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.stream.gzip_members import BLOCK_BYTES, compressor

_PROGRESS_EVERY_S = 5.0
_END_S = 1.0
# A dump that says nothing for this long never will: it waits five minutes for a lock at most, and no query of its takes so long.
_SILENCE_S = 3600.0
# A COPY statement may begin this many blocks before the one that it ends in, and is still indexed.
_RECENT = 64
_MISREAD = "write that routine's body as a string ($$ … $$), or rename the column: psql cannot read this dump either"


class Source(Protocol):
    """Where the dump comes from."""

    @property
    def output(self) -> int:
        """The file descriptor to read."""

    def check_end(self) -> None:
        """Raise unless the dump was written to its end; called after the last byte was read."""


class Sink(Protocol):
    """Where the object goes. What was written is visible after `complete`, and only then."""

    def write(self, data: bytes) -> None:
        """Take the next bytes of the object; may wait when the storage is slow."""

    def complete(self) -> None:
        """Make the object visible."""

    def abort(self) -> None:
        """Leave nothing behind, and let no `write` wait any longer: it may be waiting in another thread."""


@dataclass
class StreamResult:
    """What went through: the dump's summary, and the object as it was written."""

    summary: DumpSummary
    object_bytes: int = 0
    sha256: str = ""
    # Where members begin in the object, for the blocks that a table begins in.
    member_offsets: dict[int, int] = field(default_factory=dict)

    def locate(self, start: int) -> tuple[int, int]:
        """Where a table stands that begins at `start` of the SQL: the gzip member's offset in the object, and the bytes to skip in it."""
        return self.member_offsets[start // BLOCK_BYTES], start % BLOCK_BYTES


def stream_dump(
    source: Source, sink: Sink, level: int, progress: Callable[[int, int], None] | None = None
) -> StreamResult:
    """Carry a dump from `source` to `sink`; returns what was stored.

    `progress` is called now and then with the raw and the compressed bytes so far. On any error the sink is
    aborted and the error raised: no object becomes visible. The source's end is checked before the sink completes:
    a dead dump still closes its pipe cleanly, and only the exit code tells.
    """
    scanner = DumpScanner()
    workers = max(2, os.cpu_count() or 2)
    with ThreadPoolExecutor(workers, "compress") as pool:
        writer = _Writer(sink, limit=2 * workers + 2)
        try:
            _read_blocks(source, scanner, pool, compressor(level), writer, progress)
            source.check_end()
            summary = scanner.finish()
            writer.finish()
            _insist_on_whole(summary, in_body=scanner.in_body)
            sink.complete()
        except BaseException as error:
            writer.give_up()
            sink.abort()  # before the wait: the writer may be waiting for the storage
            writer.wait()
            if isinstance(error, BackupDamaged):  # by what the scanner bears
                raise DumpFailed(error.context, hint=_MISREAD if scanner.in_body else "") from None
            raise
    return StreamResult(summary, writer.object_bytes, writer.sha256.hexdigest(), writer.offsets)


def _insist_on_whole(summary: DumpSummary, *, in_body: bool) -> None:
    """Keep nothing that we could not restore: an exit code of 0 does not say that the dump came to its end."""
    if not summary.raw_bytes:
        raise EmptyBackup(
            "pg_dump wrote nothing", hint="the exit code was 0; look at the pg_dump in use and at the database"
        )
    if summary.problem:
        hint = _MISREAD if in_body else "the exit code was 0; look at the pg_dump in use"
        raise DumpFailed(f"the dump is not whole: {summary.problem}", hint=hint)
    if summary.unknown_commands:
        raise DumpFailed(f"the dump holds a psql command: {summary.unknown_commands[0]}")


def scan_dump(source: Source, scanner: DumpScanner) -> DumpSummary:
    """Read a dump for its summary alone; raises when it did not come to a good end."""
    while block := _read_block(source.output):
        scanner.feed(block)
    source.check_end()
    return scanner.finish()


def _read_blocks(source: Source, scanner: DumpScanner, pool: ThreadPoolExecutor, compress: Callable[[bytes], bytes],
                 writer: _Writer, progress: Callable[[int, int], None] | None) -> None:  # fmt: skip
    number, raw_bytes, told = 0, 0, time.monotonic()
    while block := _read_block(source.output):
        member = pool.submit(compress, block)
        scanner.feed(block)
        starts = [start // BLOCK_BYTES for start in scanner.take_table_starts()]
        writer.put(member, number, starts)
        number, raw_bytes = number + 1, raw_bytes + len(block)
        if progress and time.monotonic() - told >= _PROGRESS_EVERY_S:
            told = time.monotonic()
            progress(raw_bytes, writer.object_bytes)


def _read_block(descriptor: int) -> bytes:
    """Read exactly one block, less only at the end of the stream."""
    parts, missing = [], BLOCK_BYTES
    while missing and (part := _read_soon(descriptor, missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _read_soon(descriptor: int, limit: int) -> bytes:
    readable = select.poll()  # which, unlike `select`, takes any descriptor
    readable.register(descriptor, select.POLLIN)
    if not readable.poll(_SILENCE_S * 1000):
        raise DatabaseTimeout(f"pg_dump said nothing for {_SILENCE_S / 60:.0f} minutes")
    return os.read(descriptor, limit)


class _Writer:
    """Write members in their order, however they finish, in a thread of its own."""

    def __init__(self, sink: Sink, limit: int) -> None:
        self.sha256 = hashlib.sha256()
        self.object_bytes = 0
        self.offsets: dict[int, int] = {}
        self._sink = sink
        self._recent: dict[int, int] = {}
        self._error: BaseException | None = None
        self._given_up = False
        self._queue: queue.Queue[tuple[Future[bytes], int, list[int]] | None] = queue.Queue(limit)
        self._thread = threading.Thread(target=self._work, name="write", daemon=True)
        self._thread.start()

    def put(self, member: Future[bytes], number: int, starts: list[int]) -> None:
        """Queue a member; `starts` are the numbers of members, this one or just before, that tables begin in."""
        self._queue.put((member, number, starts))
        if self._error:
            raise self._error

    def finish(self) -> None:
        """Wait until everything is written."""
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error

    def give_up(self) -> None:
        """Write no more of what is queued."""
        self._given_up = True
        with contextlib.suppress(queue.Full):  # then it is busy, and looks before the next
            self._queue.put_nowait(None)

    def wait(self) -> None:
        """Wait until nothing more is written; not for ever, because a storage may not answer."""
        self._thread.join(_END_S)

    def _work(self) -> None:
        # After an error the queue is still emptied, so that nobody waits for a place in it.
        while (item := self._queue.get()) and not self._given_up:
            if self._error is None:
                try:
                    self._write(*item)
                except BaseException as error:  # noqa: BLE001  (raised again in the reading thread)
                    self._error = error

    def _write(self, member: Future[bytes], number: int, starts: list[int]) -> None:
        data = member.result()
        self._recent[number] = self.object_bytes
        self._recent.pop(number - _RECENT, None)
        self.offsets.update({n: self._recent[n] for n in starts if n in self._recent})
        self.sha256.update(data)
        self.object_bytes += len(data)
        self._sink.write(data)
