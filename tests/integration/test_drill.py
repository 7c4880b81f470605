"""The drill: the right verdict for every backup, and no trace on the server, however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import flows.restore_drill as drill_flow
from blocks.errors import PgRoundtripError, StorageUnreachable
from blocks.plan import Plan
from blocks.postgres import PostgresServer, conninfo_url
from blocks.settings import child_environment
from blocks.storage import BackupStorage
from flows.backup import backup
from flows.demo.services import free_ports
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.drill import rehearse_restore
from tasks.engine import catalog
from tasks.engine.clients import Client
from tasks.engine.manifest import DrillReport, read_report
from tasks.engine.round_trip import contents_of
from tasks.engine.scratch import MARK_LIMIT, Locale, scratch_database
from tasks.listing import list_catalog
from tests.conftest import Ended, FlowRun, NewDatabase, StartedCommand, databases_of, psql
from tests.integration.damage import EDITS, WHOLESALE, Damage
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

Clients = dict[int, Client]


@pytest.fixture
def library(new_database: NewDatabase, storage: BackupStorage, clients: Clients) -> PostgresServer:
    """A database with tables and large objects on PostgreSQL 16, and a backup of it."""
    source = new_database(16, LIBRARY + LARGE_OBJECTS)
    take_backup(storage, source, clients[16])
    return source


@pytest.fixture
def drilled(flow_run: FlowRun, storage: BackupStorage) -> Callable[..., DrillReport]:
    """A function that runs a drill and returns its report; the server has no database more or less afterwards."""

    def call(server: PostgresServer, verify: PostgresServer | None = None, **environ: str) -> DrillReport:
        if verify:
            environ["VERIFY_DATABASE_URL"] = verify.url.get_secret_value()
        before = databases_of(server)
        ran = flow_run(restore_drill, server, environ=environ)
        assert ran.error is None
        assert databases_of(server) == before
        assert isinstance(ran.result, DrillReport)
        return ran.result

    return call


def failed_checks(report: DrillReport) -> set[str]:
    """The names of the checks that failed."""
    return {c.name for c in report.checks if c.result == "failed"}


# --- PROVEN -----------------------------------------------------------------------------------------------------------


def test_a_healthy_backup_is_proven_everywhere(
    library: PostgresServer, storage: BackupStorage, flow_run: FlowRun, prefect_api: str
) -> None:
    """The verdict stands in the run's final state, in the report beside the backup, and in the list."""
    ran = flow_run(restore_drill, library)
    state = httpx.get(f"{prefect_api}/flow_runs/{ran.run_id}").json()["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "PROVEN")
    stored = read_report(storage.get(storage.key(NAME + catalog.REPORT)))
    assert stored == ran.result
    assert stored
    assert {c.result for c in stored.checks} == {"passed"}
    assert [(b["name"], b["verdict"]) for b in list_catalog(Plan(storage=storage))] == [(NAME, "PROVEN")]


def test_what_the_server_prints_differently_is_no_corruption(
    new_database: NewDatabase, storage: BackupStorage, clients: Clients, drilled: Callable[..., DrillReport]
) -> None:
    """Inherited columns come back in another order, and IN lists of varchar in another spelling."""
    script = """
    CREATE TABLE parent (a int, b text);
    CREATE TABLE child (own text) INHERITS (parent);
    ALTER TABLE parent ADD COLUMN later timestamptz, ADD COLUMN last int;
    INSERT INTO child VALUES (1, 'b', 'own', '2026-01-01', 5), (2, NULL, E'tab\\t', NULL, NULL);
    CREATE TABLE states (state varchar(9) CHECK (state IN ('new', 'it''s', 'old')), other varchar DEFAULT 'x'
      CHECK (other::text = ANY (ARRAY['x'::varchar, 'y'::varchar]::text[])));
    INSERT INTO states VALUES ('new'), ('it''s');
    """
    source = new_database(17, script)
    take_backup(storage, source, clients[17])
    report = drilled(source)
    assert (report.verdict, report.cause) == ("PROVEN", "")


LOCALES = {
    "LATIN1": (16, "ENCODING 'LATIN1' LOCALE 'C'"),
    "WIN1251": (18, "ENCODING 'WIN1251' LOCALE 'C'"),
    "SQL_ASCII": (15, "ENCODING 'SQL_ASCII' LOCALE 'C'"),
    "ICU": (15, "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' ENCODING 'UTF8' LOCALE 'C'"),
    "C.UTF-8 on 17": (17, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' ENCODING 'UTF8' LOCALE 'C'"),
    "C.UTF-8 on 18": (18, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' ENCODING 'UTF8' LOCALE 'C'"),
}
WORDS = {"WIN1251": "Таблица", "SQL_ASCII": "tïble"}


@pytest.fixture
def database_in(
    server_of: Callable[[int], PostgresServer], clients: Clients
) -> Iterator[Callable[[str], PostgresServer]]:
    """A function that makes a database with one of LOCALES, with names and rows beyond ASCII in it."""
    made: list[PostgresServer] = []

    def create(locale: str) -> PostgresServer:
        major, options = LOCALES[locale]
        server = server_of(major)
        told(server, f"CREATE DATABASE localised TEMPLATE template0 {options}")
        made.append(server)
        word = WORDS.get(locale, "täble")
        script = f"""CREATE TABLE "{word}" ("{word}" text PRIMARY KEY); CREATE SEQUENCE "{word} s";
        INSERT INTO "{word}" SELECT '{word} ' || n FROM generate_series(1, 200) n;"""
        if locale == "SQL_ASCII":  # what is no text in any encoding
            script += f"""INSERT INTO "{word}" VALUES (E'\\xff\\xfe\\x80');"""
        psql(clients[major], server.on("localised"), "SET client_encoding = 'UTF8';" * (locale != "SQL_ASCII") + script)
        return server.on("localised")

    yield create
    for server in made:
        told(server, "DROP DATABASE IF EXISTS localised WITH (FORCE)", "DROP DATABASE IF EXISTS restored WITH (FORCE)")


@pytest.mark.parametrize("locale", LOCALES)
def test_any_encoding_and_locale_is_proven(
    locale: str, database_in: Callable[[str], PostgresServer], storage: BackupStorage, flow_run: FlowRun
) -> None:
    """A database comes back with its own encoding and locale; names in the manifest are readable text."""
    source = database_in(locale)
    ran = flow_run(backup, source)
    assert ran.error is None
    names = [t.name for t in manifest_of(storage, ran.result.name).tables]
    assert names == [f'public."{WORDS.get(locale, "täble")}"']
    report = flow_run(restore_drill, source).result
    assert (report.verdict, report.cause) == ("PROVEN", "")
    assert flow_run(restore, to=source.on("restored"), backup="latest").error is None
    facts, restored = source.inspect(), source.on("restored").inspect()
    fields = ("encoding", "collation", "character_type", "locale_provider", "locale")
    assert [getattr(restored, f) for f in fields] == [getattr(facts, f) for f in fields]


def test_a_locale_that_the_drill_server_lacks_is_replaced(
    database_in: Callable[[str], PostgresServer],
    server_of: Callable[[int], PostgresServer],
    clients: Clients,
    storage: BackupStorage,
    drilled: Callable[..., DrillReport],
) -> None:
    """A server without ICU still proves the contents of a database that used it."""
    source = database_in("ICU")
    take_backup(storage, source, clients[15])
    report = drilled(source, verify=server_of(16))
    assert (report.verdict, report.cause) == ("PROVEN", "")


# --- FAILED -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", WHOLESALE, ids=lambda damage: damage.__name__)
def test_a_damaged_backup_fails(
    damage: Damage, library: PostgresServer, storage: BackupStorage, drilled: Callable[..., DrillReport]
) -> None:
    """Damage of the object or its manifest is FAILED, and the cause is named."""
    damage(storage)
    report = drilled(library)
    assert report.verdict == "FAILED"
    assert report.cause
    assert [b["verdict"] for b in list_catalog(Plan(storage=storage))] == ["FAILED"]


@pytest.mark.parametrize("forge", [False, True], ids=["manifest kept", "size and checksum forged"])
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_change_of_the_contents_fails(
    edit: Callable[[bytes], bytes],
    forge: bool,
    library: PostgresServer,
    storage: BackupStorage,
    drilled: Callable[..., DrillReport],
) -> None:
    """A missing table and a missing, altered or doubled row are found, even where size and SHA-256 were made to fit."""
    rewrite(storage, edit, forge=forge)
    report = drilled(library)
    assert report.verdict == "FAILED"
    assert failed_checks(report)
    assert "manifest" in report.cause


CHANGES = {
    "DELETE FROM public.books WHERE id = 5;": "row counts",
    "UPDATE public.books SET title = 'x' WHERE id = 5;": "row digests",
    "SELECT lo_unlink(4711);": "large objects",
    "DROP TABLE public.points_to_large_objects;": "every table present",
    "ALTER TABLE public.books DROP CONSTRAINT books_author_fkey;": "schema",
    "ALTER SEQUENCE public.numbers RESTART WITH 3;": "sequences",
}


@pytest.mark.parametrize("statement", CHANGES)
def test_what_does_not_come_back_as_it_went_out_fails(
    statement: str, library: PostgresServer, storage: BackupStorage, drilled: Callable[..., DrillReport]
) -> None:
    """The restored copy itself is compared: whatever changes it on the way in is found by its own check."""
    rewrite(storage, inserted(statement), forge=True)
    report = drilled(library)
    assert report.verdict == "FAILED"
    assert CHANGES[statement] in failed_checks(report)


def test_failed_is_the_state_and_exit_status_1(
    library: PostgresServer, storage: BackupStorage, command_line: Callable[..., Ended], prefect_api: str
) -> None:
    """A bad backup is a failed run named FAILED, and exit status 1."""
    put_object(storage, b"")
    done = command_line("drill", NAME, "--json", server=library)
    assert (done.status, json.loads(done.out)["verdict"]) == (1, "FAILED")
    assert "Backup file is empty or does not exist" in json.loads(done.out)["cause"]
    assert "Traceback" not in done.err
    assert _newest_state(prefect_api) == ("FAILED", "FAILED")


def _newest_state(prefect_api: str) -> tuple[str, str]:
    wanted = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["restore-drill"]}}}
    run = httpx.post(f"{prefect_api}/flow_runs/filter", json=wanted).json()[0]
    return run["state"]["type"], run["state"]["name"]


