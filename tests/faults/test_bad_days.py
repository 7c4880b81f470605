"""Two at once, a clock that jumps, names that nobody resolves, a Prefect server that restarts: no backup is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.services import Storage, free_ports, running_prefect
from flows.prune import prune
from tasks.clock import utc_now
from tasks.engine.drill.place import Place
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, FlowRun, NewDatabase, StartedCommand, command_environment
from tests.integration.objects import LIBRARY, asked, until
from tests.integration.sandboxes import rehearsed
from tests.integration.services import give_history

PROGRAM = str(Path(sys.prefix) / "bin" / "pg-roundtrip")


_WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK%%'"


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    """A database with a few tables."""
    return new_database(16, LIBRARY)


def assert_all_proven(storage: ObjectStore, count: int, client: Client) -> None:
    """Every object has its own manifest, and is what that says."""
    backups = Repository(storage).backups()
    assert [b.has_manifest for b in backups] == [True] * count
    for each in backups:
        report = rehearsed(storage, Place("sandbox", client=client), name=each.name)
        assert report.verdict == "PROVEN", report.cause


def test_commands_in_the_same_second(
    library: Server, storage: ObjectStore, started_command: StartedCommand, clients: dict[int, Client]
) -> None:
    """Each gets a name of its own; so do two services on one folder, as while a new deploy replaces the old one."""
    url = library.url.get_secret_value()
    running = [started_command("backup", DATABASE_URL=url) for _ in range(4)]
    assert [process.wait(120) for process in running] == [0] * 4
    assert_all_proven(storage, 4, clients[16])


def test_a_clock_that_jumps_back(
    library: Server, storage: ObjectStore, flow_run: FlowRun, clients: dict[int, Client], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A backup that was made an hour ahead stays, is not taken for the newest, and keeps none of the next from being made."""
    with monkeypatch.context() as patched:
        for module in ("backup", "prune", "sweep", "drill"):
            patched.setattr(f"tasks.{module}.utc_now", lambda: utc_now() + timedelta(hours=1))
        assert flow_run(backup, library).error is None
    for _ in range(2):
        ran = flow_run(backup, library)
        assert ran.error is None
    ran = flow_run(prune, library)
    assert ran.result.removals == []
    assert_all_proven(storage, 3, clients[16])


@pytest.mark.parametrize("variable", ["DATABASE_URL", "S3_ENDPOINT"])
def test_names_that_nobody_resolves(
    variable: str, library: Server, storage: ObjectStore, command_line: Callable[..., Ended]
) -> None:
    """The run fails with the reason after its retries, and the next one succeeds."""
    nowhere = {"DATABASE_URL": "postgresql://u:x@nowhere.invalid/d", "S3_ENDPOINT": "http://nowhere.invalid:1"}
    ended = command_line("backup", server=library, **{variable: nowhere[variable]})
    assert ended.status == 1
    assert "trying again" in ended.err
    assert "HINT: check " in ended.err
    assert "Traceback" not in ended.err
    assert command_line("backup", server=library).status == 0
    assert len(Repository(storage).backups()) == 1


def test_a_prefect_server_that_restarts(
    library: Server, storage: ObjectStore, storage_server: Storage, tmp_path: Path, clients: dict[int, Client]
) -> None:  # fmt: skip
    """A recorded backup goes on while its server is away, and ends well."""
    port, history, log = free_ports(1)[0], tmp_path / "history", tmp_path / "log"
    give_history(history)
    with log.open("wb") as console, library.connect(own_names=True) as connection:
        with running_prefect(history, port=port) as api:
            environ = {
                **command_environment(storage_server, storage, api, tmp_path),
                "DATABASE_URL": library.url.get_secret_value(),
            }
            with connection.transaction():
                connection.execute("LOCK TABLE books")  # pg_dump waits for it
                running = subprocess.Popen([PROGRAM, "backup"], env=environ, stdout=console, stderr=console)
                until(lambda: bool(asked(library, _WAITING)))
        with running_prefect(history, port=port):
            assert running.wait(240) == 0, log.read_text()
    assert_all_proven(storage, 1, clients[16])
