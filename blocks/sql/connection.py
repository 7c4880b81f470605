"""The single gateway to SQL: run statements and queries, and quote identifiers safely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from blocks.sql.errors import translated
from blocks.sql.restore_session import RestoreSession

Rows = list[tuple[Any, ...]]


class _AsPrinted(psycopg.adapt.Loader):
    def load(self, data: bytes | bytearray | memoryview) -> str:  # Python has no infinite dates
        return bytes(data).decode(errors="replace")


class Connection:
    """A psycopg connection reduced to what we need; it raises only our own errors."""

    def __init__(self, opened: psycopg.Connection[Any], address: str, *, takes_options: bool = False) -> None:
        self._opened = opened
        self._address = address
        self.takes_options = takes_options  # whether the server accepts our startup options

    @property
    def lost(self) -> bool:
        """Whether the connection is gone, as opposed to a statement that failed."""
        return self._opened.closed

    @property
    def server_encoding(self) -> str:
        """The encoding of the database."""
        return str(self.query("SELECT pg_catalog.current_setting('server_encoding')")[0][0])

    def limit(self, timeout_s: float) -> None:
        """Set the statement timeout for the rest of the session."""
        self.execute(f"SET statement_timeout = {max(1, min(int(timeout_s * 1000), 2**31 - 1))}")

    def query(self, statement: str, *values: Any) -> Rows:
        """Run a query and fetch all its rows; use it for small results only."""
        with translated(self._address):
            return list(self._opened.execute(statement.encode(), values or None).fetchall())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run several statements atomically."""
        with translated(self._address), self._opened.transaction():
            yield

    def execute(self, statement: str, *names: str, **literals: Any) -> None:
        """Run a statement; `{}` are identifiers in order, `{name}` are literals."""
        identifiers = [sql.Identifier(n) for n in names]
        composed = sql.SQL(statement).format(*identifiers, **{k: sql.Literal(v) for k, v in literals.items()})
        with translated(self._address):
            self._opened.execute(composed)

    @contextmanager
    def read_only(self, timeout_s: int) -> Iterator[None]:
        """Open a read-only transaction with a statement timeout; it is always rolled back."""
        limit_ms = min(timeout_s * 1000, 2**31 - 1)
        with translated(self._address), self._opened.transaction(force_rollback=True):
            self._opened.execute(f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {limit_ms}".encode())
            yield

    def stream(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one statement (a second is refused); all but booleans are text as the server prints it."""
        with translated(self._address), self._opened.cursor() as cursor:
            for oid in {0} | {oid for t in cursor.adapters.types if t.name != "bool" for oid in (t.oid, t.array_oid)}:
                cursor.adapters.register_loader(oid, _AsPrinted)
            yield from cursor.stream(statement.encode())

    def copy_in(self, statement: str, blocks: Iterable[bytes]) -> None:
        """Load rows with COPY … FROM STDIN; `blocks` are bytes in COPY's text format, split anywhere."""
        with translated(self._address), self._opened.cursor().copy(statement.encode()) as copy:
            for block in blocks:
                copy.write(block)

    def restore_session(self, timeout_s: float | None = None) -> RestoreSession:
        """Turn this connection into one that a dump is restored through, with names and rows in the database's encoding.

        A dump that names no encoding is in that one. The connection has no other use from then on.
        """
        self.execute("SET client_encoding TO {encoding}", encoding=self.server_encoding)
        return RestoreSession(self._opened, timeout_s)
