"""A web server that takes messages as real ones do: it accepts, fails, asks to wait, hangs or hangs up."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Got:
    """A request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return its body, decoded."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """What arrived, and how the next requests are answered: a status, headers with one, `hang`, `drip` or `reset`; then with 200."""

    port: int
    got: list[Got] = field(default_factory=list)
    answers: deque[Any] = field(default_factory=deque)
    always: Any = None
    drops: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The address to post to."""
        return f"http://127.0.0.1:{self.port}/hook"

    def kinds(self) -> list[tuple[str, str]]:
        """Return the subject and kind of each message of the webhook's own form."""
        return [(found["subject"], found["kind"]) for found in (g.json() for g in self.got if g.path == "/hook")]

    def paths(self) -> list[str]:
        """Return the paths that were asked for, without what differs from one run to the next."""
        return [g.path.partition("?")[0] for g in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on loopback while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            receiver.got.append(Got(self.path, dict(self.headers), body))
            answer = receiver.answers.popleft() if receiver.answers else receiver.always or 200
            if answer == "hang":
                receiver.over.wait(60)
            elif answer == "drip":
                with contextlib.suppress(OSError):  # whoever asked has given up
                    while not receiver.over.wait(0.05):
                        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: "[receiver.drops :][:1] or b"x")
                        receiver.drops += 1
            elif answer == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_port)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()
