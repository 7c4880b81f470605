"""A drill gives every backup the right verdict, and leaves no trace on the server, however it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import flows.restore_drill as drill_flow
from blocks.config.environment import child_environment
from blocks.errors import DOWNLOAD, PgRoundtripError, StorageUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows.demo.services import free_ports
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.drill import rehearse_restore
from tasks.engine.drill.round_trip import contents_of
from tasks.engine.dump.pg_dump import running_dump
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tasks.engine.servers.scratch import MARK_LIMIT, Locale, scratch_database
from tasks.engine.stream.pipeline import scan_dump
from tasks.status.listing import list_catalog
from tests.conftest import Ended, FlowRun, NewDatabase, StartedCommand, databases_of
from tests.integration.objects import (
    LARGE_OBJECTS,
    LIBRARY,
    NAME,
    asked,
    contents,
    copied,
    inserted,
    manifest_of,
    new_role,
    put_object,
    rewrite,
    take_backup,
    told,
    until,
    without_manifest,
)
from tests.plans import plan_of

Clients = dict[int, Client]


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A database with tables and large objects on PostgreSQL 16, and a backup of it."""
    source = new_database(16, LIBRARY + LARGE_OBJECTS)
    take_backup(storage, source, clients[16])
    return source


@pytest.fixture
def drilled(flow_run: FlowRun, storage: ObjectStore) -> Callable[..., DrillReport]:
    """A function that runs a drill and returns its report; the server has the same databases afterwards."""

    def call(server: Server, verify: Server | None = None, **environ: str) -> DrillReport:
        if verify:
            environ["VERIFY_DATABASE_URL"] = verify.url.get_secret_value()
        before = databases_of(server)
        ran = flow_run(restore_drill, server, environ=environ)
        assert ran.error is None
        assert databases_of(server) == before
        assert isinstance(ran.result, DrillReport)
        return ran.result

    return call


# --- PROVEN -----------------------------------------------------------------------------------------------------------


def test_a_healthy_backup_is_proven_everywhere(
    library: Server, storage: ObjectStore, flow_run: FlowRun, prefect_api: str
) -> None:
    """The verdict shows in the run's final state, in the report beside the backup, and in the list."""
    ran = flow_run(restore_drill, library)
    state = httpx.get(f"{prefect_api}/flow_runs/{ran.run_id}").json()["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "PROVEN")
    stored = Repository(storage).report_even_unlisted(NAME)
    assert stored == ran.result
    assert stored
    # Of a server in use, no roles are touched.
    assert {c.result for c in stored.checks if c.name != "globals"} == {"passed"}
    assert [(b["name"], b["verdict"]) for b in list_catalog(plan_of(storage))] == [(NAME, "PROVEN")]


# --- FAILED -----------------------------------------------------------------------------------------------------------


def test_failed_is_the_state_and_exit_status_1(
    library: Server, storage: ObjectStore, command_line: Callable[..., Ended], prefect_api: str
) -> None:
    """A bad backup makes the run fail with the state FAILED and exit status 1."""
    put_object(storage, b"")
    done = command_line("drill", NAME, "--json", server=library)
    assert (done.status, json.loads(done.out)["verdict"]) == (1, "FAILED")
    assert "Backup file is empty or does not exist" in json.loads(done.out)["cause"]
    assert done.err.count("ERROR: Backup file is empty or does not exist [") == 1
    assert "HINT: take a new backup" in done.err
    assert "Traceback" not in done.err
    assert _newest_state(prefect_api) == ("FAILED", "FAILED")
    assert [b["verdict"] for b in list_catalog(plan_of(storage))] == ["FAILED"]


def _newest_state(prefect_api: str) -> tuple[str, str]:
    # Scheduled runs of other tests count as the newest.
    begun = {"start_time": {"is_null_": False}}
    wanted = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["restore-drill"]}}, "flow_runs": begun}
    run = httpx.post(f"{prefect_api}/flow_runs/filter", json=wanted).json()[0]
    return run["state"]["type"], run["state"]["name"]


# --- INCONCLUSIVE -----------------------------------------------------------------------------------------------------


