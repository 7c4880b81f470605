"""Bad days of a whole service: two of it, no names, a volume that comes and goes. It goes on by itself when they are over."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from flows.demo.services import Storage
from tasks.engine.drill.place import Place
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.conftest import NewDatabase, command_environment
from tests.integration.objects import LIBRARY
from tests.integration.sandboxes import rehearsed
from tests.integration.services import Service, running_service

MADE = "Backup completed successfully"
PROMISED_S, OUTAGE_S, SOON_S = 10, 300, 500
HOSTS = Path("/etc/hosts")
NAMES = "127.0.0.1 database.test storage.test\n"


@pytest.fixture
def environ(new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, tmp_path: Path) -> dict[str, str]:
    """The environment of a service that only makes backups, as often as is allowed."""
    return {
        **command_environment(storage_server, storage, "", tmp_path), "SERVE_FLOWS": "backup", "BACKUP_INTERVAL": "60",
        "DATABASE_URL": new_database(16, LIBRARY).url.get_secret_value(),
    }  # fmt: skip


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A folder where a volume can be mounted."""
    folder = tmp_path / "volume"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def mount(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def backups_of(service: Service) -> int:
    return sum(MADE in line for line in service.lines())


def errors_of(service: Service) -> list[str]:
    return [line for line in service.lines() if " ERROR: " in line]


@pytest.mark.long
def test_two_services_on_one_folder(
    environ: dict[str, str], storage: ObjectStore, clients: dict[int, Client], tmp_path: Path
) -> None:
    """Old and new back up in the same seconds while a redeploy lasts: nobody complains, and every backup is PROVEN."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with running_service(environ, tmp_path / "old", PREFECT_HOME=str(tmp_path / "old")) as old:
        old.await_line(MADE, SOON_S)
        with running_service(environ, tmp_path / "new", PREFECT_HOME=str(tmp_path / "new")) as new:
            new.wait(lambda: backups_of(new) >= 2, "two backups by the new service", SOON_S)
            old.process.send_signal(signal.SIGTERM)
            assert old.process.wait(PROMISED_S) == 0
            there = backups_of(new)
            new.wait(lambda: backups_of(new) > there, "another backup by the new service", SOON_S)
            assert errors_of(old) + errors_of(new) == []
            count = backups_of(old) + backups_of(new)
    backups = Repository(storage).backups()
    assert [b.has_manifest for b in backups] == [True] * count
    for backup in backups:
        assert rehearsed(storage, Place("sandbox", client=clients[16]), name=backup.name).verdict == "PROVEN"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_five_minutes_without_names(environ: dict[str, str], storage: ObjectStore, tmp_path: Path) -> None:
    """/health says what is missing, the log says why, and the first slot with names again has its backup."""
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS.read_text() + NAMES)
    named = {
        "DATABASE_URL": environ["DATABASE_URL"].replace("127.0.0.1", "database.test"),
        "S3_ENDPOINT": environ["S3_ENDPOINT"].replace("127.0.0.1", "storage.test"),
    }
    # Its own view of the file that names are looked up in.
    within = ("unshare", "--mount", "sh", "-c", f'mount --bind {hosts} {HOSTS} && exec "$@"', "sh")
    with running_service(environ, tmp_path, within=within, **named) as service:
        service.await_line("Next backup in ", SOON_S)
        hosts.write_text(HOSTS.read_text())
        time.sleep(OUTAGE_S)
        found = service.get("/health")
        assert (found.status_code, found.json()["status"]) == (503, "unhealthy"), found.text
        assert "127.0.0.1" not in found.text
        hosts.write_text(HOSTS.read_text() + NAMES)
        there = len(Repository(storage).backups())
        service.wait(lambda: len(Repository(storage).backups()) > there, "the next backup", SOON_S)
        service.wait(lambda: service.get("/health").status_code == 200, "a healthy service")
        assert service.said("; trying again")
        assert [line for line in service.lines() if "Traceback" in line] == []


@pytest.mark.long
@pytest.mark.parametrize(("before", "after"), [(lambda _: None, mount), (mount, unmount)], ids=["appears", "vanishes"])
def test_a_volume_that_comes_or_goes(
    before: Callable[[Path], None], after: Callable[[Path], None], volume: Path, environ: dict[str, str],
    storage: ObjectStore, tmp_path: Path,
) -> None:  # fmt: skip
    """A volume is mounted over PREFECT_HOME, or is gone: backups are made all the same, and the next start is as always."""
    before(volume)
    with running_service(environ, tmp_path, PREFECT_HOME=str(volume)) as service:
        service.await_line(MADE, SOON_S)
        after(volume)
        there = len(Repository(storage).backups())
        service.wait(lambda: len(Repository(storage).backups()) > there + 1, "two more backups", SOON_S)
        service.wait(lambda: service.get("/health").status_code == 200, "a healthy service")
        assert [line for line in service.lines() if "Traceback" in line] == []
    with running_service(environ, tmp_path, PREFECT_HOME=str(volume)) as service:
        service.wait(lambda: "Completed" in service.states("backup"), "a recorded backup", SOON_S)
        assert service.get("/health").json()["history"] == "ok"
