"""A service reports wrong settings at once, serves only what it is configured to, and reports failing backups."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from blocks.config.plan import Plan
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows.demo.services import Storage, free_ports
from tasks.clock import utc_now
from tasks.engine.servers.programs import Client
from tasks.status.health import examine
from tests.conftest import Ended, NewDatabase, command_environment
from tests.integration.objects import LIBRARY, take_backup
from tests.integration.services import running_service

COMPLETE = {"DATABASE_URL": "postgresql://app:secret@127.0.0.1:1/shop", "PREFECT_API_URL": ""}


def test_every_fault_of_the_settings_at_once(command_line: Callable[..., Ended]) -> None:
    """Nothing is started: every variable is named, the service's own too, and the status is 2."""
    ended = command_line(
        "serve", S3_BUCKET="", BACKUP_SCHEDULE="nightly", PORT="99999", SERVE_FLOWS="backup,resrore", TZ="Mars"
    )
    assert ended.status == 2
    assert [line.partition("Z ")[2] for line in ended.err.splitlines() if "HINT" not in line] == [
        "ERROR: Required environment variable DATABASE_URL is not set (PGR-CONFIG)",
        "ERROR: Required environment variable S3_BUCKET is not set (PGR-CONFIG)",
        "ERROR: Invalid BACKUP_SCHEDULE format (PGR-CONFIG)",
        "ERROR: Invalid TZ format (PGR-CONFIG)",
        "ERROR: Invalid SERVE_FLOWS format (PGR-CONFIG)",
        "ERROR: Invalid PORT format (PGR-CONFIG)",
    ]


def test_a_port_that_is_taken(command_line: Callable[..., Ended], storage_server: Storage) -> None:
    """The service exits with a sentence and a hint rather than serve only part of what it should."""
    taken = str(urlsplit(storage_server.endpoint).port)
    ended = command_line("serve", **COMPLETE, PORT=taken)
    assert ended.status == 1
    assert f"ERROR: Cannot listen on the port [{taken}: Address already in use]" in ended.err
    assert "HINT: set PORT" in ended.err


def test_a_container_that_only_drills(
    new_database: NewDatabase, storage: ObjectStore, storage_server: Storage, clients: dict[int, Client],
    prefect_api: str, tmp_path: Path,
) -> None:  # fmt: skip
    """Without a database URL, with a read-only key and a Prefect server elsewhere, the backup is still proven."""
    take_backup(storage, new_database(16, LIBRARY), clients[16])
    environ = command_environment(storage_server.as_reader(), storage, prefect_api, tmp_path)
    given = {"SERVE_FLOWS": "restore-drill", "PREFECT_API_URL": prefect_api, "BACKUP_INTERVAL": "1000000000"}
    with running_service(environ, tmp_path, **given) as service:
        service.await_line("PROVEN: backup_")
        service.await_line("WARNING: The drill report is not in the bucket: Access Denied")
        said = [line.partition("Z ")[2] for line in service.lines()]
        assert said[0] == "INFO: Verify service started"
        assert not [line for line in said if "Target database" in line or "UI" in line]
        health = service.get("/health")
        assert (health.status_code, "database" in health.json()) == (200, False)
        assert service.get("/").status_code == 404
        assert "pg_roundtrip_catalog_readable" in service.get("/metrics").text
    made = httpx.post(f"{prefect_api}/deployments/filter", json={"deployments": {"name": {"any_": ["default"]}}}).json()
    assert [d["entrypoint"] for d in made] == ["flows.restore_drill.restore_drill"]
    for deployment in made:
        httpx.delete(f"{prefect_api}/deployments/{deployment['id']}").raise_for_status()


@pytest.fixture
def plan(new_database: NewDatabase, plan_for: Callable[..., Plan]) -> Plan:
    """A plan whose parts all respond."""
    return plan_for(new_database(16))


def test_health_of_what_does_not_answer(plan: Plan, storage_server: Storage) -> None:
    """An unreachable database and an unreachable bucket are distinguished, without revealing addresses."""
    now = utc_now()
    gone = Server(SecretStr(conninfo_url({**plan.source.parameters(), "port": str(free_ports(1)[0])})))
    found = examine(replace(plan, server=gone), backs_up=True, started_at=now, now=now)
    assert found.parts == {"database": "Cannot connect to database", "storage": "ok", "backups": "ok"}
    elsewhere = replace(plan, storage=replace(storage_server, bucket="no-such-bucket").store("x"))
    found = examine(elsewhere, backs_up=True, started_at=now, now=now)
    assert found.parts == {"database": "ok", "storage": "S3 request failed"}
    assert "127.0.0.1" not in json.dumps(found.document())


def test_health_of_backups_that_stopped(plan: Plan, clients: dict[int, Client]) -> None:
    """Once the service has run for an interval, an old backup no longer counts as healthy."""
    take_backup(plan.storage, plan.source, clients[16])
    now = utc_now()
    found = examine(plan, backs_up=True, started_at=now - timedelta(days=2), now=now)
    assert found.parts["backups"].startswith("the newest backup is ")
    assert not found.good
    assert examine(plan, backs_up=True, started_at=now, now=now).good
