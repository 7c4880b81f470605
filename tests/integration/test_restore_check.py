"""A command of the user's tests the restored copy inside of a drill, on real servers, in a sandbox and on a server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.restore_drill import restore_drill
from tasks.engine.drill.own_check import NAME
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.conftest import FlowRun, NewDatabase, databases_of
from tests.integration import objects
from tests.integration.hooks import Noted, told
from tests.integration.objects import LIBRARY, take_backup
from tests.integration.sandboxes import assert_nothing_is_left, results, row

each_target = pytest.mark.parametrize("target", ["sandbox", "database"])
# As an application does: from the URL alone, with a driver of its own.
APPLICATION = """
import os, psycopg
with psycopg.connect(os.environ["PG_ROUNDTRIP_RESTORED_URL"]) as connection:
    assert connection.execute("SELECT count(*) FROM books").fetchone() == (300,)
    print("the application is fine")
"""


@pytest.fixture(autouse=True)
def library(new_database: NewDatabase, storage: ObjectStore, clients: dict[int, Client], home: Path) -> Server:
    """A database on PostgreSQL 16, and a backup of it."""
    source = new_database(16, LIBRARY)
    take_backup(storage, source, clients[16])
    return source


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    """Commands that note what they are told."""
    (tmp_path / "hooks").mkdir()
    return Noted(tmp_path / "hooks")


@pytest.fixture
def psql(clients: dict[int, Client]) -> str:
    """The program, without any option that says where the server is."""
    return f"'{clients[16].program('psql')}' -X -At -v ON_ERROR_STOP=1"


@each_target
def test_a_test_that_passes(
    target: str, flow_run: FlowRun, library: Server, noted: Noted, psql: str, storage: ObjectStore, home: Path
) -> None:  # fmt: skip
    """The copy is what psql connects to by itself; the report has a row; and nothing is left, whatever the test changed."""
    before = databases_of(library)
    test = noted.hook(
        then=f"set -e\n[ $({psql} -c 'SELECT count(*) FROM books') = 300 ]\n{psql} -c 'DROP TABLE books CASCADE'"
    )
    environ = {"POST_RESTORE_CHECK": test, "VERIFY_TARGET": target, "VERIFY_STRICT": "true"}
    ran = flow_run(restore_drill, library, environ=environ)
    assert (ran.state, ran.result.place) == ("PROVEN", target)
    assert (row(ran.result, NAME).result, row(ran.result, NAME).evidence) == ("passed", "noted 0.sh exited with code 0")
    assert Repository(storage).report_even_unlisted(objects.NAME) == ran.result
    (run,) = noted.runs()
    said = told(run)
    assert {name: said.get(name, "") for name in ("EVENT", "PLAN", "BACKUP", "KEY", "PLACE", "DATABASE", "HOST")} == {
        "EVENT": "post-restore", "PLAN": "default", "BACKUP": objects.NAME, "KEY": storage.key(f"{objects.NAME}.sql.gz"),
        "PLACE": target, "DATABASE": library.database, "HOST": "",
    }  # fmt: skip
    assert run["PGDATABASE"].startswith("verify_")
    assert not {"DATABASE_URL", "S3_SECRET_ACCESS_KEY"} & run.keys()
    assert databases_of(library) == before
    assert_nothing_is_left(home)


@each_target
def test_an_application(
    target: str, flow_run: FlowRun, library: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The URL is one that drivers take; the password in it is masked where the test prints it."""
    program = tmp_path / "smoke.py"
    program.write_text(APPLICATION + 'print(os.environ["PGPASSWORD"], os.environ["PG_ROUNDTRIP_RESTORED_URL"])')
    environ = {"POST_RESTORE_CHECK": f"{sys.executable} {program}", "VERIFY_TARGET": target}
    assert results(flow_run(restore_drill, library, environ=environ).result)[NAME] == "passed"
    assert "POST_RESTORE_CHECK: the application is fine" in caplog.messages
    assert "POST_RESTORE_CHECK: *** ***" in caplog.messages


@pytest.mark.parametrize(("strict", "state", "result"), [("false", "PROVEN", "warning"), ("true", "FAILED", "failed")])
def test_a_test_that_fails(
    strict: str, state: str, result: str, flow_run: FlowRun, library: Server, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """It is a warning, or the verdict, as VERIFY_STRICT says; the rows were compared before."""
    environ = {
        "POST_RESTORE_CHECK": noted.hook(1, "echo no orders"),
        "VERIFY_TARGET": "sandbox",
        "VERIFY_STRICT": strict,
    }
    ran = flow_run(restore_drill, library, environ=environ)
    assert (ran.state, row(ran.result, NAME).result) == (state, result)
    assert (row(ran.result, NAME).evidence, results(ran.result)["row digests"]) == (
        "noted 0.sh exited with code 1",
        "passed",
    )
    assert "POST_RESTORE_CHECK: no orders" in caplog.messages
    assert "POST_RESTORE_CHECK: noted 0.sh exited with code 1" in caplog.messages
    if state == "FAILED":
        assert (ran.result.code, ran.result.cause) == (
            "PGR-VERIFICATION-FAILED",
            f"{NAME}: noted 0.sh exited with code 1",
        )


@pytest.mark.parametrize(("command", "why"), [
    ("/nowhere/test.sh", "test.sh could not be started: No such file or directory"), ("sh -c 'sleep 60; :'", "sh did not end within 1 s"),
    ("sh -c no-such-program", "sh exited with code 127"), ("sh -c 'kill -9 $$'", "sh was ended by SIGKILL"),
])  # fmt: skip
def test_a_test_that_says_nothing(command: str, why: str, flow_run: FlowRun, library: Server, home: Path) -> None:
    """One that couldn't be made is not held against the backup; if it must be made, the drill is INCONCLUSIVE."""
    environ = {"POST_RESTORE_CHECK": command, "HOOK_TIMEOUT": "1", "VERIFY_TARGET": "database"}
    ran = flow_run(restore_drill, library, environ=environ)
    assert (ran.state, row(ran.result, NAME).result, row(ran.result, NAME).evidence) == ("PROVEN", "not possible", why)
    ran = flow_run(restore_drill, library, environ={**environ, "VERIFY_STRICT": "true"})
    assert (ran.state, row(ran.result, NAME).result, ran.result.code) == ("INCONCLUSIVE", "not possible", "PGR-HOOK")
    assert_nothing_is_left(home)


def test_a_test_does_not_excuse_a_bad_backup(flow_run: FlowRun, library: Server, storage: ObjectStore) -> None:
    """A backup with other rows than its manifest says is FAILED, even if a test that must be made could not be."""
    objects.put_manifest(storage, other_rows(objects.manifest_of(storage)))
    environ = {"POST_RESTORE_CHECK": "/nowhere/test.sh", "VERIFY_TARGET": "sandbox", "VERIFY_STRICT": "true"}
    assert flow_run(restore_drill, library, environ=environ).state == "FAILED"


def other_rows(manifest: Manifest) -> Manifest:
    """Return the manifest of a backup in which a table had other contents."""
    first, *others = manifest.tables
    return manifest.model_copy(update={"tables": (first.model_copy(update={"digest": "0" * 32}), *others)})
