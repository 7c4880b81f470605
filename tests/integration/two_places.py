"""Two places of a plan, each behind a network of its own, for tests of copies and of faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from blocks.disk.folder_store import FolderStore
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.services import Storage
from tasks.engine.repository.repository import Repository
from tests.conftest import FlowRun, NewDatabase, Ran
from tests.faults.http_proxy import S3Proxy, s3_proxy
from tests.integration.objects import LIBRARY


@dataclass
class Places:
    """Two buckets, of which each is reached through a network of its own, and what runs with both as places."""

    flow_run: FlowRun
    server: Server
    primary: ObjectStore
    copy: ObjectStore
    network: dict[str, S3Proxy]
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, flow: object, server: Server | None = None, /, to: Any = None, **more: Any) -> Ran:
        parameters = {name: value for name, value in more.items() if name.islower()}
        given = {**self.environ, **{name: value for name, value in more.items() if name.isupper()}}
        return self.flow_run(flow, server, to, environ=given, **parameters)

    def backup(self, **more: Any) -> Ran:
        return self.run(backup, self.server, **more)

    def store(self, name: str) -> ObjectStore:
        return self.primary if name == "primary" else self.copy

    def heal(self) -> None:
        """End every fault of both networks."""
        for network in self.network.values():
            network.heal()
            if not network.listening:
                network.listen()


def files(store: ObjectStore | FolderStore) -> dict[str, bytes]:
    """Return the contents of every file in a place, by its name."""
    return {o.key.removeprefix(store.key("")): store.get(o.key) for o in store.list_objects()}


def names(store: ObjectStore | FolderStore) -> list[str]:
    """Return the whole backups in a place."""
    return [b.name for b in Repository(store).backups() if b.has_manifest]


def second_place(storage_server: Storage, storage: ObjectStore, endpoint: str) -> dict[str, str]:
    """Return the variables of a copy in the same bucket, in a folder beside the first place's."""
    return {
        "COPY_S3_ENDPOINT": endpoint,
        "COPY_S3_BUCKET": storage.bucket,
        "COPY_S3_ACCESS_KEY_ID": storage_server.environment()["S3_ACCESS_KEY_ID"],
        "COPY_S3_SECRET_ACCESS_KEY": storage_server.environment()["S3_SECRET_ACCESS_KEY"],
        "COPY_PREFIX": f"{storage.folder}-copy",
    }


@pytest.fixture
def places(
    flow_run: FlowRun, new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Places]:  # fmt: skip
    """Two places behind two networks."""
    monkeypatch.setattr("tasks.plain.time.sleep", lambda _: None)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    port = urlsplit(storage_server.endpoint).port or 0
    with s3_proxy(port) as one, s3_proxy(port) as two:
        there = second_place(storage_server, storage, two.url)
        environ = {"S3_ENDPOINT": one.url, **there, "COMPRESSION_LEVEL": "1"}
        copied = storage_server.store(there["COPY_PREFIX"])
        server = new_database(16, LIBRARY)
        yield Places(flow_run, server, storage, copied, {"primary": one, "copy": two}, environ)
