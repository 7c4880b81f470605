"""Read a backup as a stream that is checked while it flows, and feed it to psql without ever letting a bad end through.

psql takes the end of its input for the end of the data, also in the middle of a COPY block, and then commits what
it has. So the last part of the stream is held back until size, checksum and completion comment are known to be
right; on any fault psql is killed before its input ends, and the server rolls back.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blocks.errors import (
    BackupDamaged,
    EmptyBackup,
    PgRoundtripError,
    RestoreError,
)
from blocks.postgres import NO_LIMITS, PostgresServer
from blocks.settings import child_environment
from blocks.storage import BackupStorage
from tasks.engine import checklist
from tasks.engine.catalog import Backup
from tasks.engine.clients import Client, major_of
from tasks.engine.dump_stream import DumpScanner, DumpSummary
from tasks.engine.gzip_blocks import decompress
from tasks.engine.manifest import Manifest
from tasks.engine.process import Child
from tasks.engine.psql_errors import complaint_of

_HELD_BYTES = 1 << 20
_QUEUED_CHUNKS = 8
_PROGRESS_EVERY_S = 5.0
# Durability is wanted once, at the end, not at every statement; and a role's own limits must not cut a restore short.
# The minor releases in which psql learned to be restricted (CVE-2025-8714); from 18 on it always could.
_RESTRICT_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
# A superuser's restore fires no event trigger: an audit of DDL would write rows that were not dumped.
_NO_EVENT_TRIGGERS = (
    b"SELECT pg_catalog.set_config(name, CASE name WHEN 'event_triggers' THEN 'off' ELSE 'replica' END, false)"
    b" FROM pg_catalog.pg_settings WHERE name = CASE WHEN current_setting('server_version_num')::int >= 170000"
    b" THEN 'event_triggers' ELSE 'session_replication_role' END"
    b" AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);\n"
)
_PREAMBLE = b"SET synchronous_commit = off;\nSET client_min_messages = warning;\n%s;\n" % NO_LIMITS.encode()
# One process at a time: the others are for those whose server it is.
_GENTLY = b"SET max_parallel_maintenance_workers = 0;\nSET max_parallel_workers_per_gather = 0;\n"


@dataclass(frozen=True)
class Flow:
    """What came down from the storage and went through the scanner."""

    summary: DumpSummary
    object_bytes: int
    sha256: str
    seconds: float


@dataclass(frozen=True)
class Manner:
    """How psql is fed: what it may use, and who is told of what goes by."""

    single_transaction: bool = False
    gentle: bool = False  # the server has other things to do
    timeout_s: float | None = None
    prepare: Callable[[DumpSummary], None] | None = None  # called before what the summary has seen reaches the server
    progress: Callable[[int], None] | None = None  # called now and then with the bytes of the object that were read


class BackupReader:
    """One backup as a checked stream of SQL."""

    def __init__(
        self,
        storage: BackupStorage,
        backup: Backup,
        manifest: Manifest | None,
        *,
        keep_schema: bool = False,
        earlier: BackupReader | None = None,
    ) -> None:
        self.agrees = True  # with an earlier reading, as far as that one came
        self._reached = earlier.object_bytes if earlier else 0
        self._there = earlier.digest if earlier else b""
        self._storage = storage
        self._backup = backup
        self._manifest = manifest
        self._scanner = DumpScanner(keep_schema=keep_schema)
        self._sha256 = hashlib.sha256()
        self._object_bytes = 0
        self._started = time.monotonic()
        self._flow: Flow | None = None

    @property
    def object_bytes(self) -> int:
        """How much was read of the object so far."""
        return self._object_bytes

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what was read of the object so far."""
        return self._sha256.digest()

    @property
    def seen(self) -> DumpSummary:
        """What the scanner has seen so far."""
        return self._scanner.summary

    @property
    def dump_major(self) -> int:
        """The major version of the pg_dump that wrote what was read so far; 0 when it does not say."""
        return major_of(self._scanner.summary.client_version)

    def blocks(self) -> Iterator[bytes]:
        """Yield the SQL, scanned already; raises BackupDamaged as soon as something is wrong."""
        for block in _ahead(decompress(self._object())):
            self._scanner.feed(block)
            if self._scanner.summary.unknown_commands:
                raise _refusal(self._scanner.summary.unknown_commands[0])
            if self._scanner.summary.beyond:
                raise RestoreError(
                    f"it would change more than its database: {self._scanner.summary.beyond}",
                    hint="pg_dump writes no such statement for one database; read it, and restore it by hand",
                )
            yield block

    def take_restrictions(self) -> list[int]:
        """Where in the SQL the dump's own restrictions of psql stand, since the last call."""
        return self._scanner.take_restrictions()

    def check(self) -> Flow:
        """Say what went by, after the last block; raises BackupDamaged unless all of it is what was stored."""
        if self._flow:
            return self._flow
        summary = self._scanner.finish()
        flow = Flow(summary, self._object_bytes, self._sha256.hexdigest(), time.monotonic() - self._started)
        if self._manifest:
            if flow.object_bytes != self._manifest.object_bytes:
                raise BackupDamaged(
                    f"it has {flow.object_bytes} bytes, the manifest says {self._manifest.object_bytes}",
                    check=checklist.SIZE,
                )
            if flow.sha256 != self._manifest.sha256:
                raise BackupDamaged("its SHA-256 is not the one in the manifest", check=checklist.SIZE)
        if summary.problem:
            if not summary.raw_bytes:
                raise EmptyBackup("there is no SQL in it", check=checklist.COMPLETE)
            raise BackupDamaged(f"the dump is not whole: {summary.problem}", check=checklist.COMPLETE)
        self._flow = flow
        return flow

    def _object(self) -> Iterator[bytes]:
        for chunk in self._storage.open_range(self._backup.key):
            self._compare(chunk)
            self._sha256.update(chunk)
            self._object_bytes += len(chunk)
            yield chunk

    def _compare(self, chunk: bytes) -> None:
        """See, where the earlier reading ended, whether it read the same."""
        rest = self._reached - self._object_bytes
        if 0 < rest <= len(chunk):
            here = self._sha256.copy()
            here.update(memoryview(chunk)[:rest])
            self.agrees = here.digest() == self._there


