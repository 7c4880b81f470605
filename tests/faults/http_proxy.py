"""Imitate a misbehaving provider in front of a real S3 server: requests pass unchanged unless a rule says otherwise.

The client signs the proxy's address. The Host header is passed on unchanged, so the signature is valid at the real
server.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, with a reset


@dataclass
class Answer:
    """The response to the client; `sent` is how much of the body is sent before the connection breaks."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    sent: int | None = None
    pause_s: float = 0.0  # between chunks of the body


class Request:
    """A client's request; its body is read on demand."""

    def __init__(self, handler: BaseHTTPRequestHandler, port: int) -> None:
        self.method, self.target, self.headers = handler.command, handler.path, handler.headers
        self._input, self._port = handler.rfile, port
        self._length = int(self.headers.get("Content-Length") or 0)
        self._body: bytes | None = None

    def read(self, count: int | None = None) -> bytes:
        """Return the body, or its first bytes."""
        if self._body is None:
            self._body = self._input.read(self._length if count is None else min(count, self._length))
        return self._body

    def forward(self) -> Answer:
        """Forward the request to the real server."""
        upstream = http.client.HTTPConnection("127.0.0.1", self._port)
        with contextlib.closing(upstream):
            upstream.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    upstream.putheader(name, value)
            upstream.endheaders(self.read() or None)
            answer = upstream.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())


class Broken(Exception):
    """Raised to reset the connection without a response."""


Deed = Callable[[Request], Answer]


@dataclass
class Rule:
    """What happens to matching requests: let `after` of them pass, then act `times` times (forever when None)."""

    method: str
    target: str
    deed: Deed
    after: int = 0
    times: int | None = None
    seen: int = 0  # matching requests
    done: int = 0  # requests that the rule acted on

    def counts(self, request: Request) -> bool:
        """Count a request; return whether the rule can act on it."""
        if not (re.fullmatch(self.method, request.method) and re.search(self.target, request.target)):
            return False
        self.seen += 1
        return self.seen > self.after and (self.times is None or self.done < self.times)


