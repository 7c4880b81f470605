"""Feed a backup to psql without ever letting it commit a backup with a bad end.

psql treats the end of its input as the end of the data, even in the middle of a COPY block, and then commits what
it has. So the last part of the stream is held back until size, checksum and completion comment are known to be
right; on any problem psql is killed before its input ends, and the server rolls back.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from blocks.config.environment import child_environment
from blocks.sql.server import NO_LIMITS, SAFE_OPTION, SAFE_SESSION, Server
from tasks.engine.dump.scanner import Edit
from tasks.engine.dump.source_settings import as_statements, settable
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.dump.text_settings import read_preamble
from tasks.engine.process import Child
from tasks.engine.restore.psql_errors import error_of
from tasks.engine.restore.reader import ReadResult
from tasks.engine.servers.programs import Client

_HELD_BYTES = 1 << 20
_PROGRESS_EVERY_S = 5.0
# The minor releases that added \restrict to psql (CVE-2025-8714); from 18 on it was always there.
_RESTRICT_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
# Turn off event triggers in a superuser's restore: one that audits DDL would write rows that were not dumped.
_NO_EVENT_TRIGGERS = (
    b"SELECT pg_catalog.set_config(name, CASE name WHEN 'event_triggers' THEN 'off' ELSE 'replica' END, false)"
    b" FROM pg_catalog.pg_settings WHERE name = CASE WHEN current_setting('server_version_num')::int >= 170000"
    b" THEN 'event_triggers' ELSE 'session_replication_role' END"
    b" AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);\n"
)
# If the role is allowed to set it: some refusals are recognized by their wording too.
_IN_ENGLISH = (
    b"SELECT pg_catalog.set_config('lc_messages', 'C', false)"
    b" WHERE (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);\n"
)
# Durability matters once, at the end, not for every statement; and a role's own limits must not cut a restore short.
_PREAMBLE = f"{SAFE_SESSION};\nSET synchronous_commit = off;\nSET client_min_messages = warning;\n{NO_LIMITS};\n"
# A transaction that began before any setting could make it read-write; no query can precede this statement.
_WRITING = b"SET transaction_read_only = off;\n"
# Use one process at a time: leave the rest of the server to its users.
_GENTLY = b"SET max_parallel_maintenance_workers = 0;\nSET max_parallel_workers_per_gather = 0;\n"


@dataclass(frozen=True)
class RestoreOptions:
    """How to feed psql: what it may use, and the callbacks along the way."""

    single_transaction: bool = False
    gentle: bool = False  # the server has other things to do
    settings: Mapping[str, str] = field(default_factory=dict)  # under which the source computed values
    monetary: str = ""  # the lc_monetary that the dump was written under; the server's own if unknown
    timeout_s: float | None = None
    prepare: Callable[[DumpSummary], None] | None = None  # called before what the summary has seen reaches the server
    progress: Callable[[int], None] | None = None  # called every few seconds with the bytes read from the object


class SqlStream(Protocol):
    """SQL that was scanned before psql gets it."""

    @property
    def object_bytes(self) -> int:
        """How many bytes were read from the source so far."""

    @property
    def seen(self) -> DumpSummary:
        """What the scanner has seen so far."""

    def blocks(self) -> Iterator[bytes]:
        """Yield SQL that was scanned already; raises before psql sees what it must not."""

    def expect_encoding(self, server_encoding: str) -> None:
        """Know the encoding of the database that it is restored to."""

    def take_edits(self) -> list[Edit]:
        """What has to be changed in the SQL that was read since the last call."""

    def check(self) -> ReadResult:
        """Return what was read, after the last block; raises unless it is whole."""


def restore_with_psql(
    reader: SqlStream, target: Server, client: Client, options: RestoreOptions = RestoreOptions()
) -> ReadResult:
    """Restore a backup into a database; return when all of it is in.

    Raises BackupDamaged for a problem with the backup, RestoreFailed with the server's error code for what the
    server refused, DrillTimedOut when the time limit was exceeded.
    """
    command = [client.program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1",
               "--set=VERBOSITY=verbose", *target.child_options(), *(["--single-transaction"] if options.single_transaction else []), "--file=-"]  # fmt: skip
    with target.connect() as connection:
        preamble = _restriction(client) + _WRITING + _preamble(options, settable(connection, options.settings))
        safe = SAFE_OPTION if connection.takes_options else ""
        reader.expect_encoding(str(connection.query("SELECT pg_catalog.current_setting('server_encoding')")[0][0]))
    environ = child_environment(target.child_environment())
    if safe:
        environ["PGOPTIONS"] = f"{environ.get('PGOPTIONS', '')} {safe}".strip()
    del environ["PGTZ"]  # compute values in the source's time zone, or in the server's own if that is not known
    with Child(command, environ, feed=True) as psql:
        if options.timeout_s is not None:
            psql.limit(options.timeout_s)
        try:
            psql.write(preamble)
            for block in _held_back(reader, options):
                psql.write(block)
            psql.end_input()
        except BrokenPipeError:
            psql.wait(30)
            raise error_of(psql) from None
        if psql.wait():
            raise error_of(psql)
        return reader.check()


def _preamble(options: RestoreOptions, settings: Mapping[str, str]) -> bytes:
    """Return the statements for psql's session before it reads the dump."""
    preamble = f"{_PREAMBLE}{as_statements(settings)}{read_preamble(options.monetary)};\n".encode()
    return preamble + (_GENTLY if options.gentle else b"") + _NO_EVENT_TRIGGERS + _IN_ENGLISH


