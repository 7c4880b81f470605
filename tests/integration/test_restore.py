"""A restore is all or nothing, whatever the target, the role and the damage."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.errors import (
    BackupDamaged,
    CreateDatabaseDenied,
    DatabaseError,
    DatabaseRefused,
    EmptyBackup,
    RestoreFailed,
    TargetNotEmpty,
)
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows.demo.services import Storage
from flows.restore import restore
from tasks.clock import utc_now
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.target import inspect_target, take_over
from tasks.engine.servers.programs import Client
from tasks.engine.servers.scratch import MARK_LIMIT, Locale, scratch_database, sweep_scratch_databases
from tests.conftest import Ended, FlowRun, NewDatabase, StartedCommand, command_environment, databases_of, psql
from tests.integration.damage import WHOLESALE, Damage, cut_in_rows_foreign
from tests.integration.objects import (
    LARGE_OBJECTS,
    LIBRARY,
    NAME,
    asked,
    contents,
    copied,
    inserted,
    new_role,
    rewrite,
    role_of,
    take_backup,
    told,
    until,
)
from tests.unit.test_catalog import report

Clients = dict[int, Client]
OLD = "CREATE TABLE precious (a int); INSERT INTO precious SELECT generate_series(1, 10); SELECT lo_from_bytea(99, 'old');"


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A database with tables and large objects on PostgreSQL 16, and a backup of it."""
    source = new_database(16, LIBRARY + LARGE_OBJECTS)
    take_backup(storage, source, clients[16])
    return source


# --- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("major", [15, 18])
def test_a_missing_database_is_created(
    major: int,
    hard_database: Callable[[int], Server],
    clients: Clients,
    storage: ObjectStore,
    command_line: Callable[..., Ended],
) -> None:
    """Restoring to a URL whose database doesn't exist creates it, with the contents that were backed up."""
    source = hard_database(major)
    take_backup(storage, source, clients[major])
    target = source.on(f"new {major} 'dätabase'")
    before = databases_of(source)
    done = command_line("restore", "latest", "--to", target.url.get_secret_value())
    assert done.status == 0, done.err
    assert databases_of(source) == before | {target.database}
    assert contents(target, clients[major], like=source) == contents(source, clients[major])
    limit, comment = asked(
        target,
        "SELECT datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()",
    )[0]
    assert (limit, comment) == (-1, None)
    told(source.on("postgres"), f"""DROP DATABASE "{target.database}" """)


@pytest.mark.parametrize("name", ["backup_20200101_000000.sql.gz", "invalid_file"])
def test_a_backup_that_is_not_there(name: str, library: Server, command_line: Callable[..., Ended]) -> None:
    """An unknown backup name is reported as such, with where to look; nothing is created on the server."""
    before = databases_of(library)
    done = command_line("restore", name, "--to", library.on("new").url.get_secret_value())
    assert done.status == 1
    assert f"ERROR: Backup file is empty or does not exist [{name}]" in done.err
    assert "HINT: run pg-roundtrip list" in done.err
    assert "Traceback" not in done.err
    assert databases_of(library) == before


