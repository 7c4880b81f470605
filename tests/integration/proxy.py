"""Imitate a bad network: hang, slow down or reset connections on a test's command."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK_BYTES = 65536


class Proxy:
    """A loopback port in front of another one.

    A stalled proxy still accepts and keeps connections open, but passes nothing on in either direction.
    """

    def __init__(self, port: int) -> None:
        self.up = 0  # bytes sent to the server
        self.down = 0  # bytes received from it
        self.visits = 0
        self.stall_after_up: int | None = None
        self.stall_after_down: int | None = None
        self.reset_after_up: int | None = None  # of this connection's bytes
        self.reset_after_down: int | None = None
        self.resets_left = 0
        self.pause_s = 0.0  # before each chunk
        self.refuses = False
        self._server = port
        self._flowing, self._closed = threading.Event(), False
        self._flowing.set()
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def stalled(self) -> bool:
        """Whether it is stalled."""
        return not self._flowing.is_set()

    def stall(self) -> None:
        """Stop forwarding anything."""
        self._flowing.clear()

    def resume(self) -> None:
        """Resume forwarding, starting with the data held back."""
        self.stall_after_up = self.stall_after_down = None
        self._flowing.set()

    def refuse(self) -> None:
        """Reset all connections, and new ones as long as `refuses`."""
        self.refuses = True
        for each in self._open:
            _reset(each)

    def close(self) -> None:
        """Cut all connections and stop listening."""
        self._closed = True
        self._flowing.set()
        for each in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self.visits += 1
                if self.refuses:
                    _reset(client)
                    continue
                self._open.append(client)
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._flowing.wait()
        with contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._server))
            self._open.append(server)
            for each in (client, server):
                # Small buffers, so that the byte counts are close to what has arrived.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK_BYTES)
            threading.Thread(target=self._pass, args=(server, client, "down"), daemon=True).start()
            self._pass(client, server, "up")

    def _pass(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        passed, limit = 0, self.reset_after_up if way == "up" else self.reset_after_down
        try:
            while data := source.recv(_CHUNK_BYTES):
                self._flowing.wait()
                if self._closed:
                    return
                time.sleep(self.pause_s)
                sink.sendall(data)
                self._count(way, len(data))
                passed += len(data)
                if limit is not None and passed >= limit and self.resets_left:
                    self.resets_left -= 1
                    _reset(source)
                    _reset(sink)
                    return
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # One side is gone: tell the other.
            _reset(source)
            _reset(sink)

    def _count(self, way: str, count: int) -> None:
        if way == "up":
            self.up += count
        else:
            self.down += count
        for passed, limit in ((self.up, self.stall_after_up), (self.down, self.stall_after_down)):
            if limit is not None and passed >= limit:
                self.stall()


def _reset(connection: socket.socket) -> None:
    """Reset a connection; first wake the thread waiting for data from it, which holds it open."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
    connection.close()


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """Run a proxy in front of a loopback port while the context lasts."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
