"""The history of runs is not worth a backup: whatever happens to it, the service goes on, and says so."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blocks.s3.client import ObjectStore
from flows.demo.services import Storage
from tasks.engine.repository.repository import Repository
from tests.conftest import NewDatabase, command_environment
from tests.integration.objects import LIBRARY
from tests.integration.proxy import proxy_to
from tests.integration.services import Service, running_service

MADE = "Backup completed successfully"
Mount = Callable[[str], Path]


@pytest.fixture
def environ(new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, tmp_path: Path) -> dict[str, str]:
    """The environment of a service that only makes backups, as often as is allowed."""
    return {
        **command_environment(storage_server, storage, "", tmp_path), "SERVE_FLOWS": "backup", "BACKUP_INTERVAL": "60",
        "DATABASE_URL": new_database(16, LIBRARY).url.get_secret_value(),
    }  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small disk for Prefect's database."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill a disk to the last byte; return the file to remove."""
    filler = folder / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], check=False, capture_output=True)
    return filler


def full(folder: Path) -> None:
    fill(folder)


def read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def damaged(folder: Path) -> None:
    (folder / "prefect.db").write_text("this was a database" * 99)


def locked(folder: Path) -> sqlite3.Connection:
    """Lock the database, as a service that has not ended yet does."""
    connection = sqlite3.connect(folder / "prefect.db", isolation_level=None)
    connection.execute("CREATE TABLE ours (n int)")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def in_the_way(folder: Path) -> None:
    (folder / "prefect.db").mkdir()


def history_of(service: Service) -> str:
    """Return what `/health` says about the history; the service must be healthy."""
    found = service.get("/health")
    assert found.status_code == 200, found.text
    return str(found.json().get("history"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (full, "No space left on device"),
        pytest.param(read_only, "Read-only file system", marks=pytest.mark.long),
        pytest.param(damaged, "file is not a database", marks=pytest.mark.long),
        pytest.param(in_the_way, "unable to open database file", marks=pytest.mark.long),
        pytest.param(locked, "database is locked", marks=pytest.mark.long),
    ],
)
def test_a_start_without_the_history(
    spoil: Callable[[Path], object], why: str, small: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """Backups are made and recorded in a temporary history; the log says so once, with a hint, and /health too."""
    kept = spoil(small)
    with running_service(environ, tmp_path, PREFECT_HOME=str(small)) as service:
        service.await_line(MADE)
        said = [line.partition("Z ")[2] for line in service.lines() if " WARNING: " in line]
        assert len(said) == 2, said
        assert said[0].startswith(f"WARNING: {small} cannot be used: ")
        assert why in said[0]
        assert said[1].startswith("WARNING: HINT: ")
        assert [line for line in service.lines() if "Traceback" in line or "Z ERROR" in line] == []
        service.wait(lambda: "Completed" in service.states("backup"), "the run in the history")
        assert history_of(service).startswith("kept in a temporary folder until the next start: ")
    del kept


def goes_on_unrecorded(service: Service, mend: Callable[[], object]) -> None:
    """Check that backups go on, that the service says once that they aren't recorded, and once that they are again."""
    service.await_line("WARNING: Runs cannot be recorded: ", 300)
    assert history_of(service).startswith("not recorded since ")
    made = service.count(MADE)
    service.wait(lambda: service.count(MADE) > made, "a backup that is not recorded", 300)
    assert service.said("Starting a backup without Prefect")
    mend()
    service.await_line("INFO: Runs are recorded again")
    assert history_of(service) == "ok"
    recorded = service.states("backup").count("Completed")
    service.start("backup")
    service.wait(lambda: service.states("backup").count("Completed") > recorded, "a recorded run", 300)
    assert [service.count(text) for text in ("Runs cannot be recorded", "Runs are recorded again")] == [1, 1]
    assert not service.said("Traceback")


@pytest.mark.long
def test_a_disk_that_fills(small: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Runs go on without being recorded; once there is space again, they are recorded again."""
    with running_service(environ, tmp_path, PREFECT_HOME=str(small)) as service:
        service.await_line(MADE)
        assert history_of(service) == "ok"
        goes_on_unrecorded(service, fill(small).unlink)


@pytest.mark.long
def test_a_database_that_is_locked(environ: dict[str, str], tmp_path: Path) -> None:
    """Another program may keep Prefect's database to itself: everything can be read, and nothing recorded."""
    with running_service(environ, tmp_path, PREFECT_HOME=str(tmp_path)) as service:
        service.await_line(MADE)
        service.wait(lambda: "Completed" in service.states("backup"), "the run in the history")
        connection = sqlite3.connect(tmp_path / "prefect.db", isolation_level=None, timeout=60)
        connection.execute("BEGIN IMMEDIATE")
        goes_on_unrecorded(service, connection.close)


@pytest.mark.long
def test_a_prefect_server_that_goes_away(
    environ: dict[str, str], prefect_api: str, storage: ObjectStore, tmp_path: Path
) -> None:
    """The service starts and backs up without the Prefect server that it is told to use, and uses it once it is there."""
    with proxy_to(urlsplit(prefect_api).port or 0) as proxy:
        proxy.refuse()
        given = {"PREFECT_API_URL": f"http://127.0.0.1:{proxy.port}/api"}
        with running_service(environ, tmp_path, **given) as service:
            service.await_line(MADE)
            assert history_of(service).startswith("not recorded since ")
            proxy.refuses = False
            service.await_line("INFO: Runs are recorded again")
            service.await_line("Next backup in ")
            proxy.refuse()
            visits = proxy.visits
            there = len(Repository(storage).backups())
            service.wait(lambda: len(Repository(storage).backups()) > there, "another backup", 300)
            assert service.said("Starting a backup without Prefect")
            # So long that Prefect's own loops give up.
            service.wait(lambda: proxy.visits > visits + 20, "more requests", 300)
            assert [line for line in service.lines() if "Traceback" in line or "will fail" in line] == []


@pytest.mark.parametrize("slots", [1, pytest.param(2, marks=pytest.mark.long)])
def test_no_place_for_a_history(slots: int, environ: dict[str, str], storage: ObjectStore, tmp_path: Path) -> None:
    """With nothing to write to, there is no Prefect server: backups are made all the same, one per slot, and shown."""
    with running_service(
        environ, tmp_path, PREFECT_HOME="/proc/nowhere", PG_ROUNDTRIP_HISTORY_MOVED="no space"
    ) as service:
        service.await_line("/proc/nowhere cannot be used: ")
        assert "runs are not recorded until the next start" in service.await_line("not recorded")
        service.await_line(MADE)
        assert history_of(service).startswith("not recorded until the next start: ")
        assert service.get("/dashboard", auth=service.login).status_code == 404
        assert "from the bucket alone" in service.get("/status", auth=service.login).text
        service.wait(lambda: len(Repository(storage).backups()) == slots, "its backups")
        assert [line for line in service.lines() if "Traceback" in line or "Z ERROR" in line] == []