# --- INCONCLUSIVE -----------------------------------------------------------------------------------------------------


def test_without_the_right_to_create_databases_nothing_is_concluded(
    library: PostgresServer, command_line: Callable[..., Ended], prefect_api: str
) -> None:
    """A drill that may not create a database says so with exit status 3; that is not held against the backup."""
    role = new_role(library)
    done = command_line("drill", server=library, VERIFY_DATABASE_URL=role.url.get_secret_value())
    assert done.status == 3
    assert "INCONCLUSIVE" in done.out
    assert "permission denied to create database" in done.out
    assert "Traceback" not in done.err
    assert _newest_state(prefect_api) == ("FAILED", "INCONCLUSIVE")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transient faults are retried as ever, but at once."""
    task = rehearse_restore.with_options(retry_delay_seconds=0)
    monkeypatch.setattr(drill_flow, "rehearse_restore", task)


@pytest.mark.usefixtures("impatient")
def test_an_unreachable_drill_server_is_inconclusive(
    library: PostgresServer, drilled: Callable[..., DrillReport]
) -> None:
    """Where nobody answers, nothing is concluded about the backup."""
    nobody = {**library.parameters(), "port": str(free_ports(1)[0])}
    report = drilled(library, verify=PostgresServer(url=SecretStr(conninfo_url(nobody))))
    assert report.verdict == "INCONCLUSIVE"
    assert "Cannot connect to database" in report.cause


@pytest.mark.usefixtures("impatient")
def test_a_storage_that_breaks_off_is_inconclusive(
    library: PostgresServer, drilled: Callable[..., DrillReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that fails is a fault of the network, not of the backup."""

    def broken(*_: Any) -> Iterator[bytes]:
        raise StorageUnreachable(message="Failed to download backup from S3")

    monkeypatch.setattr(BackupStorage, "open_range", broken)
    report = drilled(library)
    assert (report.verdict, report.cause) == ("INCONCLUSIVE", "Failed to download backup from S3")


