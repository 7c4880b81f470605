"""A drill respects its limits: on time, on connections to a shared server, and on a backup's age."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import tasks.engine.drill.rehearsal
from blocks.errors import DatabaseUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows.restore_drill import restore_drill
from tasks.engine.drill.place import Place
from tasks.engine.dump.pg_dump import DumpSource, running_dump
from tasks.engine.repository.facts import newest_proven
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tasks.status.listing import list_catalog
from tests.conftest import Ended, FlowRun, NewDatabase, databases_of
from tests.integration.objects import (
    LIBRARY,
    NAME,
    asked,
    copied,
    inserted,
    new_role,
    rewrite,
    take_backup,
    told,
    until,
)
from tests.integration.sandboxes import FOREVER, assert_nothing_is_left, rehearsed, results, row
from tests.plans import plan_of
from tests.processes import children_of

pytestmark = pytest.mark.usefixtures("unguarded")

Clients = dict[int, Client]
TIMED_OUT = "The drill took longer than VERIFY_TIMEOUT allows"


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A database on PostgreSQL 16, and a backup of it."""
    source = new_database(16, LIBRARY)
    take_backup(storage, source, clients[16])
    return source


@pytest.fixture(params=["sandbox", "database"])
def place(request: pytest.FixtureRequest, library: Server, clients: Clients, home: Path) -> Iterator[Place]:
    """Either place to restore to; afterwards nothing is left in it, and none of our clients is running."""
    databases = databases_of(library)
    yield Place("sandbox", client=clients[16]) if request.param == "sandbox" else Place("database", server=library)
    assert_nothing_is_left(home)
    assert databases_of(library) == databases
    assert children_of(None, "pg_dump") == []
    until(lambda: not asked(library, "SELECT 1 FROM pg_stat_activity WHERE query = %s", FOREVER))


def assert_only_more_than_was_stored(report: DrillReport) -> None:
    """Only the statement that the test inserted is reported; everything else was restored unchanged."""
    assert {name for name, result in results(report).items() if result == "failed"} == {"schema"}, report.cause
    assert results(report)["restored without error"] == results(report)["row digests"] == "passed"


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_restore_that_takes_too_long_is_given_up(place: Place, storage: ObjectStore) -> None:
    """A restore that exceeds VERIFY_TIMEOUT is ended on the client and the server, without a verdict."""
    rewrite(storage, inserted(FOREVER), forge=True)
    report = rehearsed(storage, place, verify_timeout_s=4)
    assert (report.verdict, report.cause, report.place) == ("INCONCLUSIVE", TIMED_OUT, place.kind)
    assert row(report, "restored without error").evidence == TIMED_OUT


