"""Run web applications inside this process, on ports that IPv4 and IPv6 both reach, and stop them when told to."""

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

from blocks.config.environment import environment_of_ours
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
# The end of a traceback; behind it some libraries write where to read more.
_RAISED = re.compile(r"\w[\w.]*(?:Error|Exception): (.+)")


class _Server(uvicorn.Server):
    """A server that leaves signals alone: who started it decides when it stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def listening(make_app: Callable[[], Any], port: int) -> AsyncIterator[None]:
    """Serve an ASGI application, made once the port is ours, while the context lasts; raises PortTaken."""
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
                raise ServiceError("it ended while it started")
            # asyncio takes its backlog for the number of accepts at a time, and when there are no files left, complains and tries
            # again for each of them (CPython #151615): it gets 1, the system its queue.
            listener.listen(_BACKLOG)
            yield
        finally:
            # Who still listens to events is cut off: nobody needs to read of that.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            server.should_exit = True
            # Prefect's services take their time; whatever had to be written is written.
            await asyncio.wait({serving}, timeout=_STOP_TIMEOUT_S)


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    """Listen on every address of both families; on IPv4 alone where there is no IPv6."""
    try:
        dual = socket.has_dualstack_ipv6()
        family, host = (socket.AF_INET6, "::") if dual else (socket.AF_INET, "0.0.0.0")  # noqa: S104  (a container's port)
        made = socket.create_server((host, port), family=family, dualstack_ipv6=dual, backlog=_BACKLOG)
    except OSError as error:
        raise PortTaken(f"{port}: {os.strerror(error.errno or 0)}") from None
    with made:
        yield made


def migrate() -> None:
    """Bring Prefect's database to the version of this Prefect, in a process of its own: it needs 60 MB that nobody needs later."""
    command = [sys.executable, "-P", "-m", "prefect", "server", "database", "upgrade", "-y"]
    code, said = run(command, environment_of_ours(), timeout_s=_MIGRATION_TIMEOUT_S)
    if code:
        lines = said.strip().splitlines()
        raised = [found[1] for line in lines if (found := _RAISED.fullmatch(line))]
        raise PrefectDatabaseUnusable((raised or lines or [f"exit status {code}"])[-1])
