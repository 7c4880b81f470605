"""Read a backup as a stream checked on the fly: its end is not accepted until all of it is known to be right."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from blocks.errors import (
    BackupDamaged,
    EmptyBackup,
    PgRoundtripError,
    RestoreError,
    StatementRefused,
)
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.steps import Step
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import major_of
from tasks.engine.stream.gzip_members import decompress
from tasks.engine.stream.stages import Count, Sha256, Stage, rest, through

_QUEUED_CHUNKS = 8


@dataclass(frozen=True)
class ReadResult:
    """What was downloaded from the storage and scanned."""

    summary: DumpSummary
    object_bytes: int
    sha256: str
    seconds: float


class BackupReader:
    """One backup as a checked stream of SQL."""

    def __init__(
        self,
        repository: Repository,
        backup: Backup,
        manifest: Manifest | None,
        *,
        keep_schema: bool = False,
        earlier: BackupReader | None = None,
        guarded: bool = True,
    ) -> None:
        self._guarded = guarded  # False if the SQL is only read and never executed
        self.agrees = True  # with an earlier reading, as far as that one got
        self._reached = earlier.object_bytes if earlier else 0
        self._there = earlier.digest if earlier else b""
        self._repository = repository
        self._backup = backup
        self._manifest = manifest
        self._scanner = DumpScanner(keep_schema=keep_schema, keep_steps=True)
        self._count, self._sha256 = Count(), Sha256()
        self._stages: list[Stage] = [self._count, self._sha256]
        self._started = time.monotonic()
        self._result: ReadResult | None = None

    @property
    def object_bytes(self) -> int:
        """The number of bytes of the object read so far."""
        return self._count.size_bytes

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the object as far as it was read."""
        return self._sha256.digest

    @property
    def seen(self) -> DumpSummary:
        """What the scanner has seen so far."""
        return self._scanner.summary

    @property
    def dump_major(self) -> int:
        """The major version of the pg_dump that wrote it; 0 if unknown, or not read yet."""
        return major_of(self._scanner.summary.client_version)

    def batches(self) -> Iterator[list[Step]]:
        """Yield what to carry out, scanned; raises BackupDamaged or StatementRefused before anything wrong is yielded."""
        for block in _ahead(decompress(self._repository.plain(self._backup, self._object()))):
            self._scanner.feed(block)
            yield self._scanned()
        self._scanner.finish()
        yield self._scanned()

    def _scanned(self) -> list[Step]:
        if self._scanner.summary.unknown_commands:
            raise _refusal(self._scanner.summary.unknown_commands[0])
        if self._guarded and self._scanner.summary.refused:
            raise StatementRefused(self._scanner.summary.refused)
        return self._scanner.take_steps()

    def expect_encoding(self, server_encoding: str) -> None:
        """Know the encoding of the database that the backup is restored to."""
        self._scanner.expect_encoding(server_encoding)

    def check(self) -> ReadResult:
        """Return the result after the last block; raises BackupDamaged unless all of it is what was stored."""
        if self._result:
            return self._result
        summary = self._scanner.finish()
        result = ReadResult(summary, self.object_bytes, self._sha256.hexdigest, time.monotonic() - self._started)
        if self._manifest:
            if result.object_bytes != self._manifest.object_bytes:
                raise BackupDamaged(
                    f"it has {result.object_bytes} bytes, the manifest says {self._manifest.object_bytes}",
                    check=checklist.SIZE,
                )
            if result.sha256 != self._manifest.sha256:
                raise BackupDamaged("its SHA-256 is not the one in the manifest", check=checklist.SIZE)
        if summary.problem:
            if not summary.raw_bytes:
                raise EmptyBackup("there is no SQL in it", check=checklist.COMPLETE)
            raise BackupDamaged(f"the dump is incomplete: {summary.problem}", check=checklist.COMPLETE)
        self._result = result
        return result

    def _object(self) -> Iterator[bytes]:
        for chunk in self._repository.read(self._backup):
            self._compare(chunk)
            yield through(self._stages, chunk)
        if last := rest(self._stages):
            yield last

    def _compare(self, chunk: bytes) -> None:
        """At the point where the earlier reading ended, check whether it read the same bytes."""
        missing = self._reached - self.object_bytes
        if 0 < missing <= len(chunk):
            self.agrees = self._sha256.digest_with(memoryview(chunk)[:missing]) == self._there


def _refusal(command: str) -> PgRoundtripError:
    """Return the error for a psql command in a backup: psql would run it, even a shell command."""
    if command.startswith("\\connect "):
        return RestoreError(
            "the dump selects its own database",
            hint="another tool made this backup with pg_dump --create; restore it by hand, with psql",
        )
    return BackupDamaged(f"it contains a psql command: {command}", check=checklist.COMPLETE)


def read_through(reader: BackupReader) -> ReadResult:
    """Check a whole backup without restoring it."""
    for _ in reader.batches():
        pass
    return reader.check()


def _ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Download and decompress in a separate thread, a few blocks ahead, while the server is busy."""
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED_CHUNKS)
    stopped = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.2)
                return

    def work() -> None:
        try:
            for block in blocks:
                put(block)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001  (re-raised by the reader of the queue)
            put(error)

    thread = threading.Thread(target=work, name="read", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join(timeout=2)  # it may be blocked on the network; as a daemon it does not delay the exit