class S3Proxy:
    """A loopback port in front of an S3 server."""

    def __init__(self, port: int) -> None:
        self.requests: list[tuple[str, str]] = []
        self.headers_seen: list[tuple[str, set[str]]] = []
        self._server_port, self._rules = port, list[Rule]()
        self._lock, self._open = threading.Lock(), list[socket.socket]()
        self.port = 0
        self.listen()

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def on(self, method: str, target: str, deed: Deed, *, after: int = 0, times: int | None = None) -> Rule:
        """Add a rule; of several matching rules, the first that can act wins."""
        self._rules.append(Rule(method, target, deed, after, times))
        return self._rules[-1]

    def heal(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def listen(self) -> None:
        """Accept connections, always on the same port."""
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._listener = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._listener.daemon_threads = True
        self.listening = True
        self.port = int(self._listener.server_address[1])
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()

    def refuse(self) -> None:
        """Stop accepting connections, and reset the open ones."""
        self.listening = False
        self._listener.shutdown()
        self._listener.server_close()
        for each in self._open:
            _reset(each)
        self._open.clear()

    def answer(self, handler: BaseHTTPRequestHandler) -> Answer:
        """Choose the rule for a request and produce its response."""
        request = Request(handler, self._server_port)
        with self._lock:
            self.requests.append((request.method, request.target))
            self.headers_seen.append((request.method, {name.lower() for name in request.headers}))
            turns = [rule for rule in list(self._rules) if rule.counts(request)]
            if turns:
                turns[0].done += 1
        answer = turns[0].deed(request) if turns else request.forward()
        request.read()  # an unread body would be parsed as the next request
        return answer

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection."""
        self._open.append(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: S3Proxy

    def setup(self) -> None:
        super().setup()
        self.owner.opened(self.connection)

    def _any(self) -> None:
        try:
            answer = self.owner.answer(self)
        except Broken:
            self._break()
            return
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '')}"]
        kept = [(n, v) for n, v in answer.headers if n.lower() not in ("transfer-encoding", "connection")]
        if answer.status != 204 and "content-length" not in {n.lower() for n, _ in kept}:
            kept.append(("Content-Length", str(len(answer.body))))
        head = "\r\n".join([*lines, *(f"{n}: {v}" for n, v in kept), "", ""])
        with contextlib.suppress(OSError):
            self.wfile.write(head.encode("latin-1"))
            if self.command != "HEAD":
                self._send(answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = _any  # noqa: N815

    def _send(self, answer: Answer) -> None:
        body = answer.body if answer.sent is None else answer.body[: answer.sent]
        for start in range(0, len(body), _PIECE_BYTES):
            self.wfile.write(body[start : start + _PIECE_BYTES])
            time.sleep(answer.pause_s)
        if answer.sent is not None:
            # An end without a reset: a short read. The client gets fewer bytes than Content-Length promised.
            self.close_connection = True

    def _break(self) -> None:
        _reset(self.connection)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
        connection.close()


# --- what can happen to a request -------------------------------------------------------------------------------------


def error(status: int, code: str, **headers: str) -> Deed:
    """Respond with an S3 error; `Retry_After="3"` adds a header."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
    given = [("Content-Type", "application/xml"), *((n.replace("_", "-"), v) for n, v in headers.items())]
    return lambda _: Answer(status, given, body.encode())


def reset(at: int = 0) -> Deed:
    """Reset the connection after this much of the request's body has arrived."""

    def deed(request: Request) -> Answer:
        request.read(at)
        raise Broken

    return deed


def lost(request: Request) -> Answer:
    """Execute the request, but reset the connection instead of responding."""
    request.forward()
    raise Broken


def short(at: int) -> Deed:
    """Announce the full length, but end after this much of the body."""

    def deed(request: Request) -> Answer:
        answer = request.forward()
        answer.sent = at
        return answer

    return deed


def flipped(at: int) -> Deed:
    """Flip one bit of the response's body."""

    def deed(request: Request) -> Answer:
        answer = request.forward()
        body = bytearray(answer.body)
        body[at] ^= 0x10
        answer.body = bytes(body)
        return answer

    return deed


def slow(pause_s: float) -> Deed:
    """Wait before the request, and between chunks of the response."""

    def deed(request: Request) -> Answer:
        time.sleep(pause_s)
        answer = request.forward()
        answer.pause_s = pause_s
        return answer

    return deed


def lagging(since: datetime) -> Deed:
    """Omit from a listing everything newer than this."""

    def deed(request: Request) -> Answer:
        answer = request.forward()
        text = re.sub(r"<Contents>.*?</Contents>", lambda m: "" if _modified(m[0]) > since else m[0], answer.body.decode(), flags=re.DOTALL)  # fmt: skip
        answer.body = text.encode()
        answer.headers = [(n, v) for n, v in answer.headers if n.lower() != "content-length"]
        return answer

    return deed


def _modified(entry: str) -> datetime:
    found = re.search(r"<LastModified>(.+?)</LastModified>", entry)
    assert found, entry
    return datetime.fromisoformat(found[1])


def at_most_parts(limit: int) -> Deed:
    """Refuse part numbers above a limit, like a provider that allows fewer parts."""

    def deed(request: Request) -> Answer:
        found = re.search(r"partNumber=(\d+)", request.target)
        if found and int(found[1]) > limit:
            return error(400, "InvalidArgument")(request)
        return request.forward()

    return deed


def without_checksums(request: Request) -> Answer:
    """Refuse the checksum headers of newer SDKs, as several providers do."""
    headers = {name.lower() for name in request.headers}
    known = ("x-amz-checksum-", "x-amz-sdk-checksum-", "x-amz-trailer")
    if any(name.startswith(known) for name in headers) or "aws-chunked" in request.headers.get("Content-Encoding", ""):
        return error(400, "InvalidRequest")(request)
    return request.forward()


def by_path_only(bucket: str) -> Deed:
    """Support path-style addressing only: virtual-hosted requests get NoSuchBucket."""

    def deed(request: Request) -> Answer:
        if not re.match(rf"/{re.escape(bucket)}[/?]|/{re.escape(bucket)}$", request.target):
            return error(404, "NoSuchBucket")(request)
        return request.forward()

    return deed


@contextmanager
def s3_proxy(port: int) -> Iterator[S3Proxy]:
    """Run a proxy in front of a loopback port while the context lasts."""
    proxy = S3Proxy(port)
    try:
        yield proxy
    finally:
        proxy.refuse()
