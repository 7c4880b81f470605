"""A service that is stopped, killed or moved loses nothing, and isn't blocked by its own leftovers."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from blocks.errors import ServiceError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from flows.service.asgi import migrate
from tasks.clock import utc_now
from tasks.engine.repository.repository import Repository
from tests.conftest import NewDatabase, command_environment
from tests.integration.objects import LIBRARY, told, until
from tests.integration.proxy import Proxy, proxy_to
from tests.integration.services import Service, running_service
from tests.processes import children_of, ended, name_of
from tests.receivers import receiving

BIG = """CREATE TABLE big AS SELECT n, md5('a' || n) || md5('b' || n) || md5('c' || n) || md5('d' || n) AS v
FROM generate_series(1, 900000) n"""
PROMISED_S = 10


@pytest.fixture
def environ(storage_server: Storage, storage: ObjectStore, tmp_path: Path) -> dict[str, str]:
    """The environment of a service with this test's storage, and only its own Prefect server."""
    return {**command_environment(storage_server, storage, "", tmp_path), "COMPRESSION_LEVEL": "1"}


@pytest.fixture
def s3(storage_server: Storage) -> Iterator[Proxy]:
    """The network path to the storage."""
    with proxy_to(urlsplit(storage_server.endpoint).port or 0) as proxy:
        yield proxy


@pytest.fixture
def big(new_database: NewDatabase) -> Server:
    """A database whose backup can be interrupted midway."""
    return new_database(16, BIG)


def in_mid_backup(service: Service, s3: Proxy) -> list[psutil.Process]:
    """Wait until a backup is in progress that can't finish; return the run's process and pg_dump."""
    service.wait(lambda: s3.stalled, "a backup in progress")
    return [child for child in children_of(service.process.pid) if name_of(child) != "resource_tracker"]


def gone(processes: list[psutil.Process]) -> bool:
    return all(ended(process) for process in processes)


def test_stopped_in_mid_backup(
    s3: Proxy, big: Server, storage: ObjectStore, environ: dict[str, str], tmp_path: Path
) -> None:
    """Within ten seconds of two SIGTERMs pg_dump and service are gone, the upload aborted, and the run Cancelled."""
    s3.stall_after_up = 3 << 20
    url = big.url.get_secret_value()
    with running_service(environ, tmp_path, DATABASE_URL=url, S3_ENDPOINT=f"http://127.0.0.1:{s3.port}") as service:
        children = in_mid_backup(service, s3)
        assert any(c.name() == "pg_dump" for c in children)
        s3.resume()
        for _ in range(2):
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        assert service.process.wait(PROMISED_S) == 0
        assert gone(children)
        assert [line for line in service.lines() if "Z ERROR: " in line] == []
        assert (list(storage.list_objects()), storage.list_uploads(timedelta(0), utc_now() + timedelta(days=1))) == (
            [],
            [],
        )
    with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as history:
        assert history.execute("SELECT DISTINCT state_name FROM flow_run WHERE name LIKE 'backup-%'").fetchall() == [
            ("Cancelled",)
        ]


@pytest.mark.long
def test_a_run_that_is_killed_is_told(s3: Proxy, big: Server, environ: dict[str, str], tmp_path: Path) -> None:
    """As the system does that runs out of memory: the run tells nothing, the service does."""
    s3.stall_after_up = 3 << 20
    given = {"DATABASE_URL": big.url.get_secret_value(), "S3_ENDPOINT": f"http://127.0.0.1:{s3.port}"}
    with (
        receiving() as receiver,
        running_service(environ, tmp_path, **given, SERVE_FLOWS="backup", WEBHOOK_URL=receiver.url) as service,
    ):
        for child in in_mid_backup(service, s3):
            if child.ppid() == service.process.pid:
                child.kill()
        s3.resume()
        service.wait(lambda: ("backup", "failed") in receiver.kinds(), "the message", 40)
        assert receiver.got[0].json()["code"] == "PGR-RUN-KILLED"


@pytest.mark.long
def test_killed_in_mid_backup(
    s3: Proxy, big: Server, storage: ObjectStore, environ: dict[str, str], tmp_path: Path
) -> None:
    """After SIGKILL nothing goes on without the service; the next start marks the run Crashed and backs up at once."""
    s3.stall_after_up = 3 << 20
    url = big.url.get_secret_value()
    with running_service(
        environ, tmp_path, DATABASE_URL=url, S3_ENDPOINT=f"http://127.0.0.1:{s3.port}", BACKUP_INTERVAL="60"
    ) as service:
        children = in_mid_backup(service, s3)
        service.process.kill()
        service.process.wait()
        until(lambda: gone(children))
    assert Repository(storage).backups() == []
    time.sleep(65)  # let slots pass without a service
    with running_service(environ, tmp_path, DATABASE_URL=url, BACKUP_INTERVAL="60") as service:
        service.await_line("1 runs were in progress when the service last stopped; they are marked as crashed")
        service.await_line("Backup completed successfully")
        assert service.states("backup").count("Crashed") == 1
        service.wait(lambda: "PROVEN" in service.states("restore-drill"), "a drill afterwards")
        waiting = [run for run in service.runs("backup") if run["state_name"] in ("Late", "AwaitingConcurrencySlot")]
        assert len(waiting) <= 1, waiting