def test_a_missing_role_is_inconclusive(
    new_database: NewDatabase,
    server_of: Callable[[int], PostgresServer],
    clients: Clients,
    storage: BackupStorage,
    drilled: Callable[..., DrillReport],
) -> None:
    """Roles belong to a server, so no backup of a database can bring them: the one that is missing is named."""
    source = new_database(16, LIBRARY)
    told(source, "CREATE ROLE only_here", "ALTER TABLE books OWNER TO only_here")
    take_backup(storage, source, clients[16])
    report = drilled(source, verify=server_of(17))
    told(source, "DROP TABLE books CASCADE", "DROP ROLE only_here")
    assert report.verdict == "INCONCLUSIVE"
    assert 'role "only_here" does not exist' in report.cause


@pytest.mark.parametrize("target", [16, 18])
def test_a_missing_extension_is_inconclusive(
    target: int,
    new_database: NewDatabase,
    server_of: Callable[[int], PostgresServer],
    clients: Clients,
    storage: BackupStorage,
    drilled: Callable[..., DrillReport],
) -> None:
    """An extension that is not installed on the drill's server is named, and not held against the backup."""
    source = new_database(15, "CREATE EXTENSION hstore; CREATE TABLE t (h hstore); INSERT INTO t VALUES ('a=>1')")
    take_backup(storage, source, clients[15])
    assert drilled(source).verdict == "PROVEN"
    report = drilled(source, verify=server_of(target), VERIFY_LATEST="true")
    assert report.verdict == "INCONCLUSIVE"
    assert "hstore" in report.cause
    # It says nothing about the backup, so what is known of it stays.
    assert [b["verdict"] for b in list_catalog(Plan(storage=storage))] == ["PROVEN"]


