"""Be the one door through which we speak SQL: ask, do, and name things safely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from blocks.sql.errors import translated

Rows = list[tuple[Any, ...]]


class _AsPrinted(psycopg.adapt.Loader):
    def load(self, data: bytes | bytearray | memoryview) -> str:  # Python has no infinite dates
        return bytes(data).decode(errors="replace")


class Connection:
    """The few things we do with SQL: ask, do, and name things safely; every fault is one of our errors."""

    def __init__(self, opened: psycopg.Connection[Any], address: str, *, takes_options: bool = False) -> None:
        self._opened = opened
        self._address = address
        self.takes_options = takes_options  # whether a session there may begin with options of ours

    @property
    def lost(self) -> bool:
        """Whether the server is gone, and not only a statement refused."""
        return self._opened.closed

    def limit(self, timeout_s: float) -> None:
        """Give each statement from now on this long."""
        self.execute(f"SET statement_timeout = {max(1, min(int(timeout_s * 1000), 2**31 - 1))}")

    def query(self, statement: str, *values: Any) -> Rows:
        """Run a query and fetch all its rows; use it for small answers only."""
        with translated(self._address):
            return list(self._opened.execute(statement.encode(), values or None).fetchall())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do several things, or none of them."""
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
        """Look without touching: the server refuses to write, stops what takes too long, and keeps nothing."""
        limit_ms = min(timeout_s * 1000, 2**31 - 1)
        with translated(self._address), self._opened.transaction(force_rollback=True):
            self._opened.execute(f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {limit_ms}".encode())
            yield

    def stream(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one statement, a second being refused; all but booleans come as the server prints them."""
        with translated(self._address), self._opened.cursor() as cursor:
            for oid in {0} | {oid for t in cursor.adapters.types if t.name != "bool" for oid in (t.oid, t.array_oid)}:
                cursor.adapters.register_loader(oid, _AsPrinted)
            yield from cursor.stream(statement.encode())

    def copy_in(self, statement: str, blocks: Iterable[bytes]) -> None:
        """Load rows with COPY … FROM STDIN; `blocks` are bytes in COPY's text format, cut anywhere."""
        with translated(self._address), self._opened.cursor().copy(statement.encode()) as copy:
            for block in blocks:
                copy.write(block)
