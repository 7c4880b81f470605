"""A flow does the same whether Prefect records its run or no server exists: results, log lines, exit status, signals."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from tasks.clock import utc_now
from tasks.engine.repository.names import name_at
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, NewDatabase, StartedCommand
from tests.integration.objects import LIBRARY, asked, new_role, put_object, take_backup, until
from tests.processes import children_of

Run = Callable[..., Ended]
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# What differs from one run to the next: names, times, sizes of compressed data, durations and the names of databases.
VARIES = re.compile(
    r"(backup|verify|restore|test|replaced)_[0-9_]+|\d{4}-\d\d-\d\dT[\d:]+Z|\d+(\.\d+)?(?= s\b|M|k|K| B)|in \d\S*|:\d{4,5}/\S+|kept \d+|\d+ min|\d+\.\d+"
)


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: dict[int, Client]) -> Server:
    """A database on PostgreSQL 16, and a backup of it."""
    server = new_database(16, LIBRARY)
    take_backup(storage, server, clients[16], name_at(utc_now() - timedelta(hours=1)))
    return server


@dataclass(frozen=True)
class Case:
    """A command, and its exit status."""

    arguments: tuple[str, ...]
    status: int
    environ: Mapping[str, str]


CASES = {
    "backup": Case(("backup",), 0, {}),
    "backup that fails": Case(("backup",), 1, {"DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/none"}),
    "backup without settings": Case(("backup",), 2, {"DATABASE_URL": ""}),
    "drill": Case(("drill",), 0, {"VERIFY_TARGET": "database"}),
    "drill that is inconclusive": Case(("drill",), 3, {"VERIFY_TARGET": "database", "VERIFY_DATABASE_URL": "as a role that may not"}),
    "prune": Case(("prune", "--dry-run"), 0, {}),
    "prune of nothing": Case(("prune",), 0, {"BACKUP_PREFIX": "empty-folder"}),
    "restore of none": Case(("restore", "backup_20200101_000000"), 1, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_said_and_returned(
    case: Case, library: Server, new_database: NewDatabase, command_line: Run, prefect_api: str
) -> None:
    """Exit status, standard output and every log line are the same."""
    target = new_database(16).url.get_secret_value()
    environ = {"RESTORE_DATABASE_URL": target, **case.environ}
    if "VERIFY_DATABASE_URL" in environ:
        environ["VERIFY_DATABASE_URL"] = new_role(library).url.get_secret_value()
    plain, recorded = (
        command_line(*case.arguments, server=library, **{**environ, "PREFECT_API_URL": address})
        for address in ("", prefect_api)
    )
    assert (plain.status, recorded.status) == (case.status, case.status), plain.err + recorded.err
    for one, other in ((plain.out, recorded.out), (plain.err, recorded.err)):
        assert VARIES.sub("…", one).splitlines() == VARIES.sub("…", other).splitlines()
    assert all(STAMP.match(line) for line in plain.err.splitlines()), plain.err


def test_a_restore(library: Server, new_database: NewDatabase, command_line: Run, prefect_api: str) -> None:
    """The same rows are restored."""
    for address in ("", prefect_api):
        target = new_database(16)
        ended = command_line("restore", "latest", "--to", target.url.get_secret_value(), PREFECT_API_URL=address)
        assert ended.status == 0, ended.err
        assert asked(target, "SELECT count(*) FROM books") == asked(library, "SELECT count(*) FROM books")


def test_a_failed_drill(library: Server, storage: ObjectStore, command_line: Run, prefect_api: str) -> None:
    """A bad backup has the same verdict, and its report is stored."""
    (name,) = {found.key.rpartition("/")[2].partition(".")[0] for found in storage.list_objects()}
    put_object(storage, b"", name)
    for address in ("", prefect_api):
        ended = command_line("drill", "--json", server=library, PREFECT_API_URL=address)
        assert (ended.status, json.loads(ended.out)["verdict"]) == (1, "FAILED"), ended.err


def _count(prefect_api: str) -> int:
    return int(httpx.post(f"{prefect_api}/flow_runs/count", json={}).raise_for_status().text)


def test_recorded_or_not(library: Server, command_line: Run, prefect_api: str) -> None:
    """A run is recorded if a server is named, unless the command says otherwise; --record without a server is refused."""
    for address, options, status, made in (
        (prefect_api, (), 0, 1), (prefect_api, ("--record",), 0, 1), (prefect_api, ("--no-record",), 0, 0), ("", (), 0, 0),
        ("", ("--no-record",), 0, 0), ("", ("--record",), 2, 0),
    ):  # fmt: skip
        before = _count(prefect_api)
        ended = command_line("prune", "--dry-run", *options, server=library, PREFECT_API_URL=address)
        assert ended.status == status, ended.err
        assert _count(prefect_api) - before == made, (address, options)
    assert "ERROR: --record needs a Prefect server" in ended.err


def test_the_server_of_a_profile(command_line: Run, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> None:
    """A server that `prefect config set` has named counts too."""
    home = tmp_path_factory.mktemp("profile")
    (home / "profiles.toml").write_text(f'active = "ours"\n[profiles.ours]\nPREFECT_API_URL = "{prefect_api}"\n')
    before = _count(prefect_api)
    ended = command_line("prune", "--dry-run", PREFECT_API_URL="", PREFECT_HOME=str(home))
    assert ended.status == 0, ended.err
    assert _count(prefect_api) == before + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("recorded", [False, True])
def test_told_to_stop(
    recorded: bool, number: signal.Signals, library: Server, storage: ObjectStore, started_command: StartedCommand, prefect_api: str
) -> None:  # fmt: skip
    """It ends at once by the signal's status; no program and no upload is left."""
    before = {found.key for found in storage.list_objects()}
    with library.connect(own_names=True) as connection, connection.transaction():
        connection.execute("LOCK TABLE books")  # pg_dump waits for it
        running = started_command(
            "backup", DATABASE_URL=library.url.get_secret_value(), PREFECT_API_URL=prefect_api if recorded else ""
        )
        until(lambda: bool(children_of(running.pid, "pg_dump")))
        running.send_signal(number)
        assert running.wait(30) in (128 + number, -number)
    assert children_of(running.pid) == []
    assert {found.key for found in storage.list_objects()} == before


def test_prefect_is_not_even_imported(library: Server, command_line: Run) -> None:
    """A plain command imports neither Prefect nor what only a server needs."""
    ended = command_line("backup", server=library, PYTHONPROFILEIMPORTTIME="1")
    assert ended.status == 0
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in ended.err.splitlines() if "import time:" in line
    }
    assert {"botocore", "psycopg"} <= imported
    assert not imported & {"boto3", "prefect", "prefect_aws", "fastapi", "uvicorn", "sqlalchemy", "docker", "httpx"}