def test_an_older_drill_server_is_inconclusive(
    new_database: NewDatabase,
    server_of: Callable[[int], PostgresServer],
    clients: Clients,
    storage: BackupStorage,
    drilled: Callable[..., DrillReport],
) -> None:
    """What an older server does not understand is no fault of the backup; the versions are named."""
    source = new_database(18, LIBRARY)
    take_backup(storage, source, clients[18])
    report = drilled(source, verify=server_of(15))
    assert report.verdict == "INCONCLUSIVE"
    assert "pg_dump 18 wrote it, the server is 15" in report.cause


def test_a_newer_drill_server_proves_it_too(
    hard_database: Callable[[int], PostgresServer],
    server_of: Callable[[int], PostgresServer],
    clients: Clients,
    storage: BackupStorage,
    drilled: Callable[..., DrillReport],
) -> None:
    """What another major version of pg_dump prints in other words is not held against the backup."""
    source, newer = hard_database(15), server_of(18)
    wanted = {"reader", 'röle with "quotes"'} - {str(r[0]) for r in asked(newer, "SELECT rolname FROM pg_roles")}
    told(newer, *("CREATE ROLE " + '"' + role.replace('"', '""') + '"' for role in wanted))
    take_backup(storage, source, clients[15])
    report = drilled(source, verify=newer)
    assert (report.verdict, report.cause) == ("PROVEN", "")
    schema = next(c for c in report.checks if c.name == "schema")
    assert schema.result == "passed" or "printed by pg_dump 15" in schema.evidence


# --- which backup, and where ------------------------------------------------------------------------------------------


def test_the_drill_uses_the_server_it_is_given(
    library: PostgresServer,
    server_of: Callable[[int], PostgresServer],
    storage: BackupStorage,
    drilled: Callable[..., DrillReport],
) -> None:
    """With VERIFY_DATABASE_URL nothing happens on the database's own server."""
    told(library.on("postgres"), f"ALTER DATABASE {library.database} ALLOW_CONNECTIONS false")
    report = drilled(library.on("postgres"), verify=server_of(18))
    assert report.verdict == "PROVEN"
    assert report.target_version.startswith("18")


def test_a_backup_can_be_chosen(
    library: PostgresServer, storage: BackupStorage, drilled: Callable[..., DrillReport], flow_run: FlowRun
) -> None:
    """VERIFY_LATEST=false with VERIFY_BACKUP_FILE names the backup to rehearse; a name in the call is stronger."""
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


def _foreign(storage: BackupStorage, server: PostgresServer, client: Client, *options: str) -> None:
    environ = child_environment(server.child_environment())
    dump = f"{client.program('pg_dump')} {' '.join(options)} | gzip"
    done = subprocess.run(["sh", "-c", dump], env=environ, capture_output=True, check=True)
    put_object(storage, done.stdout)


def test_a_foreign_backup_is_drilled_with_fewer_checks(
    new_database: NewDatabase, clients: Clients, storage: BackupStorage, drilled: Callable[..., DrillReport]
) -> None:
    """What `pg_dump | gzip` made has no manifest: the round trip is proven, and what could not be checked is named."""
    source = new_database(16, LIBRARY + LARGE_OBJECTS)
    _foreign(storage, source, clients[16])
    report = drilled(source)
    results = {c.name: c.result for c in report.checks}
    assert report.verdict == "PROVEN"
    assert results["size and SHA-256"] == "not possible"
    assert results["row digests"] == "passed"
    assert [(b["rows"], b["verdict"]) for b in list_catalog(Plan(storage=storage))] == [(None, "PROVEN")]


