"""Start the storage and the Prefect server that the demo and the tests need, on free loopback ports."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from pydantic import SecretStr

from blocks.config.environment import child_environment
from blocks.errors import DemoFailed, PgRoundtripError
from blocks.s3.client import ObjectStore
from tasks.engine.process import Child, start_detached

_START_TIMEOUT_S = 180
_DRAIN_TIMEOUT_S = 30
_WEED_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
               "s3.port", "s3.port.grpc", "s3.port.iceberg", "s3.port.lance", "webdav.port", "admin.port",
               "admin.port.grpc")  # fmt: skip

_WEED = Path(sys.prefix) / "bin" / "weed"


def storage_is_installed() -> bool:
    """Whether the storage server of the extra `demo` is there."""
    return _WEED.is_file()


@dataclass(frozen=True)
class Storage:
    """A running S3 server, described by the specification's settings."""

    endpoint: str
    bucket: str
    key_id: str
    secret: str
    reader_secret: str = ""

    def as_reader(self) -> Storage:
        """The same storage with a key that can only list and read."""
        return replace(self, key_id="reader", secret=self.reader_secret)

    def as_writer(self) -> Storage:
        """The same storage with a key that can only write."""
        return replace(self, key_id="writer", secret=self.reader_secret)

    def identities(self) -> dict[str, Any]:
        """The keys as SeaweedFS configures them (https://github.com/seaweedfs/seaweedfs/wiki/Amazon-S3-API)."""
        allowed = {
            self.key_id: ["Admin", "Read", "Write", "List", "Tagging"],
            "reader": ["Read", "List"],
            "writer": ["Write"],
        }
        secret_of = {self.key_id: self.secret, "reader": self.reader_secret, "writer": self.reader_secret}
        return {
            "identities": [
                {"name": name, "credentials": [{"accessKey": name, "secretKey": secret_of[name]}], "actions": actions}
                for name, actions in allowed.items()
            ]
        }

    def environment(self) -> dict[str, str]:
        """The variables that point pg-roundtrip at it."""
        return {
            "S3_ENDPOINT": self.endpoint,
            "S3_BUCKET": self.bucket,
            "S3_ACCESS_KEY_ID": self.key_id,
            "S3_SECRET_ACCESS_KEY": self.secret,
        }

    def store(self, prefix: str) -> ObjectStore:
        """A folder in its bucket."""
        return ObjectStore.at(**self.fields(prefix))

    def fields(self, prefix: str) -> dict[str, Any]:
        """A folder in its bucket, as the fields of a storage."""
        return {
            "endpoint": self.endpoint, "bucket": self.bucket, "prefix": prefix, "region": "us-east-1",
            "key_id": self.key_id, "secret": SecretStr(self.secret),
        }  # fmt: skip


@contextmanager
def running_storage(bucket: str = "backups") -> Iterator[Storage]:
    """Run SeaweedFS from its wheel while the context lasts, with a bucket in it."""
    ports = dict(zip(_WEED_PORTS, free_ports(len(_WEED_PORTS)), strict=True))
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    storage = Storage(endpoint, bucket, "demo", secrets.token_hex(20), secrets.token_hex(20))
    with tempfile.TemporaryDirectory(prefix="pg-roundtrip-s3-", ignore_cleanup_errors=True) as folder:
        keys = Path(folder) / "keys.json"
        keys.touch(mode=0o600)
        keys.write_text(json.dumps(storage.identities()))
        command = [str(_WEED), f"-logdir={folder}", "mini", f"-s3.config={keys}", f"-dir={folder}", "-ip=127.0.0.1",
                   "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false", "-s3.autoCreateBucket=false", f"-bucket={bucket}",
                   *(f"-{name}={port}" for name, port in ports.items())]  # fmt: skip
        try:
            with Child(command, child_environment({}), cwd=folder) as child:
                _await(child.name, lambda: child.running, lambda: _answers(storage))
                yield storage
                _stop(child)
        finally:
            # It creates a socket in /tmp for each of its ports, whatever its folder, and leaves it there.
            for left in (place for port in ports.values() for place in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")):  # noqa: S108
                left.unlink(missing_ok=True)


@contextmanager
def running_prefect(
    folder: Path, settings: Mapping[str, str] = MappingProxyType({}), *, port: int | None = None
) -> Iterator[str]:
    """Run a Prefect server with its UI while the context lasts; yields the address of its API.

    `settings` are further Prefect variables for it, such as a database other than the one in the folder.
    """
    command, environ, url = _prefect_command(folder, settings, port)
    with Child(command, environ, cwd=folder) as child:
        _await(child.name, lambda: child.running, lambda: _healthy(url))
        yield url
        send_what_waits()
        _stop(child)


def leave_prefect_running(folder: Path) -> tuple[str, int]:
    """Start a Prefect server that outlives this process; returns the address of its API and its process id."""
    command, environ, url = _prefect_command(folder)
    pid = start_detached(command, environ, cwd=folder)
    _await("prefect", lambda: True, lambda: _healthy(url))
    return url, pid


def send_what_waits() -> None:
    """Flush this process's logs and events, which threads send, before the Prefect server stops."""
    EventsWorker.drain_all(timeout=_DRAIN_TIMEOUT_S)
    APILogWorker.drain_all(timeout=_DRAIN_TIMEOUT_S)


def free_ports(count: int) -> list[int]:
    """Return different loopback ports that are free now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _prefect_command(
    folder: Path, more: Mapping[str, str] = MappingProxyType({}), port: int | None = None
) -> tuple[list[str], dict[str, str], str]:
    port = port or free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/api"
    settings = {
        "PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
        # Otherwise the UI looks for the API on port 4200, whatever its own port.
        "PREFECT_SERVER_UI_API_URL": "/api",
        **more,
    }  # fmt: skip
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    return command, child_environment(settings), url


def _answers(storage: Storage) -> bool:
    try:
        next(storage.store("").list_objects(), None)
    except PgRoundtripError:
        return False
    return True


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _await(name: str, running: Callable[[], bool], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while running() and time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.1)
    raise DemoFailed(name)


def _stop(child: Child) -> None:
    child.send(signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        child.wait(10)
