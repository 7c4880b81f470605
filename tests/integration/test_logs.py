"""Console output of runs, wherever they run, follows the specified line format."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tests.conftest import Ended, NewDatabase, command_environment
from tests.integration.children import Children, schedule_run
from tests.integration.objects import LIBRARY, told, until

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (ERROR|WARNING|INFO): \S.*")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
# The specification's example, from its first line to the last that the run itself logs.
EXAMPLE = (
    r"INFO: Starting backup at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    r"INFO: Dumping database\.\.\.",
    r"INFO: Uploading to S3\.\.\.",
    r"INFO: Backup file created: \d+(\.\d)?[BKMGT]",
    r"INFO: Backup completed successfully: test/\d+/backup_\d{8}_\d{6}\.sql\.gz",
)


def assert_format(lines: list[str]) -> None:
    """Every line has a time, a level and a text."""
    assert lines
    assert [line for line in lines if not LINE.fullmatch(line)] == []


def assert_example(lines: list[str]) -> None:
    """The lines of the specification's example appear in the log, in order."""
    said = [line.partition(" ")[2] for line in lines]
    places = [next((n for n, line in enumerate(said) if re.fullmatch(wanted, line)), -1) for wanted in EXAMPLE]
    assert -1 not in places, said
    assert places == sorted(places)


def test_a_command(new_database: NewDatabase, command_line: Callable[..., Ended]) -> None:
    """The log goes to standard error; the command's result goes to standard output."""
    done = command_line("backup", server=new_database(16, LIBRARY))
    assert_format(done.err.splitlines())
    assert_example(done.err.splitlines())
    assert done.err.splitlines()[-1].endswith("Z INFO: Deleted 0 old backups, kept 1")
    assert done.out.startswith("backup_")


def test_a_run_of_a_runner(new_database: NewDatabase, children: Children) -> None:
    """The format holds although Prefect set up logging before importing our flows, and the machine's time isn't UTC."""
    child = children.start("backup", DATABASE_URL=new_database(16, LIBRARY).url.get_secret_value())
    assert child.wait(120) == 0
    lines = children.lines(child)
    assert_format(lines)
    assert_example(lines)
    moments = [datetime.fromisoformat(line.partition(" ")[0]) for line in lines]
    assert all(abs(datetime.now(UTC) - moment) < timedelta(minutes=5) for moment in moments)


def test_a_run_of_a_runner_that_fails(new_database: NewDatabase, children: Children) -> None:
    """A failed run logs one error with its hint: no traceback, and no second sentence from Prefect about it."""
    url = new_database(16).url.get_secret_value()
    child = children.start("backup", DATABASE_URL=url, S3_SECRET_ACCESS_KEY="hidden-word")
    child.wait(120)
    lines = children.lines(child)
    assert_format(lines)
    error, hint = (line.partition("Z ")[2] for line in lines if " INFO: " not in line)
    assert error.startswith("ERROR: Access Denied [")
    assert hint.startswith("ERROR: HINT: check S3_ACCESS_KEY_ID")


def worker_variables() -> dict[str, str]:
    """Return the variables that docs/operations.md says to set for a worker."""
    found = re.finditer(r'^export (PREFECT_LOGGING\w+|TZ)="?(.*?)"?$', OPERATIONS.read_text(), re.MULTILINE)
    return {variable[1]: variable[2] for variable in found}


def end_of(run: UUID, api: str) -> str:
    """Return the name of a run's last state, once it has ended."""

    async def state() -> str:
        async with get_client() as client:
            found = (await client.read_flow_run(run)).state
            return found.name if found and found.is_final() and found.name else ""

    with temporary_settings({PREFECT_API_URL: api}):
        until(lambda: bool(asyncio.run(state())))
        return asyncio.run(state())


def test_a_worker(
    new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, prefect_api: str, tmp_path: Path
) -> None:
    """With the documented variables, a worker's own lines have our format; and a failed run doesn't stop the next."""
    server = new_database(16, LIBRARY)
    missing = server.on("comes later")
    environ = command_environment(storage_server, storage, prefect_api, tmp_path)
    environ |= worker_variables() | {"DATABASE_URL": missing.url.get_secret_value()}
    prefect = [sys.executable, "-m", "prefect"]
    subprocess.run(
        [*prefect, "work-pool", "create", "--type", "process", "logs"], env=environ, check=True, capture_output=True
    )
    with (tmp_path / "worker.log").open("wb") as console:
        command = [*prefect, "worker", "start", "--pool", "logs"]
        worker = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=console, stderr=subprocess.STDOUT)
        try:
            first = end_of(schedule_run(prefect_api, "backup", "logs"), prefect_api)
            told(server, 'CREATE DATABASE "comes later"')
            second = end_of(schedule_run(prefect_api, "backup", "logs"), prefect_api)
            lines = (
                (tmp_path / "worker.log").read_text().splitlines()
            )  # read before the worker prints its shutdown banner
        finally:
            worker.terminate()
            worker.wait(60)
            told(server, 'DROP DATABASE IF EXISTS "comes later"')
    log = lines[next(n for n, line in enumerate(lines) if LINE.fullmatch(line)) :]  # skip Prefect's banner
    assert_format(log)
    assert_example(log)
    assert (first, second) == ("Failed", "Completed"), lines
    assert any("ERROR: Cannot connect to database [" in line for line in log)


@pytest.mark.usefixtures("home")
def test_a_drill(
    server_of: Callable[[int], Server],
    new_database: NewDatabase,
    command_line: Callable[..., Ended],
    children: Children,
) -> None:
    """The log says what was proven, where the command's output isn't visible."""
    assert command_line("backup", server=new_database(16, LIBRARY)).status == 0
    child = children.start("restore-drill", VERIFY_TARGET="sandbox")
    assert child.wait(120) == 0
    lines = children.lines(child)
    assert_format(lines)
    assert re.fullmatch(r"\S+ INFO: PROVEN: backup_\S+ was restored in .+", lines[-1])