def _restriction(client: Client) -> bytes:
    """Forbid psql all backslash commands, shell commands above all, in whatever it reads from here on.

    The scanner refuses them too, but a crafted dump could mean one thing to the scanner and another to psql.
    """
    return b"\\restrict %s\n" % secrets.token_hex(32).encode() if can_be_restricted(client) else b""


def can_be_restricted(client: Client) -> bool:
    """Whether psql can be restricted; with an older one, only the scanner guards against commands."""
    since = _RESTRICT_SINCE.get(client.major, 0 if client.major > max(_RESTRICT_SINCE) else 99)
    return client.minor >= since


def _held_back(reader: SqlStream, options: RestoreOptions) -> Iterator[bytes]:
    """Yield a backup's blocks, the last ones only once the whole backup is known to be right."""
    held: deque[bytes] = deque()
    held_bytes, first, told = 0, 0, time.monotonic()
    edits: list[Edit] = []
    late: list[bytes] = []

    def release() -> bytes:
        nonlocal held_bytes, first, edits
        block = _edited(held.popleft(), first, edits)
        held_bytes, first = held_bytes - len(block), first + len(block)
        edits = [edit for edit in edits if edit.start + len(edit.over) > first]
        return block

    def look() -> None:
        if options.prepare:
            options.prepare(reader.seen)
        found = reader.take_edits()
        edits.extend(found)
        late.extend(edit.late for edit in found if edit.late)

    for block in reader.blocks():
        look()
        held.append(block)
        held_bytes += len(block)
        while held_bytes - len(held[0]) >= _HELD_BYTES:
            yield release()
        if options.progress and time.monotonic() - told >= _PROGRESS_EVERY_S:
            told = time.monotonic()
            options.progress(reader.object_bytes)
    reader.check()
    look()
    while held:
        yield release()
    if late:
        yield b"\n".join([b"\nRESET SESSION AUTHORIZATION;", *late, b""])


def _edited(block: bytes, first: int, edits: Sequence[Edit]) -> bytes:
    """Return a block with its edits; `first` is its offset in the SQL. An edit can extend into the next block."""
    changed = bytearray(block)
    for edit in edits:
        begin, end = max(edit.start, first), min(edit.start + len(edit.over), first + len(block))
        if begin < end:
            changed[begin - first : end - first] = edit.over[begin - edit.start : end - edit.start]
    return bytes(changed) if edits else block
