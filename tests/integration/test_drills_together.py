"""Concurrent drills don't disturb each other, and one cancelled in Prefect cleans up completely."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import tasks.engine.drill.rehearsal
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tasks.engine.drill.place import Place
from tasks.engine.drill.sql_checks import run_sql_checks
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import sweep_servers
from tasks.engine.servers.scratch import sweep_scratch_databases
from tests.conftest import NewDatabase, command_environment, databases_of
from tests.integration.objects import LARGE_OBJECTS, LIBRARY, copied, inserted, rewrite, take_backup, until
from tests.integration.sandboxes import (
    FOREVER,
    assert_nothing_is_left,
    folders,
    postmasters,
    processes,
    rehearsed,
    restoring,
    segments_of,
)

Clients = dict[int, Client]
RUNNER = """
import asyncio, sys
from prefect.runner import Runner
from flows.restore_drill import restore_drill

async def main():
    runner = Runner(query_seconds=1)
    await runner.aadd_deployment(await restore_drill.ato_deployment(name=sys.argv[1]))
    await runner.start()

asyncio.run(main())
"""


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A database on PostgreSQL 16, and a backup of it."""
    source = new_database(16, LIBRARY + LARGE_OBJECTS)
    take_backup(storage, source, clients[16])
    return source


@pytest.mark.parametrize("kind", ["sandbox", "database"])
def test_drills_of_the_same_second(
    kind: str,
    library: Server,
    storage: ObjectStore,
    clients: Clients,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Drills of the same second have separate places, and one drill's sweep doesn't touch another's."""
    copied(storage, "backup_20240301_000000")
    places = {"sandbox": Place("sandbox", client=clients[16]), "database": Place("database", server=library)}
    together, names = threading.Barrier(2, timeout=60), list[str]()
    databases = databases_of(library)

    def meet(scratch: Server, *arguments: Any) -> Any:
        names.append(scratch.address)
        together.wait()
        # Both are restored now; a sweep finds nothing to remove.
        assert (sweep_servers(), sweep_scratch_databases(library)) == ([], [])
        together.wait()
        return run_sql_checks(scratch, *arguments)

    monkeypatch.setattr(tasks.engine.drill.rehearsal, "run_sql_checks", meet)
    monkeypatch.setattr("tests.integration.sandboxes.utc_now", lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(rehearsed, storage, places[kind], name=n)
            for n in ("backup_20240301_000000", "backup_20240207_143022")
        ]
        reports = [run.result() for run in runs]
    assert [(r.verdict, r.cause) for r in reports] == [("PROVEN", "")] * 2
    assert len(set(names)) == 2
    assert all("/verify_20260102_030405" in name for name in names)
    assert databases_of(library) == databases
    assert_nothing_is_left(home)


@pytest.fixture
def running_drills(
    storage_server: Storage, storage: ObjectStore, prefect_api: str, tmp_path: Path, home: Path
) -> Iterator[Callable[[], str]]:
    """A function that has a Prefect runner execute one drill, and returns the run's id."""
    environ = {
        **command_environment(storage_server, storage, prefect_api, tmp_path),
        "VERIFY_TARGET": "sandbox",
        "TMPDIR": str(home),
    }
    name, started = f"deployment-of-{os.getpid()}", list[subprocess.Popen[bytes]]()

    def start() -> str:
        quiet = subprocess.DEVNULL
        command = [sys.executable, "-c", RUNNER, name]
        started.append(
            subprocess.Popen(command, env=environ, cwd=Path(__file__).parents[2], stdout=quiet, stderr=quiet)
        )
        address = f"{prefect_api}/deployments/name/restore-drill/{name}"
        until(lambda: httpx.get(address).status_code == 200)
        deployment = httpx.get(address).json()["id"]
        created = httpx.post(
            f"{prefect_api}/deployments/{deployment}/create_flow_run", json={"state": {"type": "SCHEDULED"}}
        )
        return str(created.json()["id"])

    yield start
    for runner in started:
        runner.terminate()
        runner.wait(60)


@pytest.mark.usefixtures("library")
def test_a_drill_that_is_cancelled_leaves_nothing(
    running_drills: Callable[[], str], storage: ObjectStore, prefect_api: str, home: Path
) -> None:
    """After cancelling in the middle of a restore the run is Cancelled, and server, folder and memory are gone."""
    rewrite(storage, inserted(FOREVER), forge=True)
    run = f"{prefect_api}/flow_runs/{running_drills()}"
    until(lambda: bool(restoring(home)))
    pids = postmasters(home)
    cancelling = {"state": {"type": "CANCELLING"}}
    assert httpx.post(f"{run}/set_state", json=cancelling).json()["status"] == "ACCEPT"
    until(lambda: httpx.get(run).json()["state"]["type"] == "CANCELLED")
    until(lambda: not (folders(home) or list(processes(home)) or segments_of(pids)))