def test_a_backup_that_a_drill_failed(
    library: Server, storage: ObjectStore, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """Restoring it gives a warning, but restores as much of it as possible."""
    failed = report(NAME, Verdict.FAILED).model_copy(update={"cause": "rows differ"})
    Repository(storage).store_report(failed)
    done = flow_run(restore, to=library.on(f"{library.database}_copy"), backup="latest")
    assert done.state == "Completed", done.error
    said = f"The newest drill of {NAME} FAILED: rows differ\nHINT: pg-roundtrip list shows which backups are PROVEN"
    assert said in [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_target_that_refuses_the_password(
    library: Server, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused password is reported in the server's words, without showing it, before anything is downloaded."""
    real = ObjectStore.open_range

    def manifests_alone(self: ObjectStore, key: str, *rest: Any) -> Any:
        return pytest.fail("the backup was downloaded") if key.endswith(".sql.gz") else real(self, key, *rest)

    monkeypatch.setattr(ObjectStore, "open_range", manifests_alone)
    wrong = Server(url=SecretStr(conninfo_url({**library.parameters(), "password": "hidden-word"})))
    done = flow_run(restore, to=wrong, backup="latest")
    assert isinstance(done.error, DatabaseRefused)
    assert "password authentication failed" in done.error.sentence
    assert "hidden-word" not in str(done.error.lines())


def test_an_empty_database_keeps_what_a_dump_does_not_have(
    library: Server, new_database: NewDatabase, clients: Clients, flow_run: FlowRun
) -> None:
    """Owner, grants, settings, connection limit, comment and tablespace of an existing database stay unchanged."""
    target = new_database(16)
    owner, reader = role_of(new_role(target)), role_of(new_role(target))
    name = target.database
    told(
        target.on("postgres"),
        f"ALTER DATABASE {name} OWNER TO {owner}",
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO {reader} WITH GRANT OPTION",
        f"ALTER DATABASE {name} SET work_mem TO '12MB'",
        f'ALTER DATABASE {name} SET search_path TO "$user", public, "odd, ""path"" "',
        f"ALTER DATABASE {name} SET datestyle TO ISO, DMY",
        f"ALTER DATABASE {name} SET my.motto TO 'one, two; {{three}}'",
        f"ALTER DATABASE {name} SET my.empty TO ''",
        f"ALTER ROLE {reader} IN DATABASE {name} SET statement_timeout TO '7s'",
        f"ALTER DATABASE {name} CONNECTION LIMIT 17",
        f"COMMENT ON DATABASE {name} IS 'ours; ''and'' theirs'",
        "SET allow_in_place_tablespaces = on",
        f"CREATE TABLESPACE of_{name} LOCATION ''",
        f"ALTER DATABASE {name} SET TABLESPACE of_{name}",
    )
    before = _database_facts(target)
    done = flow_run(restore, to=target, backup="latest")
    assert done.error is None
    assert _database_facts(target) == before
    assert contents(target, clients[16]) == contents(library, clients[16])
    told(target.on("postgres"), f"DROP DATABASE {name}", f"DROP TABLESPACE of_{name}")


def test_rights_that_were_taken_away_do_not_come_back(
    library: Server, new_database: NewDatabase, flow_run: FlowRun
) -> None:
    """A restore doesn't grant PUBLIC access to a database that nobody was granted anything on."""
    target = new_database(16)
    told(target.on("postgres"), f"REVOKE ALL ON DATABASE {target.database} FROM PUBLIC, postgres")
    before = _database_facts(target)
    assert flow_run(restore, to=target, backup="latest").error is None
    assert _database_facts(target) == before


def test_a_setting_of_the_target_is_a_value_and_never_sql(
    library: Server, new_database: NewDatabase, flow_run: FlowRun
) -> None:
    """What a database's owner put into a setting is copied as a value, never executed by whoever restores."""
    target = new_database(16)
    owner = new_role(target)
    sly = f"x, y; ALTER ROLE {role_of(owner)} SUPERUSER"
    told(target.on("postgres"), f"ALTER DATABASE {target.database} OWNER TO {role_of(owner)}")
    told(owner, f"ALTER DATABASE {target.database} SET application_name TO '{sly}'")
    assert flow_run(restore, to=target, backup="latest").error is None
    assert asked(target, "SELECT rolsuper FROM pg_roles WHERE rolname = %s", role_of(owner)) == [(False,)]
    assert _database_facts(target)[-1] == (0, f"application_name={sly}")


def _database_facts(server: Server) -> list[tuple[Any, ...]]:
    name = server.database
    return [
        *asked(
            server.on("postgres"),
            "SELECT pg_get_userbyid(datdba), datconnlimit, datacl IS NULL, shobj_description(oid, 'pg_database'), dattablespace"
            " FROM pg_database WHERE datname = %s",
            name,
        ),
        *asked(
            server.on("postgres"),
            "SELECT a.grantee::regrole::text, a.privilege_type, a.is_grantable"
            " FROM pg_database, aclexplode(datacl) a WHERE datname = %s ORDER BY 1, 2",
            name,
        ),
        *asked(
            server.on("postgres"),
            "SELECT setrole, s FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) s"
            " WHERE datname = %s ORDER BY 1, 2",
            name,
        ),
    ]


def test_a_database_with_tables_is_refused(
    library: Server, new_database: NewDatabase, clients: Clients, command_line: Callable[..., Ended]
) -> None:
    """Without --replace a database that has tables is left unchanged: exit status 1, with a hint."""
    target = new_database(16, OLD)
    before, databases = contents(target, clients[16]), databases_of(target)
    done = command_line("restore", NAME, RESTORE_DATABASE_URL=target.url.get_secret_value())
    assert done.status == 1
    assert "ERROR: Restore refused: the target database is not empty" in done.err
    assert "HINT: restore into another database, or pass --replace" in done.err
    assert "Traceback" not in done.err
    assert contents(target, clients[16]) == before
    assert databases_of(target) == databases


@pytest.mark.parametrize(
    "script", ["SELECT lo_from_bytea(1, 'data')", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"]
)
def test_a_database_without_tables_is_not_always_empty(
    script: str, library: Server, new_database: NewDatabase, flow_run: FlowRun
) -> None:
    """Large objects and functions are work too: without --replace they are not replaced."""
    target = new_database(16, script)
    assert isinstance(flow_run(restore, to=target, backup=NAME).error, TargetNotEmpty)
    assert flow_run(restore, to=target, backup=NAME, replace=True).error is None


MADE = {
    "CREATE TYPE address AS (street text)": "address",
    "CREATE SCHEMA mine": "schema mine",
    "CREATE FOREIGN DATA WRAPPER far_away": "far_away",
    "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w": "server far",
    "CREATE PUBLICATION news": "publication news",
    "CREATE CAST (boolean AS date) WITH INOUT": "cast from boolean to date",
    "CREATE COLLATION sorted (locale = 'C')": "collation public.sorted",
    "CREATE EXTENSION hstore": "extension hstore",
}


def test_whatever_a_new_database_does_not_have_is_in_the_way(new_database: NewDatabase) -> None:
    """Not only tables are refused, and the error says what is there."""
    assert inspect_target(new_database(15), replace=False).objects == 0
    for script, name in MADE.items():
        with pytest.raises(TargetNotEmpty, match=name):
            inspect_target(new_database(15, script), replace=False)


def test_an_extension_that_the_backup_needs(new_database: NewDatabase) -> None:
    """It may be there where the database is filled in place, but not in one that would be dropped."""
    target = new_database(15, "CREATE EXTENSION hstore")
    filled = inspect_target(new_role(target), replace=False, extensions={"hstore"})
    assert (filled.in_place, filled.objects) == (True, 0)
    for server, extensions in ((target, {"hstore"}), (new_role(target), {"citext"})):
        with pytest.raises(TargetNotEmpty, match="such as extension hstore"):
            inspect_target(server, replace=False, extensions=extensions)


def test_replace_replaces_even_a_database_in_use(
    library: Server, new_database: NewDatabase, clients: Clients, flow_run: FlowRun
) -> None:
    """--replace swaps the backup for the old contents, even though applications keep connecting."""
    target = new_database(16, OLD)
    stop = threading.Event()

    def application() -> None:
        while not stop.is_set():
            try:
                with target.connect() as connection:
                    connection.query("SELECT pg_sleep(60)")
            except DatabaseError:
                continue

    applications = [threading.Thread(target=application) for _ in range(4)]
    for thread in applications:
        thread.start()
    try:
        until(lambda: _sessions(target) >= len(applications))
        databases = databases_of(target.on("postgres"))
        done = flow_run(restore, to=target, backup=NAME, replace=True)
    finally:
        stop.set()
        while any(thread.is_alive() for thread in applications):
            asked(
                target.on("postgres"),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                target.database,
            )
    assert done.error is None
    assert contents(target, clients[16]) == contents(library, clients[16])
    assert databases_of(target) == databases


def test_an_empty_database_in_use_is_left_alone(library: Server, new_database: NewDatabase, flow_run: FlowRun) -> None:
    """Without --replace nobody is disconnected: the error says that the database is in use."""
    target = new_database(16)
    databases = databases_of(target)
    with target.connect(own_names=True):
        done = flow_run(restore, to=target, backup=NAME)
    assert done.error is not None
    assert "is being accessed by other users" in done.error.sentence
    assert "--replace" in done.error.hint
    assert databases_of(target) == databases
    assert asked(target, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


@pytest.mark.parametrize("killed", [False, True])
def test_what_came_into_an_empty_database_meanwhile_is_kept(
    killed: bool, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables created while a restore runs are kept under another name, even if we die before noticing them."""
    database, restored, aside = new_database(16), new_database(16, OLD), "replaced_20261121_000000"
    target, warnings = inspect_target(database, replace=False), list[str]()
    told(database, OLD)
    if killed:
        monkeypatch.setattr(
            "tasks.engine.restore.target.contents_of", lambda _: (_ for _ in ()).throw(InterruptedError)
        )
    with pytest.raises(InterruptedError) if killed else contextlib.nullcontext():
        take_over(target, restored.database, aside, warnings.append)
    sweep_scratch_databases(target.maintenance)
    assert asked(database.on(aside), "SELECT count(*) FROM precious") == [(10,)]
    assert len(warnings) == (not killed)
    told(target.maintenance, f"DROP DATABASE {aside}")


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", WHOLESALE, ids=lambda damage: damage.__name__)
def test_a_damaged_backup_changes_nothing(
    damage: Damage,
    library: Server,
    new_database: NewDatabase,
    clients: Clients,
    storage: ObjectStore,
    flow_run: FlowRun,
) -> None:
    """Whatever is wrong with the object, the target stays unchanged, even with --replace; no database is left over."""
    target = new_database(16, OLD)
    before, databases = contents(target, clients[16]), databases_of(target)
    damage(storage)
    done = flow_run(restore, to=target, backup=NAME, replace=True)
    assert isinstance(done.error, BackupDamaged | EmptyBackup)
    assert done.error.exit_status == 1
    assert contents(target, clients[16]) == before
    assert databases_of(target) == databases


def test_a_psql_command_in_a_backup_is_not_run(
    library: Server,
    new_database: NewDatabase,
    clients: Clients,
    storage: ObjectStore,
    tmp_path: Path,
    command_line: Callable[..., Ended],
) -> None:
    """A backup with an injected shell command is refused before psql sees it: exit status 1."""
    target, trace = new_database(16, OLD), tmp_path / "trace"
    before, databases = contents(target, clients[16]), databases_of(target)
    rewrite(
        storage, lambda dump: dump.replace(b"CREATE TABLE", b"\\! touch %s\nCREATE TABLE" % bytes(trace), 1), forge=True
    )
    done = command_line("restore", NAME, "--replace", RESTORE_DATABASE_URL=target.url.get_secret_value())
    assert done.status == 1
    assert "it contains a psql command" in done.err
    assert not trace.exists()
    assert contents(target, clients[16]) == before
    assert databases_of(target) == databases


def test_a_psql_command_hides_behind_no_other(
    library: Server, storage: ObjectStore, tmp_path: Path, flow_run: FlowRun
) -> None:
    """Where psql accepts several commands on one line, only the two that pg_dump writes are run."""
    trace, target = tmp_path / "trace", library.on("never made")
    end = b"\\unrestrict x \\! touch %s\n" % bytes(trace)
    rewrite(storage, lambda dump: b"\\restrict x\n" + end + dump, forge=True)
    assert isinstance(flow_run(restore, to=target, backup=NAME).error, BackupDamaged)
    assert not trace.exists()
    assert target.database not in databases_of(library)


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_after_the_large_objects_leaves_nothing(
    exists: bool,
    library: Server,
    new_database: NewDatabase,
    clients: Clients,
    storage: ObjectStore,
    flow_run: FlowRun,
) -> None:
    """The large objects' part of a dump commits by itself; a failure after it still changes nothing in the target."""
    target = new_database(16, OLD) if exists else library.on("never made")
    before = contents(target, clients[16]) if exists else ()
    databases = databases_of(library)
    rewrite(storage, inserted("SELECT 1 / 0;"), forge=True)
    done = flow_run(restore, to=target, backup=NAME, replace=True)
    assert isinstance(done.error, RestoreFailed)
    assert "division by zero" in done.error.sentence
    assert databases_of(library) == databases
    if exists:
        assert contents(target, clients[16]) == before


# --- a role without CREATEDB ------------------------------------------------------------------------------------------


@pytest.fixture
def owned(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Callable[..., Server]:
    """A function that creates an empty database of a role without CREATEDB; with a script, fill it and back it up."""

    def create(script: str = "", role: Server | None = None) -> Server:
        database = new_database(16)
        login = (role or new_role(database)).on(database.database)
        told(database.on("postgres"), f"ALTER DATABASE {database.database} OWNER TO {role_of(login)}")
        if script:
            told(login, script)
            take_backup(storage, login, clients[16])
        return login

    return create


def test_a_role_without_createdb_restores_into_its_empty_database(
    owned: Callable[..., Server], clients: Clients, flow_run: FlowRun
) -> None:
    """Where no database can be created, the existing empty one is filled in place, including large objects."""
    source = owned(LIBRARY + LARGE_OBJECTS)
    target = owned(role=source)
    databases = databases_of(target)
    assert flow_run(restore, to=target, backup=NAME).error is None
    assert contents(target, clients[16]) == contents(source, clients[16])
    assert databases_of(target) == databases


@pytest.mark.usefixtures("unguarded")
def test_in_place_without_large_objects_is_one_transaction(
    owned: Callable[..., Server], clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """A restore in place that fails at its very end leaves nothing, and says so."""
    source = owned(LIBRARY)
    target = owned(role=source)
    before = contents(target, clients[16])
    copied(storage, "backup_20240301_000000")
    rewrite(storage, inserted("SELECT 1 / 0;"), forge=True)
    done = flow_run(restore, to=target, backup=NAME)
    assert isinstance(done.error, RestoreFailed)
    assert "it left nothing" in done.error.hint
    assert contents(target, clients[16]) == before
    assert flow_run(restore, to=target, backup="latest").error is None


def test_in_place_checks_the_whole_backup_first(
    owned: Callable[..., Server], clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """A damaged backup is detected before the first statement of a restore in place."""
    source = owned(LIBRARY + LARGE_OBJECTS)
    target = owned(role=source)
    before = contents(target, clients[16])
    cut_in_rows_foreign(storage)
    assert isinstance(flow_run(restore, to=target, backup=NAME).error, BackupDamaged)
    assert contents(target, clients[16]) == before


MORE = """
CREATE SCHEMA "odd; schema";
CREATE TYPE "odd; schema".mood AS ENUM ('good', 'bad');
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PUBLICATION selection FOR TABLE books;
"""


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("early", [True, False])
def test_what_a_failed_restore_in_place_left_can_be_cleared(
    early: bool, owned: Callable[..., Server], clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """With large objects a failure leaves some behind: following the hint to clear them empties the target again."""
    source = owned(LIBRARY + LARGE_OBJECTS + MORE)
    target = owned(role=source)
    before = contents(target, clients[16])
    copied(storage, "backup_20240301_000000")
    fault = b"SELECT 1 / 0;\n\n"
    if early:  # types and functions exist by then, tables don't
        rewrite(storage, lambda dump: dump.replace(b"CREATE TABLE", fault + b"CREATE TABLE", 1), forge=True)
    else:
        rewrite(storage, inserted(fault.decode()), forge=True)
    done = flow_run(restore, to=target, backup=NAME)
    assert isinstance(done.error, RestoreFailed)
    assert "2 large objects" in done.error.hint or early
    psql(clients[16], target, done.error.hint.partition("clear it with: ")[2])
    assert contents(target, clients[16]) == before
    assert flow_run(restore, to=target, backup="latest").error is None
    assert contents(target, clients[16]) == contents(source, clients[16])


@pytest.mark.parametrize("exists", [True, False])
def test_a_role_without_createdb_is_told_what_it_lacks(
    exists: bool, owned: Callable[..., Server], clients: Clients, flow_run: FlowRun
) -> None:
    """A missing or non-empty target can't be restored to without that right: refused, nothing changed."""
    source = owned(LIBRARY)
    target = owned(role=source) if exists else source.on("never made")
    if exists:
        told(target, "CREATE TABLE precious (a int)")
    databases = databases_of(source)
    done = flow_run(restore, to=target, backup=NAME, replace=True)
    assert isinstance(done.error, CreateDatabaseDenied)
    assert "CREATEDB" in done.error.hint
    assert databases_of(source) == databases
    if exists:
        assert asked(target, "SELECT count(*) FROM precious") == [(0,)]


def test_a_temp_database_of_somebody_else_is_no_obstacle(
    owned: Callable[..., Server], new_database: NewDatabase, clients: Clients, flow_run: FlowRun
) -> None:
    """Leftovers of another role's killed run, which only that role can drop, don't prevent a restore."""
    source = owned(LIBRARY)
    told(source_admin := new_database(16), f"ALTER ROLE {role_of(source)} CREATEDB")
    left = new_database(16, name="restore_20240101_000000")
    told(source_admin.on("postgres"), f"ALTER DATABASE {left.database} CONNECTION LIMIT {MARK_LIMIT}")
    target = source.on("made_by_role")
    try:
        assert flow_run(restore, to=target, backup=NAME).error is None
        assert contents(target, clients[16]) == contents(source, clients[16])
    finally:
        told(source_admin.on("postgres"), "DROP DATABASE IF EXISTS made_by_role")


def test_a_role_that_may_connect_nowhere_else_restores_in_place(
    owned: Callable[..., Server],
    server_of: Callable[[int], Server],
    clients: Clients,
    flow_run: FlowRun,
) -> None:
    """Hosted databases often let a role connect only to its own database; that is enough to fill it."""
    source = owned(LIBRARY)
    target = owned(role=source)
    admin = server_of(16)
    told(admin, "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
    try:
        done = flow_run(restore, to=target, backup=NAME)
    finally:
        told(admin, "GRANT CONNECT ON DATABASE postgres, template1 TO PUBLIC")
    assert done.error is None
    assert contents(target, clients[16]) == contents(source, clients[16])


# --- a restore that is killed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_restore_changes_nothing(
    number: signal.Signals,
    library: Server,
    new_database: NewDatabase,
    clients: Clients,
    storage: ObjectStore,
    started_command: StartedCommand,
    flow_run: FlowRun,
) -> None:
    """The target of a killed restore is unchanged; the temp database is dropped, or swept by the next restore."""
    target = new_database(16, OLD)
    before, databases = contents(target, clients[16]), databases_of(target)
    copied(storage, "backup_20240301_000000")
    # More than is read ahead: the restore is killed while it waits for the server.
    padding = b"-- padding\n" * 400_000
    rewrite(
        storage,
        lambda dump: (
            b"CREATE MATERIALIZED VIEW public.asleep AS SELECT pg_sleep(600)::text AS slept WITH NO DATA;\n"
            b"REFRESH MATERIALIZED VIEW public.asleep;\n" + padding + dump
        ),
        forge=True,
    )
    running = started_command("restore", NAME, "--replace", RESTORE_DATABASE_URL=target.url.get_secret_value())
    until(lambda: bool(asked(library, _SLEEPERS)))
    running.send_signal(number)
    assert running.wait(60) != 0
    assert contents(target, clients[16]) == before
    left = databases_of(target) - databases
    assert len(left) == (0 if number is signal.SIGTERM else 1)
    done = flow_run(restore, to=target, backup="latest", replace=True)
    assert done.error is None
    assert databases_of(target) == databases
    assert contents(target, clients[16]) == contents(library, clients[16])


_SLEEPERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'REFRESH MAT%%asleep%%' AND datname LIKE 'restore%%'"


def test_a_restore_sweeps_nobody_who_is_at_work(library: Server, new_database: NewDatabase, flow_run: FlowRun) -> None:
    """A run that works from another database of the same server keeps its temp database while it is alive."""
    elsewhere = new_database(16)
    messages: list[str] = []
    target = library.on("made_meanwhile")

    with scratch_database(elsewhere, "verify", Locale(), utc_now(), messages.append) as theirs:
        assert flow_run(restore, to=target, backup=NAME).error is None
        assert theirs.database in databases_of(library)
    assert theirs.database not in databases_of(library)
    told(library.on("postgres"), "DROP DATABASE made_meanwhile")
    assert messages == []


def test_the_target_url_leaves_the_arguments_from_any_folder(
    library: Server,
    storage: ObjectStore,
    storage_server: Storage,
    prefect_api: str,
    tmp_path: Path,
) -> None:
    """A folder named `flows` in the working directory, as Prefect users have, is not mistaken for ours."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise SystemExit('the wrong flows')\n")
    environ = command_environment(storage_server, storage, prefect_api, tmp_path)
    command = [str(Path(sys.prefix) / "bin" / "pg-roundtrip"), "restore", "backup_20010101_000000"]
    command.append("--to=" + library.url.get_secret_value())
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ERROR: Backup file is empty or does not exist" in done.stderr


def _sessions(server: Server) -> int:
    return int(
        asked(
            server.on("postgres"),
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%%' AND datname = %s",
            server.database,
        )[0][0]
    )
