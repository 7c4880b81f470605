"""Run web applications inside this process, on ports that are reachable over IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from blocks.config.environment import full_environment
from blocks.errors import PortTaken, PrefectDatabaseUnusable, ServiceError
from flows.service.connections import (
    CONNECTIONS,
    HEAD_BYTES,
    MESSAGE_BYTES,
    PatientProtocol,
    complain_seldom,
    raise_open_files,
)
from tasks.engine.process import run

_MIGRATION_TIMEOUT_S = 300
_STOP_TIMEOUT_S = 2
_BACKLOG = 128
# The last line of a traceback; some libraries write after it where to read more.
_RAISED = re.compile(r"\w[\w.]*(?:Error|Exception): (.+)")


class _Server(uvicorn.Server):
    """A server that does not handle signals: its caller decides when it stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def listening(make_app: Callable[[], Any], port: int) -> AsyncIterator[None]:
    """Serve an ASGI application, created once the port is bound, while the context lasts; raises PortTaken."""
    with _listener(port) as listener:
        PatientProtocol.limit = min(CONNECTIONS, raise_open_files() // 2)
        complain_seldom()
        server = _Server(uvicorn.Config(
            make_app(), log_config=None, access_log=False, timeout_graceful_shutdown=1, http=PatientProtocol, server_header=False,
            h11_max_incomplete_event_size=HEAD_BYTES, ws_max_size=MESSAGE_BYTES, backlog=1,
        ))  # fmt: skip
        serving = asyncio.create_task(server.serve([listener]))
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110  (uvicorn has no event for it)
                await asyncio.sleep(0.05)
            if serving.done():
                await serving
                raise ServiceError("it exited during startup")
            # asyncio uses its backlog as the number of accepts at a time, and out of file descriptors, it logs and
            # retries for each of them (CPython #151615). Give asyncio 1, and the system the real backlog.
            listener.listen(_BACKLOG)
            yield
        finally:
            # Event subscribers are disconnected here; don't log it.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            server.should_exit = True
            # Prefect's services are slow to stop, and everything that must be written has been.
            await asyncio.wait({serving}, timeout=_STOP_TIMEOUT_S)


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    """Listen on every address of both families; on IPv4 only if there is no IPv6."""
    try:
        dual = socket.has_dualstack_ipv6()
        family, host = (socket.AF_INET6, "::") if dual else (socket.AF_INET, "0.0.0.0")  # noqa: S104  (a container's port)
        made = socket.create_server((host, port), family=family, dualstack_ipv6=dual, backlog=_BACKLOG)
    except OSError as error:
        raise PortTaken(f"{port}: {os.strerror(error.errno or 0)}") from None
    with made:
        yield made


def migrate() -> None:
    """Migrate Prefect's database in a separate process, because that takes 60 MB that are not needed later."""
    command = [sys.executable, "-P", "-m", "prefect", "server", "database", "upgrade", "-y"]
    try:
        code, said = run(command, full_environment(), timeout_s=_MIGRATION_TIMEOUT_S)
    except TimeoutError as error:
        raise PrefectDatabaseUnusable(str(error)) from None
    if code:
        lines = said.strip().splitlines()
        raised = [found[1] for line in lines if (found := _RAISED.fullmatch(line))]
        raise PrefectDatabaseUnusable((raised or lines or [f"exit status {code}"])[-1])