@pytest.mark.long
def test_a_failed_backup_is_followed_by_the_next(
    new_database: NewDatabase, environ: dict[str, str], tmp_path: Path
) -> None:
    """An error costs that slot's backup but not the service: the next slot runs, and the metrics keep count."""
    server = new_database(16, LIBRARY)
    missing = server.on("comes later")
    given = {"DATABASE_URL": missing.url.get_secret_value(), "SERVE_FLOWS": "backup", "BACKUP_INTERVAL": "60"}
    try:
        with running_service(environ, tmp_path, **given) as service:
            service.await_line("ERROR: Cannot connect to database [")
            service.wait(lambda: service.get("/health").status_code == 503, "an unhealthy service")
            failed = 'pg_roundtrip_failed_runs{cause="database_unreachable",flow="backup",plan="default"} '
            service.wait(lambda: failed in service.get("/metrics").text, "the failure in the metrics")
            told(server, 'CREATE DATABASE "comes later"')
            service.await_line("Backup completed successfully")
            service.wait(lambda: service.get("/health").status_code == 200, "a healthy service")
            done = service.wait(
                lambda: [run for run in service.runs("backup") if run["state_type"] == "COMPLETED"], "its end"
            )
            assert [run["auto_scheduled"] for run in done] == [True]
    finally:
        told(server, 'DROP DATABASE IF EXISTS "comes later" WITH (FORCE)')


@pytest.mark.long
def test_a_lost_volume(
    new_database: NewDatabase, storage: ObjectStore, environ: dict[str, str], tmp_path: Path
) -> None:
    """The bucket is the source of truth: with an empty history, its newest backup says when the next is due."""
    url = new_database(16, LIBRARY).url.get_secret_value()
    with running_service(environ, tmp_path, DATABASE_URL=url) as service:
        service.wait(lambda: "PROVEN" in service.states("restore-drill"), "the first drill")
    shutil.rmtree(tmp_path / "prefect")
    (taken,) = (b.taken_at for b in Repository(storage).backups())
    with running_service(environ, tmp_path, DATABASE_URL=url) as service:
        waiting = service.wait(
            lambda: [r for r in service.runs("backup") if r["state_type"] == "SCHEDULED"], "a schedule"
        )
        assert min(datetime.fromisoformat(r["expected_start_time"]) for r in waiting) == taken + timedelta(hours=1)
        assert service.get("/health").status_code == 200
        assert 'pg_roundtrip_backup_rows{plan="default"} 320.0' in service.get("/metrics").text
        assert not service.said("Starting backup")


@pytest.mark.long
def test_an_encryption_key_that_was_changed(
    new_database: NewDatabase, storage: ObjectStore, environ: dict[str, str], tmp_path: Path
) -> None:
    """Saved blocks become unreadable; a warning says so and what to do, and backups continue without them."""
    given = {"DATABASE_URL": new_database(16, LIBRARY).url.get_secret_value(), "SERVE_FLOWS": "backup,prune"}
    for said in ("Backup completed successfully", "The plan could not be saved as a block: it answered 500"):
        key = base64.urlsafe_b64encode(os.urandom(32)).decode()
        with running_service(environ, tmp_path, PREFECT_SERVER_ENCRYPTION_KEY=key, **given) as service:
            service.await_line(said)
            if not service.said("Backup completed successfully"):
                assert "PREFECT_SERVER_ENCRYPTION_KEY" in service.await_line("HINT: ")
            service.await_line("Backup completed successfully")
        for found in list(storage.list_objects()):  # so that a backup is due
            storage.remove(found.key)


def test_a_history_that_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service says why Prefect's database is unusable, and that it holds nothing but history."""
    (tmp_path / "prefect.db").write_text("this was a database" * 99)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    with pytest.raises(ServiceError) as caught:
        migrate()
    assert caught.value.sentence == (
        "Prefect's database cannot be used [(sqlite3.DatabaseError) file is not a database]"
    )
    assert "only the history of runs is lost" in str(caught.value.hint)