def _refusal(command: str) -> PgRoundtripError:
    """The error for a psql command in a backup: psql would run it, even a shell command."""
    if command.startswith("\\connect "):
        return RestoreError(
            "the dump chooses its database by itself",
            hint="another tool made this backup with pg_dump --create; restore it by hand, with psql",
        )
    return BackupDamaged(f"it holds a psql command: {command}", check=checklist.COMPLETE)


def read_through(reader: BackupReader) -> Flow:
    """Check a whole backup and restore nothing."""
    for _ in reader.blocks():
        pass
    return reader.check()


def feed_psql(reader: BackupReader, target: PostgresServer, client: Client, manner: Manner = Manner()) -> Flow:
    """Restore a backup into a database; returns when all of it is in.

    Raises BackupDamaged for what is wrong with the backup, RestoreFailed with the server's error code for what the
    server refused, DrillTimedOut when it took longer than it may.
    """
    command = [client.program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1",
               "--set=VERBOSITY=verbose", *target.child_options(), *(["--single-transaction"] if manner.single_transaction else []), "--file=-"]  # fmt: skip
    with Child(command, child_environment(target.child_environment()), feed=True) as psql:
        if manner.timeout_s is not None:
            psql.limit(manner.timeout_s)
        try:
            psql.write(_restriction(client) + _PREAMBLE + (_GENTLY if manner.gentle else b"") + _NO_EVENT_TRIGGERS)
            for block in _held_back(reader, manner):
                psql.write(block)
            psql.end_input()
        except BrokenPipeError:
            psql.wait(30)
            raise complaint_of(psql) from None
        if psql.wait():
            raise complaint_of(psql)
        return reader.check()


def _restriction(client: Client) -> bytes:
    """Forbid psql all of its commands, shell commands above all, whatever it reads from here on.

    The scanner refuses them too; but a dump made for it could mean one thing to the scanner and another to psql.
    """
    since = _RESTRICT_SINCE.get(client.major, 0 if client.major > max(_RESTRICT_SINCE) else 99)
    return b"\\restrict %s\n" % secrets.token_hex(32).encode() if client.minor >= since else b""


def _held_back(reader: BackupReader, manner: Manner) -> Iterator[bytes]:
    """Yield a backup's blocks, the last ones only when all of it is known to be right."""
    held: deque[bytes] = deque()
    held_bytes, first, told = 0, 0, time.monotonic()
    restrictions: set[int] = set()

    def release() -> bytes:
        nonlocal held_bytes, first
        block = _unrestricted(held.popleft(), first, restrictions)
        held_bytes, first = held_bytes - len(block), first + len(block)
        return block

    for block in reader.blocks():
        if manner.prepare:
            manner.prepare(reader.seen)
        restrictions.update(reader.take_restrictions())
        held.append(block)
        held_bytes += len(block)
        while held_bytes - len(held[0]) >= _HELD_BYTES:
            yield release()
        if manner.progress and time.monotonic() - told >= _PROGRESS_EVERY_S:
            told = time.monotonic()
            manner.progress(reader.object_bytes)
    reader.check()
    restrictions.update(reader.take_restrictions())
    if manner.prepare:
        manner.prepare(reader.seen)
    while held:
        yield release()


def _unrestricted(block: bytes, first: int, restrictions: set[int]) -> bytes:
    """Make comments of the dump's own restrictions, for ours is in force; `first` is the block's offset in the SQL."""
    places = [at + n - first for at in restrictions for n in (0, 1) if 0 <= at + n - first < len(block)]
    if not places:
        return block
    changed = bytearray(block)
    for place in places:
        changed[place : place + 1] = b"-"
    return bytes(changed)


def _ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Download and decompress in a thread of its own, a few blocks ahead, while psql is busy."""
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
        except BaseException as error:  # noqa: BLE001  (raised again by the reader of the queue)
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
        thread.join(timeout=2)  # it may be waiting for the network; it is a daemon, and nobody waits for it