def test_without_the_right_to_create_databases_nothing_is_concluded(
    library: Server, command_line: Callable[..., Ended], prefect_api: str
) -> None:
    """A drill that can't create a database exits with 3 and says why, without blaming the backup."""
    role = new_role(library)
    done = command_line("drill", server=library, VERIFY_DATABASE_URL=role.url.get_secret_value())
    assert done.status == 3
    assert "INCONCLUSIVE" in done.out
    assert "permission denied to create database" in done.out
    assert "Traceback" not in done.err
    assert _newest_state(prefect_api) == ("FAILED", "INCONCLUSIVE")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transient errors are retried as often as in production, but without waiting."""
    task = rehearse_restore.with_options(retry_delay_seconds=0)
    monkeypatch.setattr(drill_flow, "rehearse_restore", task)


@pytest.mark.usefixtures("impatient")
def test_an_unreachable_drill_server_is_inconclusive(library: Server, drilled: Callable[..., DrillReport]) -> None:
    """A drill whose server is unreachable says nothing about the backup."""
    nobody = {**library.parameters(), "port": str(free_ports(1)[0])}
    report = drilled(library, verify=Server(url=SecretStr(conninfo_url(nobody))))
    assert report.verdict == "INCONCLUSIVE"
    assert "Cannot connect to database" in report.cause


@pytest.mark.usefixtures("impatient")
def test_a_storage_that_breaks_off_is_inconclusive(
    library: Server, drilled: Callable[..., DrillReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed download is a network error, not a bad backup."""

    def broken(*_: Any) -> Iterator[bytes]:
        raise StorageUnreachable(during=DOWNLOAD)

    monkeypatch.setattr(ObjectStore, "open_range", broken)
    report = drilled(library)
    assert (report.verdict, report.cause) == ("INCONCLUSIVE", "Failed to download backup from S3")


def test_what_is_known_of_a_backup_stays(
    new_database: NewDatabase,
    server_of: Callable[[int], Server],
    clients: Clients,
    storage: ObjectStore,
    drilled: Callable[..., DrillReport],
) -> None:
    """An INCONCLUSIVE drill, here for want of an extension, doesn't hide an earlier verdict."""
    source = new_database(15, "CREATE EXTENSION hstore; CREATE TABLE t (h hstore); INSERT INTO t VALUES ('a=>1')")
    take_backup(storage, source, clients[15])
    assert drilled(source).verdict == "PROVEN"
    report = drilled(source, verify=server_of(18), VERIFY_LATEST="true")
    assert report.verdict == "INCONCLUSIVE"
    assert "hstore" in report.cause
    assert [b["verdict"] for b in list_catalog(plan_of(storage))] == ["PROVEN"]


# --- which backup, and where ------------------------------------------------------------------------------------------


def test_the_drill_uses_the_server_it_is_given(
    library: Server,
    server_of: Callable[[int], Server],
    storage: ObjectStore,
    drilled: Callable[..., DrillReport],
) -> None:
    """With VERIFY_DATABASE_URL nothing happens on the database's own server."""
    told(library.on("postgres"), f"ALTER DATABASE {library.database} ALLOW_CONNECTIONS false")
    report = drilled(library.on("postgres"), verify=server_of(18), BACKUPS_OF=library.database)
    assert report.verdict == "PROVEN"
    assert report.target_version.startswith("18")


def test_a_backup_can_be_chosen(
    library: Server, storage: ObjectStore, drilled: Callable[..., DrillReport], flow_run: FlowRun
) -> None:
    """VERIFY_LATEST=false with VERIFY_BACKUP_FILE selects the backup to drill; a name in the call takes precedence."""
    copied(storage, "backup_20240301_000000")
    assert drilled(library).backup == "backup_20240301_000000"
    chosen = {"VERIFY_LATEST": "false", "VERIFY_BACKUP_FILE": NAME + ".sql.gz"}
    assert drilled(library, **chosen).backup == NAME
    ran = flow_run(restore_drill, library, environ=chosen, backup="backup_20240301_000000")
    assert ran.result.backup == "backup_20240301_000000"
    missing = flow_run(restore_drill, library, backup="backup_20200101_000000")
    assert isinstance(missing.error, PgRoundtripError)
    assert missing.error.sentence == "Backup file is empty or does not exist [backup_20200101_000000]"


# --- backups of other tools -------------------------------------------------------------------------------------------


def _foreign(storage: ObjectStore, server: Server, client: Client, *options: str) -> None:
    environ = child_environment(server.child_environment())
    dump = f"{client.program('pg_dump')} {' '.join(options)} | gzip"
    done = subprocess.run(["sh", "-c", dump], env=environ, capture_output=True, check=True)
    put_object(storage, done.stdout)


def test_a_foreign_backup_is_drilled_with_fewer_checks(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, drilled: Callable[..., DrillReport]
) -> None:
    """A `pg_dump | gzip` backup without a manifest is PROVEN by the round trip, and the skipped checks are named."""
    source = new_database(16, LIBRARY + LARGE_OBJECTS)
    _foreign(storage, source, clients[16])
    report = drilled(source)
    results = {c.name: c.result for c in report.checks}
    assert report.verdict == "PROVEN"
    assert results["size and SHA-256"] == "not possible"
    assert results["row digests"] == "passed"
    assert [(b["rows"], b["verdict"]) for b in list_catalog(plan_of(storage))] == [(None, "PROVEN")]


