"""Move a dump from its source to the storage in one pass: scan, compress, hash, upload, all at the same time.

    source ──► scan ──► compress (threads)   ──► stages ──► parts ──► storage
    reading thread      worker threads           writing thread        upload threads

Every arrow is a bounded queue, so memory does not grow with the database, and the slowest stage determines
the speed. The heavy calls (read, compress, hash, send) all release the GIL.
"""

from __future__ import annotations

import contextlib
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
from tasks.engine.stream.member_index import MemberIndex
from tasks.engine.stream.stages import Count, Sha256, Stage, rest, through

_PROGRESS_EVERY_S = 5.0
_END_S = 1.0
# A dump that has been silent for this long is stuck: it waits at most five minutes for a lock, and none of its queries
# takes this long.
_SILENCE_S = 3600.0
# Eight threads compress faster than pg_dump writes.
_MOST_COMPRESSORS = 8
_MISREAD = "write that routine's body as a string ($$ … $$), or rename the column: psql cannot read this dump either"


class Source(Protocol):
    """Where the dump comes from."""

    @property
    def output(self) -> int:
        """The file descriptor to read."""

    def check_end(self) -> None:
        """Raise unless the dump was written to its end; call it after reading the last byte."""


class Sink(Protocol):
    """Where the object goes. It becomes visible only on `complete`."""

    def write(self, data: bytes) -> None:
        """Take the next bytes of the object; can block when the storage is slow."""

    def complete(self) -> None:
        """Make the object visible."""

    def abort(self) -> None:
        """Leave nothing behind, and release a `write` that may be blocked in another thread."""


@dataclass
class StreamResult:
    """The dump's summary, and the object as it was written."""

    summary: DumpSummary
    object_bytes: int = 0
    sha256: str = ""
    index: MemberIndex = field(default_factory=MemberIndex)

    def locate(self, start: int) -> tuple[int, int]:
        """Locate the table at SQL offset `start`: its member's offset in the object, and the bytes to skip in it."""
        return self.index.locate(start)


def stream_dump(
    source: Source, sink: Sink, level: int, progress: Callable[[int, int], None] | None = None, encrypt: Stage | None = None
) -> StreamResult:  # fmt: skip
    """Stream a dump from `source` to `sink`; return what was stored.

    `progress` is called every few seconds with the raw and the compressed bytes so far. On any error the sink is
    aborted and the error raised: no object becomes visible. The source's end is checked before the sink completes:
    a crashed dump closes its pipe just as cleanly as a finished one, and only the exit code tells them apart. With a
    stage to `encrypt`, tables are located in what was compressed, and size and SHA-256 are those of what is stored.
    """
    scanner = DumpScanner()
    workers = compressors()
    with ThreadPoolExecutor(workers, "compress") as pool:
        writer = _Writer(sink, 2 * workers + 2, encrypt)
        try:
            _read_blocks(source, scanner, pool, compressor(level), writer, progress)
            source.check_end()
            summary = scanner.finish()
            writer.finish()
            _insist_on_whole(summary, in_body=scanner.in_body)
            sink.complete()
        except BaseException as error:
            writer.give_up()
            sink.abort()  # before `wait`: the writer may be blocked on the storage
            writer.wait()
            if isinstance(error, BackupDamaged):  # from the scanner, whose limits the dump exceeds
                raise DumpFailed(error.context, hint=_MISREAD if scanner.in_body else "") from None
            raise
    return StreamResult(summary, writer.count.size_bytes, writer.sha256.hexdigest, writer.index)


def _insist_on_whole(summary: DumpSummary, *, in_body: bool) -> None:
    """Refuse to keep what we could not restore: an exit code of 0 does not prove that the dump is complete."""
    if not summary.raw_bytes:
        raise EmptyBackup(
            "pg_dump wrote nothing", hint="the exit code was 0; check which pg_dump is in use, and the database"
        )
    if summary.problem:
        hint = _MISREAD if in_body else "the exit code was 0; check which pg_dump is in use"
        raise DumpFailed(f"the dump is incomplete: {summary.problem}", hint=hint)
    if summary.unknown_commands:
        raise DumpFailed(f"the dump contains a psql command: {summary.unknown_commands[0]}")


def scan_dump(source: Source, scanner: DumpScanner) -> DumpSummary:
    """Read a dump only for its summary; raises if the dump did not end well."""
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
        writer.put(member, number, scanner.take_table_starts())
        number, raw_bytes = number + 1, raw_bytes + len(block)
        if progress and time.monotonic() - told >= _PROGRESS_EVERY_S:
            told = time.monotonic()
            progress(raw_bytes, writer.count.size_bytes)


def _read_block(descriptor: int) -> bytes:
    """Read exactly one block; less only at the end of the stream."""
    parts, missing = [], BLOCK_BYTES
    while missing and (part := _read_soon(descriptor, missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def compressors() -> int:
    """Return how many threads compress: each holds blocks, and a host can show many more cores than it gives."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return min(max(2, cores), _MOST_COMPRESSORS)


def _read_soon(descriptor: int, limit: int) -> bytes:
    readable = select.poll()  # unlike `select`, it takes any descriptor
    readable.register(descriptor, select.POLLIN)
    if not readable.poll(_SILENCE_S * 1000):
        raise DatabaseTimeout(f"pg_dump wrote nothing for {_SILENCE_S / 60:.0f} minutes")
    return os.read(descriptor, limit)


class _Writer:
    """A thread that sends members through the stages into the sink, in order, whichever is compressed first."""

    def __init__(self, sink: Sink, limit: int, encrypt: Stage | None) -> None:
        self.count, self.sha256, self.index = Count(), Sha256(), MemberIndex()
        self._compressed = Count()
        self._stages: list[Stage] = [self._compressed, *([encrypt] if encrypt else []), self.count, self.sha256]
        self._sink = sink
        self._error: BaseException | None = None
        self._given_up = False
        self._queue: queue.Queue[tuple[Future[bytes], int, list[int]] | None] = queue.Queue(limit)
        self._thread = threading.Thread(target=self._work, name="write", daemon=True)
        self._thread.start()

    def put(self, member: Future[bytes], number: int, starts: list[int]) -> None:
        """Queue a member; `starts` are the SQL offsets of tables in this member or one just before."""
        self._queue.put((member, number, starts))
        if self._error:
            raise self._error

    def finish(self) -> None:
        """Wait until everything is written."""
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error
        if last := rest(self._stages):
            self._sink.write(last)

    def give_up(self) -> None:
        """Stop writing what is queued."""
        self._given_up = True
        with contextlib.suppress(queue.Full):  # then the thread is busy, and checks the flag before its next item
            self._queue.put_nowait(None)

    def wait(self) -> None:
        """Wait until nothing more is written, but with a deadline: the storage may never respond."""
        self._thread.join(_END_S)

    def _work(self) -> None:
        # Keep emptying the queue after an error, so that `put` never blocks on a full one.
        while (item := self._queue.get()) and not self._given_up:
            if self._error is None:
                try:
                    self._write(*item)
                except BaseException as error:  # noqa: BLE001  (re-raised in the reading thread)
                    self._error = error

    def _write(self, member: Future[bytes], number: int, starts: list[int]) -> None:
        self.index.begin(number, self._compressed.size_bytes, starts)
        self._sink.write(through(self._stages, member.result()))