def test_a_dump_of_the_copy_that_takes_too_long_is_given_up(
    place: Place, storage: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit covers the second dump too; earlier findings stay in the report."""

    @contextmanager
    def behind_a_lock(server: Server, *arguments: Any, **named: Any) -> Iterator[DumpSource]:
        with server.connect(own_names=True) as connection, connection.transaction():
            connection.execute("LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
            with running_dump(server, *arguments, **named) as dump:
                yield dump

    monkeypatch.setattr("tasks.engine.drill.second_dump.running_dump", behind_a_lock)
    report = rehearsed(storage, place, verify_timeout_s=10)
    assert (report.verdict, report.cause) == ("INCONCLUSIVE", TIMED_OUT)
    found = results(report)
    assert (found["restored without error"], found["row digests"]) == ("passed", "not possible")
    assert row(report, "row digests").evidence == "the drill ended before"


def test_a_limit_that_is_over_before_the_restore(place: Place, storage: ObjectStore) -> None:
    """If no time is left before the restore, whatever the reason, nothing is started."""
    report = rehearsed(storage, place, verify_timeout_s=0)
    assert (report.verdict, report.cause) == ("INCONCLUSIVE", TIMED_OUT)


@pytest.mark.usefixtures("home", "impatient")
def test_retries_do_not_prolong_a_drill(library: Server, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt of a drill gets only the time left by the attempts before it."""
    left = []

    def failing(task: tasks.engine.drill.rehearsal.DrillJob, *_: object) -> None:
        left.append(task.remaining_s())
        raise DatabaseUnreachable("now and then")

    monkeypatch.setattr(tasks.engine.drill.rehearsal, "_look_at_object", failing)
    ran = flow_run(restore_drill, library, environ={"VERIFY_TIMEOUT": "600"})
    assert (ran.state, len(left)) == ("INCONCLUSIVE", 4)
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 4


# --- a shared server --------------------------------------------------------------------------------------------------

# Other settings cause a division by zero, which ends the restore.
CHECKED = """SELECT 1 / (CASE WHEN (SELECT string_agg(current_setting(name), ',') FROM unnest('{{max_parallel_workers_per_gather,\
max_parallel_maintenance_workers,statement_timeout,lock_timeout,idle_in_transaction_session_timeout}}'::text[]) name)
= '{}' THEN 1 ELSE 0 END);"""


@pytest.mark.parametrize(("kind", "settings"), [("database", "0,0,0,0,0"), ("sandbox", "2,1,0,0,0")])
def test_a_restore_is_gentle_where_others_work(
    kind: str, settings: str, library: Server, storage: ObjectStore, clients: Clients, home: Path
) -> None:
    """On a database server a restore uses one process at a time; in a sandbox it uses what there is."""
    rewrite(storage, inserted(CHECKED.format(settings)), forge=True)
    place = Place("database", server=library) if kind == "database" else Place("sandbox", client=clients[16])
    assert_only_more_than_was_stored(rehearsed(storage, place))


def test_a_drill_takes_no_more_than_three_connections(library: Server, storage: ObjectStore) -> None:
    """A server with few connections available can take a drill too."""
    rewrite(storage, inserted("SELECT pg_sleep(1);"), forge=True)
    watcher = Server(url=SecretStr(conninfo_url({**library.parameters(), "application_name": "watcher"})))
    counts, done = list[int](), threading.Event()

    def watch() -> None:
        with watcher.connect(own_names=True) as connection:
            while not done.is_set():
                ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg-roundtrip'"
                counts.append(connection.query(ours)[0][0])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        report = rehearsed(storage, Place("database", server=library))
    finally:
        done.set()
        thread.join()
    assert_only_more_than_was_stored(report)
    assert 2 <= max(counts) <= 3


def test_a_roles_own_limits_do_not_cut_a_drill_short(
    new_database: NewDatabase, storage: ObjectStore, clients: Clients
) -> None:
    """A role's timeouts for its applications, which would end any sizeable restore, don't interrupt a drill."""
    source = new_database(17)
    role = new_role(source, "CREATEDB")
    name = role.parameters()["user"]
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
    told(source, f"ALTER DATABASE {source.database} OWNER TO {name}")
    told(role, LIBRARY)
    told(source, *(f"ALTER ROLE {name} SET {limit} = '300ms'" for limit in limits))
    take_backup(storage, role, clients[17])
    rewrite(storage, inserted("SELECT pg_sleep(1);"), forge=True)
    report = rehearsed(storage, Place("database", server=role))
    told(source, f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP ROLE {name}")
    assert_only_more_than_was_stored(report)


# --- age --------------------------------------------------------------------------------------------------------------


def test_a_backup_that_is_too_old_fails_for_its_age_alone(
    library: Server, storage: ObjectStore, command_line: Callable[..., Ended], home: Path
) -> None:
    """With no newer backup the drill fails with exit status 1, though the contents are known to be good."""
    done = command_line("drill", "--json", server=library, VERIFY_MAX_AGE="3600", TMPDIR=str(home))
    said = json.loads(done.out)
    assert (done.status, said["verdict"]) == (1, "FAILED"), done.err
    assert [check["name"] for check in said["checks"] if check["result"] == "failed"] == ["backup age"]
    assert "the limit is 60 min" in said["cause"]
    newest = newest_proven(Repository(storage), Repository(storage).backups())
    assert (newest and newest.name) == NAME
    assert [b["verdict"] for b in list_catalog(plan_of(storage))] == ["FAILED"]


@pytest.mark.usefixtures("home")
def test_an_old_backup_that_is_asked_for_is_not_late(library: Server, storage: ObjectStore, flow_run: FlowRun) -> None:
    """A backup drilled by name is not failed for its age; the age is reported all the same."""
    limit = {"VERIFY_MAX_AGE": "3600"}
    copied(storage, "backup_20240301_000000")
    chosen = {**limit, "VERIFY_LATEST": "false", "VERIFY_BACKUP_FILE": NAME}
    for ran in (
        flow_run(restore_drill, library, environ=limit, backup=NAME),
        flow_run(restore_drill, library, environ=chosen),
    ):
        assert (ran.state, ran.result.backup) == ("PROVEN", NAME)
        assert "days old" in row(ran.result, "backup age").evidence
    assert flow_run(restore_drill, library, environ=limit).state == "FAILED"