def test_a_foreign_backup_in_another_encoding_is_proven(
    database_in: Callable[[str], PostgresServer],
    clients: Clients,
    storage: BackupStorage,
    drilled: Callable[..., DrillReport],
) -> None:
    """A foreign backup says its encoding itself; the restored copy is compared in the same."""
    source = database_in("LATIN1")
    _foreign(storage, source, clients[16])
    report = drilled(source.on("postgres"))
    assert (report.verdict, report.cause) == ("PROVEN", "")


def test_a_foreign_backup_that_names_its_database_is_not_restored_into_it(
    new_database: NewDatabase, clients: Clients, storage: BackupStorage, drilled: Callable[..., DrillReport]
) -> None:
    """`pg_dump --clean --create` would leave the scratch database for the real one: refused, and no verdict."""
    source = new_database(16, LIBRARY)
    before = contents(source, clients[16])
    _foreign(storage, source, clients[16], "--clean", "--create")
    report = drilled(source)
    assert report.verdict == "INCONCLUSIVE"
    assert "the dump chooses its database by itself" in report.cause
    assert contents(source, clients[16]) == before


# --- nothing is left, and nothing of anybody else's is touched ----------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_drill_leaves_nothing_for_long(
    number: signal.Signals,
    library: PostgresServer,
    storage: BackupStorage,
    started_command: StartedCommand,
    drilled: Callable[..., DrillReport],
    flow_run: FlowRun,
) -> None:
    """A terminated drill drops its database; a killed one leaves it marked, and the next drill sweeps it."""
    databases = databases_of(library)
    copied(storage, "backup_20240301_000000")
    rewrite(storage, inserted("SELECT pg_sleep(600);"), forge=True)
    running = started_command("drill", NAME, DATABASE_URL=library.url.get_secret_value(), VERIFY_TARGET="database")
    sleepers = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%%' AND datname LIKE 'verify%%'"
    until(lambda: bool(asked(library, sleepers)))
    running.send_signal(number)
    assert running.wait(60) != 0
    left = databases_of(library) - databases
    assert len(left) == (0 if number is signal.SIGTERM else 1)
    for name in left:
        marked = asked(library, "SELECT datconnlimit FROM pg_database WHERE datname = %s", name)
        assert marked == [(MARK_LIMIT,)]
    assert flow_run(restore_drill, library, environ={"VERIFY_TARGET": "database"}).result.verdict == "PROVEN"
    assert databases_of(library) == databases


def test_only_what_is_ours_and_unused_is_swept(
    library: PostgresServer, new_database: NewDatabase, drilled: Callable[..., DrillReport]
) -> None:
    """A database that is not marked, is in use, or whose maker lives is never dropped, whatever its name."""
    unmarked = new_database(16, name="verify_20240101_000000")
    in_use = new_database(16, name="verify_20240101_000001")
    other_name = new_database(16, name="verify_20240101")
    dead = new_database(16, name="verify_20240101_000002")
    for marked in (in_use, other_name, dead):
        told(library, f"ALTER DATABASE {marked.database} CONNECTION LIMIT {MARK_LIMIT}")
    stranger = {**in_use.parameters(), "application_name": "somebody"}
    elsewhere = new_database(16)
    with (
        PostgresServer(url=SecretStr(conninfo_url(stranger))).connect(),
        scratch_database(library, "verify", Locale(), utc_now(), pytest.fail) as alive,
        scratch_database(elsewhere, "verify", Locale(), utc_now(), pytest.fail) as alive_elsewhere,
    ):
        before = databases_of(library)
        report = _drill_only(drilled, library, before - {dead.database})
    assert report.verdict == "PROVEN"
    kept = {unmarked.database, in_use.database, other_name.database}
    assert kept <= databases_of(library)
    assert not {alive.database, alive_elsewhere.database} & databases_of(library)


def _drill_only(drilled: Callable[..., DrillReport], server: PostgresServer, expected: set[str]) -> DrillReport:
    """Run a drill that is expected to sweep something."""
    with pytest.raises(AssertionError):
        drilled(server, VERIFY_TARGET="database")
    assert databases_of(server) == expected
    return drilled(server, VERIFY_TARGET="database")


def test_the_restored_rows_are_compared_and_not_guessed(
    library: PostgresServer, storage: BackupStorage, clients: Clients
) -> None:
    """The manifest's rows and digests are what the dump of the database itself gives."""
    found, schema, _ = contents(library, clients[16])
    manifest = manifest_of(storage)
    assert (contents_of(manifest), manifest.schema_digest) == (found, schema)
    without_manifest(storage)
