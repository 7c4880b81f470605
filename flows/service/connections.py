"""Keep idle clients from blocking the service: timeouts for request heads and bodies, and a connection limit."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S, BODY_TIMEOUT_S = 10.0, 60.0
READ_TIMEOUT_S = 30.0  # for the client to read some of a response that does not fit the system's buffer
HEAD_BYTES = 32 << 10
MESSAGE_BYTES = 4 << 20  # of a WebSocket; Prefect's events are smaller than 1.5 MB
CONNECTIONS = 512
_OPEN_FILES = 65536
_EVERY_S, _KINDS = 60.0, 100
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, within reason, and return it: the default is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


class _Open:
    """The connections of this process, including WebSockets, in order of arrival."""

    def __init__(self) -> None:
        self._all: dict[asyncio.BaseTransport, PatientProtocol] = {}

    def admit(self, came: PatientProtocol, limit: int) -> None:
        """Make room by closing the oldest idle connection, or the newcomer if none is idle."""
        self._all = {transport: p for transport, p in self._all.items() if not transport.is_closing()}
        if len(self._all) >= limit:
            everybody = self._all.values()
            idle = next((p for rule in _IDLE for p in everybody if rule(p)), came)
            idle.transport.abort()
            logging.getLogger("uvicorn.error").warning(
                "Connections are at their limit of %d; idle ones are closed", limit
            )
        if not came.transport.is_closing():
            self._all[came.transport] = came


# What to close first: a connection without a complete request head, then one that does not read its response.
_IDLE: tuple[Callable[[PatientProtocol], bool], ...] = (lambda p: p.waits_for_head, lambda p: p.is_stalled)
_open = _Open()


class PatientProtocol(H11Protocol):
    """HTTP with timeouts for a request's head and body."""

    head_timeout_s, body_timeout_s, read_timeout_s, limit = HEAD_TIMEOUT_S, BODY_TIMEOUT_S, READ_TIMEOUT_S, CONNECTIONS
    _stall: asyncio.TimerHandle | None = None
    _timer: asyncio.TimerHandle | None = None
    _part = ""
    _upgraded = False

    @property
    def waits_for_head(self) -> bool:
        """Whether no request is being processed on it."""
        return self._part == "head"

    @property
    def is_stalled(self) -> bool:
        """Whether the client does not read its response."""
        return self._stall is not None

    def pause_writing(self) -> None:
        """Start the timeout for a client that does not read its response."""
        super().pause_writing()
        self._stall = self.loop.call_later(self.read_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timeout: the client has read part of the response."""
        super().resume_writing()
        self._end_stall()

    def _end_stall(self) -> None:
        if self._stall:
            self._stall.cancel()
        self._stall = None

    def connection_made(self, transport: Any) -> None:
        """Start the timeout for the first head."""
        super().connection_made(transport)
        _open.admit(self, self.limit)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Keep a timeout running from the start of the head or body: a trickle of bytes does not extend it."""
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        """Start the timeout for the next head; until any of it arrives, uvicorn's keep-alive timeout applies too."""
        super().on_response_complete()
        self._wait()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Stop these timeouts: WebSockets have their own."""
        self._upgraded = True
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeouts."""
        self._begin("")
        self._end_stall()
        super().connection_lost(exc)

    def _wait(self) -> None:
        state = self.conn.their_state
        if self._upgraded or self.transport.is_closing():
            self._begin("")
        else:
            self._begin("head" if state is h11.IDLE else "body" if state is h11.SEND_BODY else "")

    def _begin(self, part: str) -> None:
        if part == self._part:
            return
        self._part = part
        if self._timer:
            self._timer.cancel()
        limit_s = {"head": self.head_timeout_s, "body": self.body_timeout_s}.get(part)
        self._timer = self.loop.call_later(limit_s, self._too_late) if limit_s else None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.write(_LATE)
            self.transport.close()


class OnceAMinute(logging.Filter):
    """Pass one warning or error of each kind a minute, with the number of those suppressed before it."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[object, ...], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Group records by their message before formatting and by the type of the error."""
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, str(record.msg)[:60], record.exc_info[0] if record.exc_info else None)
        if len(self._seen) > _KINDS:
            self._seen.clear()
        now = time.monotonic()
        seen = self._seen.setdefault(kind, [-_EVERY_S, 0])
        if now - seen[0] < _EVERY_S:
            seen[1] += 1
            return False
        if seen[1]:
            record.msg = f"{str(record.msg).rstrip()} (and {seen[1]:.0f} times more before)"
        seen[:] = now, 0
        return True


def complain_seldom() -> None:
    """Limit log lines that requests can trigger, so that clients cannot fill the disk with them."""
    for name in ("asyncio", "uvicorn.error", "websockets.server"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, OnceAMinute) for f in logger.filters):
            logger.addFilter(OnceAMinute())
