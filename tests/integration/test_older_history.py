"""Today's service continues with the history that 1.0 left: its database is migrated, and nothing in it is lost."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.s3.client import ObjectStore
from flows.demo.services import Storage
from tests.conftest import NewDatabase, command_environment
from tests.integration.objects import LIBRARY
from tests.integration.services import Service, running_service

DATA = Path(__file__).parents[1] / "data"
# The names of the runs in that database.
BACKUP, DRILL = "backup-default-20261130T032345Z", "restore-drill-default-20261130T032404Z"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The database of `pg-roundtrip` 1.0 with prefect 3.8.8, after one backup, prune and drill by `serve`.

    Made by stopping the service, then `PRAGMA journal_mode = DELETE`, `DELETE FROM events`, `DELETE FROM event_resources`,
    `VACUUM` and `gzip -9` of $PREFECT_HOME/prefect.db.
    """
    path = tmp_path / "prefect" / "prefect.db"
    path.parent.mkdir()
    path.write_bytes(gzip.decompress((DATA / "prefect-3.8.8.db.gz").read_bytes()))
    return path


@pytest.mark.long
def test_what_1_0_left(
    left: Path, new_database: NewDatabase, storage: ObjectStore, storage_server: Storage, tmp_path: Path
) -> None:
    """The runs of 1.0 with their logs and reports, and its saved plan, are still there, next to today's runs."""
    before = revision(left)
    environ = command_environment(storage_server, storage, "", tmp_path)
    url = new_database(16, LIBRARY).url.get_secret_value()
    with running_service(environ, tmp_path, DATABASE_URL=url, SERVE_FLOWS="backup,prune") as service:
        service.await_line("Backup completed successfully")
        service.wait(lambda: [name for name in ended(service, "backup") if name != BACKUP], "a backup in the history")
        assert ended(service, "backup")[BACKUP] == "Completed"
        assert ended(service, "restore-drill") == {DRILL: "PROVEN"}
        said = [str(log["message"]) for log in asked(service, "logs")]
        assert any(line.startswith("PROVEN: backup_20261130_032359 was restored") for line in said)
        assert "drill-default" in {report["key"] for report in asked(service, "artifacts")}
        plans = [block for block in asked(service, "block_documents") if block["name"] == "default"]
        assert [plan["block_type"]["slug"] for plan in plans] == ["pg-roundtrip-plan"]
        # On a slow disk its database can be locked for a while, which is said.
        said = [line for line in service.lines() if "Z ERROR: " in line or "Z WARNING: " in line]
        assert [line for line in said if "database is locked" not in line] == []
    assert revision(left) != before


def revision(database: Path) -> str:
    """Return the schema version of a Prefect database."""
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def ended(service: Service, flow: str) -> dict[str, str]:
    """Return the finished runs and their states."""
    return {run["name"]: run["state_name"] for run in service.runs(flow) if run["state_type"] == "COMPLETED"}


def asked(service: Service, what: str) -> list[dict[str, Any]]:
    """Return everything that Prefect's API has of something."""
    answer = httpx.post(f"{service.url}/api/{what}/filter", json={}, auth=service.login, timeout=20)
    answer.raise_for_status()
    return list(answer.json())
