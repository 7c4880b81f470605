"""Send a dump to a server one statement at a time, so that what runs is what was judged.

The extended query protocol refuses a text that holds more than one statement, and rows travel in messages of their own:
no reading of quotes, comments or line ends can turn data into a command.
Source: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
"""

from __future__ import annotations

import contextlib
import select
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

from blocks.sql import sqlstate

_END_OF_ROWS = b"\\.\n"
# How long to wait for the socket before looking anyway: bytes that TLS has already read do not wake it.
_LOOK_EVERY_S = 1.0
_CANCEL_S = 3.0
_LONGEST_LINE_BYTES, _MOST_LINES = 2_000, 100
_DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY)


class OutOfTime(Exception):
    """The time for a session has passed."""


@dataclass(frozen=True)
class Refusal:
    """What a server says when it does not carry out a statement; `context` has one line per level, innermost first."""

    sqlstate: str
    message: str
    context: tuple[str, ...] = ()


class RestoreSession:
    """A session that carries out a dump's statements; if it is left with an error, it is closed without a commit.

    Raises psycopg.OperationalError when the connection is lost, OutOfTime when `timeout_s` has passed.
    """

    def __init__(self, opened: psycopg.Connection[Any], timeout_s: float | None = None) -> None:
        self._opened = opened
        self._pgconn: PGconn = opened.pgconn
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._held = b""  # the last bytes of the rows so far: they may be their end marker
        self._takes_rows = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:
            # Otherwise the server would go on with what it does, and commit it.
            with contextlib.suppress(psycopg.Error, OSError):
                self._opened.cancel_safe(timeout=_CANCEL_S)
            self._pgconn.finish()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._pgconn.transaction_status != pq.TransactionStatus.IDLE

    def execute(self, statement: bytes, *, rows_follow: bool = False) -> Refusal | None:
        """Carry out one statement, or return why not; if rows follow, up to where the server waits for them."""
        self._pgconn.send_query_params(statement, None)
        refusal = self._outcome()
        if not refusal and self._takes_rows != rows_follow:
            return Refusal(sqlstate.SYNTAX_ERROR, "the server disagrees on whether rows follow the statement")
        return refusal

    def write_rows(self, data: memoryview) -> None:
        """Send rows in COPY's text format, split anywhere; their end marker is among them and is not sent."""
        if len(data) < len(_END_OF_ROWS):
            data = memoryview(self._held + data)
        else:
            self._put(self._held)
        self._held = bytes(data[-len(_END_OF_ROWS) :])
        self._put(data[: -len(_END_OF_ROWS)])

    def end_rows(self) -> Refusal | None:
        """Say that these were all rows of the table; raises ValueError if their end marker was not the last thing written."""
        if self._held != _END_OF_ROWS:
            raise ValueError("rows without an end marker")
        self._held = b""
        self._pgconn.put_copy_end()
        return self._outcome()

    def _put(self, data: memoryview | bytes) -> None:
        if data:
            self._pgconn.put_copy_data(data)
            self._flush()
            if self._wait(select.POLLIN, 0):
                self._pgconn.consume_input()  # notices a connection that is gone, which sending does not

    def _outcome(self) -> Refusal | None:
        """Wait until the server has answered, or waits for rows."""
        refusal, self._takes_rows = None, False
        try:
            while (result := self._next_result()) is not None:
                if result.status == pq.ExecStatus.COPY_IN:
                    self._takes_rows = True
                    break
                if result.status not in _DONE:
                    refusal = refusal or _refusal(result)
                    if result.status != pq.ExecStatus.FATAL_ERROR:
                        break
        except psycopg.OperationalError:
            if not refusal:
                raise
        return refusal

    def _next_result(self) -> PGresult | None:
        self._flush()
        while self._pgconn.is_busy():
            self._wait(select.POLLIN)
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _flush(self) -> None:
        while self._pgconn.flush():
            self._wait(select.POLLIN | select.POLLOUT)
            self._pgconn.consume_input()

    def _wait(self, events: int, at_most_s: float = _LOOK_EVERY_S) -> bool:
        """Wait for the socket; raises OutOfTime when the time is up."""
        if self._deadline is not None:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise OutOfTime
            at_most_s = min(at_most_s, left_s)
        poll = select.poll()
        poll.register(self._pgconn.socket, events)
        return bool(poll.poll(at_most_s * 1000))


def _refusal(result: PGresult) -> Refusal:
    """Read what the server says; raises psycopg.OperationalError if it comes from libpq, which lost the connection."""
    code, message, context = (
        (result.error_field(field) or b"")[: _MOST_LINES * _LONGEST_LINE_BYTES].decode(errors="replace").splitlines()
        for field in (
            pq.DiagnosticField.SQLSTATE,
            pq.DiagnosticField.MESSAGE_PRIMARY,
            pq.DiagnosticField.CONTEXT,
        )
    )
    if not code:
        raise psycopg.OperationalError(result.error_message.decode(errors="replace").strip() or "connection lost")
    lines = tuple(line.strip()[:_LONGEST_LINE_BYTES] for line in context[:_MOST_LINES])
    return Refusal(code[0], (message or [""])[0][:_LONGEST_LINE_BYTES], lines)