def test_a_foreign_backup_that_names_its_database_is_not_restored_into_it(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, drilled: Callable[..., DrillReport]
) -> None:
    """`pg_dump --clean --create` would switch from the scratch database to the real one: refused, without a verdict."""
    source = new_database(16, LIBRARY)
    before = contents(source, clients[16])
    _foreign(storage, source, clients[16], "--clean", "--create")
    report = drilled(source)
    assert report.verdict == "INCONCLUSIVE"
    assert "the dump selects its own database" in report.cause
    assert contents(source, clients[16]) == before


# --- nothing is left behind, and foreign databases stay untouched -----------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_drill_leaves_nothing_for_long(
    number: signal.Signals,
    library: Server,
    storage: ObjectStore,
    started_command: StartedCommand,
    drilled: Callable[..., DrillReport],
    flow_run: FlowRun,
) -> None:
    """A terminated drill drops its database; a killed one leaves it marked, and the next drill sweeps it."""
    databases = databases_of(library)
    copied(storage, "backup_20240301_000000")
    rewrite(
        storage,
        inserted(
            "CREATE MATERIALIZED VIEW public.asleep AS SELECT pg_sleep(600)::text AS slept WITH NO DATA; REFRESH MATERIALIZED VIEW public.asleep;"
        ),
        forge=True,
    )
    running = started_command("drill", NAME, DATABASE_URL=library.url.get_secret_value(), VERIFY_TARGET="database")
    sleepers = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'REFRESH MAT%%asleep%%' AND datname LIKE 'verify%%'"
    until(lambda: bool(asked(library, sleepers)))
    running.send_signal(number)
    assert running.wait(60) != 0
    left = databases_of(library) - databases
    assert len(left) == (0 if number is signal.SIGTERM else 1)
    for name in left:
        assert re.fullmatch(r"verify_\d{8}_\d{6}", name)
        marked = asked(library, "SELECT datconnlimit FROM pg_database WHERE datname = %s", name)
        assert marked == [(MARK_LIMIT,)]
    assert flow_run(restore_drill, library, environ={"VERIFY_TARGET": "database"}).result.verdict == "PROVEN"
    assert databases_of(library) == databases


def test_only_what_is_ours_and_unused_is_swept(
    library: Server, new_database: NewDatabase, drilled: Callable[..., DrillReport]
) -> None:
    """An unmarked database, one in use, or one whose drill is alive is never dropped, whatever its name."""
    unmarked = new_database(16, name="verify_20240101_000000")
    in_use = new_database(16, name="verify_20240101_000001")
    other_name = new_database(16, name="verify_20240101")
    dead = new_database(16, name="verify_20240101_000002")
    for marked in (in_use, other_name, dead):
        told(library, f"ALTER DATABASE {marked.database} CONNECTION LIMIT {MARK_LIMIT}")
    stranger = {**in_use.parameters(), "application_name": "somebody"}
    elsewhere = new_database(16)
    with (
        Server(url=SecretStr(conninfo_url(stranger))).connect(),
        scratch_database(library, "verify", Locale(), utc_now(), pytest.fail) as alive,
        scratch_database(elsewhere, "verify", Locale(), utc_now(), pytest.fail) as alive_elsewhere,
    ):
        before = databases_of(library)
        report = _drill_only(drilled, library, before - {dead.database})
    assert report.verdict == "PROVEN"
    kept = {unmarked.database, in_use.database, other_name.database}
    assert kept <= databases_of(library)
    assert not {alive.database, alive_elsewhere.database} & databases_of(library)


def _drill_only(drilled: Callable[..., DrillReport], server: Server, expected: set[str]) -> DrillReport:
    """Run a drill that is expected to sweep something."""
    with pytest.raises(AssertionError):
        drilled(server, VERIFY_TARGET="database")
    assert databases_of(server) == expected
    return drilled(server, VERIFY_TARGET="database")


def test_the_restored_rows_are_compared_and_not_guessed(
    library: Server, storage: ObjectStore, clients: Clients
) -> None:
    """The manifest's rows and digests match a dump of the database itself."""
    with running_dump(library, clients[16]) as dump:
        found = scan_dump(dump, DumpScanner())
    manifest = manifest_of(storage)
    assert (contents_of(manifest), manifest.schema_digest) == (contents_of(found), found.schema_digest)
    without_manifest(storage)
