"""Load a backup into a database, and commit its end only once all of it is known to be right.

No text reaches the server as a whole: each statement is sent by itself after it was judged, rows as rows. A problem with
the backup closes the session, and the server rolls back what is not committed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from blocks.errors import DrillTimedOut, RestoreFailed
from blocks.sql import sqlstate
from blocks.sql.connection import Connection
from blocks.sql.restore_session import OutOfTime, Refusal, RestoreSession
from blocks.sql.server import Server
from tasks.engine.dump.source_settings import settable
from tasks.engine.dump.steps import Rows, Statement, Step
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.dump.text_settings import read_preamble
from tasks.engine.restore.reader import ReadResult
from tasks.engine.restore.refusals import error_of

_PROGRESS_EVERY_S = 5.0
_SET = "SELECT pg_catalog.set_config(%s, %s, false)"
# Durability matters once, at the end, not for every statement; and our sessions' own limits are not for a restore.
_UNLIMITED = "SET synchronous_commit = off; SET statement_timeout = 0; RESET max_parallel_workers_per_gather"
# Use one process at a time: leave the rest of the server to its users.
_GENTLY = "SET max_parallel_maintenance_workers = 0; SET max_parallel_workers_per_gather = 0"
# Turn off event triggers in a superuser's restore: one that audits DDL would write rows that were not dumped.
_NO_EVENT_TRIGGERS = """
SELECT pg_catalog.set_config(name, CASE name WHEN 'event_triggers' THEN 'off' ELSE 'replica' END, false)
FROM pg_catalog.pg_settings WHERE name = CASE WHEN current_setting('server_version_num')::int >= 170000
THEN 'event_triggers' ELSE 'session_replication_role' END
AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)"""
# If the role is allowed to set it: some refusals are recognized by their wording too.
_IN_ENGLISH = """
SELECT pg_catalog.set_config('lc_messages', 'C', false)
WHERE (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)"""
# Nobody reads them here, and one can be as large as a value.
_NO_WARNINGS = "SET client_min_messages = error"
_TOLD = re.compile(rb"SET client_min_messages\b")
# What begins or ends a transaction in a dump: pg_dump puts large objects into transactions of their own.
_TRANSACTION = re.compile(rb"(?:BEGIN|COMMIT|START)\b")


@dataclass(frozen=True)
class RestoreOptions:
    """How to restore: what it may use, and the callbacks along the way."""

    single_transaction: bool = False
    gentle: bool = False  # the server has other things to do
    settings: Mapping[str, str] = field(default_factory=dict)  # under which the source computed values
    monetary: str = ""  # the lc_monetary that the dump was written under; the server's own if unknown
    timeout_s: float | None = None
    prepare: Callable[[DumpSummary], None] | None = None  # called before what the summary has seen reaches the server
    progress: Callable[[int], None] | None = None  # called every few seconds with the bytes read from the object


class SqlStream(Protocol):
    """SQL that is scanned before the server gets it."""

    @property
    def object_bytes(self) -> int:
        """How many bytes were read from the source so far."""

    @property
    def seen(self) -> DumpSummary:
        """What the scanner has seen so far."""

    def batches(self) -> Iterator[list[Step]]:
        """Yield what to carry out; raises before a server sees what it must not."""

    def expect_encoding(self, server_encoding: str) -> None:
        """Know the encoding of the database that it is restored to."""

    def check(self) -> ReadResult:
        """Return what was read, after the last batch; raises unless it is whole."""


def load(reader: SqlStream, target: Server, options: RestoreOptions = RestoreOptions()) -> ReadResult:
    """Restore a backup into a database; return when all of it is in.

    Raises BackupDamaged for a problem with the backup, RestoreFailed with the server's error code for what the
    server refused, DrillTimedOut when the time limit was exceeded.
    """
    with target.connect() as connection:
        reader.expect_encoding(connection.server_encoding)
        _prepare(connection, options)
        try:
            with connection.restore_session(options.timeout_s) as session:
                return _load(reader, session, options)
        except OutOfTime:
            raise DrillTimedOut from None


def _prepare(connection: Connection, options: RestoreOptions) -> None:
    """Give a session the settings under which the backup must be read."""
    wanted = settable(connection, options.settings)
    connection.execute(_UNLIMITED)
    connection.execute(_NO_WARNINGS)
    for name, value in wanted.items():
        connection.query(_SET, name, value)
    connection.query(read_preamble(options.monetary))
    if options.gentle:
        connection.execute(_GENTLY)
    connection.query(_NO_EVENT_TRIGGERS)
    connection.query(_IN_ENGLISH)


def _load(reader: SqlStream, session: RestoreSession, options: RestoreOptions) -> ReadResult:
    late: list[bytes] = []
    told = time.monotonic()
    if options.single_transaction:
        _demand(session.execute(b"BEGIN"))
    for batch in reader.batches():
        if options.prepare:
            options.prepare(reader.seen)
        for step in batch:
            if isinstance(step, Statement) and step.late:
                late.append(step.text)
            else:
                _carry_out(session, step, options)
        if options.progress and time.monotonic() - told >= _PROGRESS_EVERY_S:
            told = time.monotonic()
            options.progress(reader.object_bytes)
    result = reader.check()
    for statement in [b"RESET SESSION AUTHORIZATION", *late] if late else []:
        _demand(session.execute(statement))
    if options.single_transaction:
        _demand(session.execute(b"COMMIT"))
    if session.in_transaction:
        raise RestoreFailed("it ends inside a transaction", sqlstate=sqlstate.INVALID_TRANSACTION_STATE)
    return result


def _carry_out(session: RestoreSession, step: Step, options: RestoreOptions) -> None:
    if isinstance(step, Rows):
        session.write_rows(step.data)
        if step.last:
            _demand(session.end_rows())
    elif not _TOLD.match(step.text) and not (options.single_transaction and _TRANSACTION.match(step.text)):
        _demand(session.execute(step.text, rows_follow=step.rows_follow))


def _demand(refusal: Refusal | None) -> None:
    if refusal:
        raise error_of(refusal)
