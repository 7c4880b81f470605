"""A throwaway server matches the source where a restore depends on it; otherwise the place is named as the cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from blocks.errors import RestoreError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.restore import restore
from tasks.engine.drill.place import Place
from tasks.engine.drill.query_file import read_queries
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tests.conftest import FlowRun, NewDatabase
from tests.integration.objects import NAME, asked, manifest_of, put_manifest, take_backup, told, without_manifest
from tests.integration.sandboxes import rehearsed, results

Clients = dict[int, Client]

OWNED = """
CREATE ROLE boss SUPERUSER; CREATE ROLE readers; CREATE ROLE clerk; CREATE ROLE helper BYPASSRLS;
GRANT readers TO helper WITH ADMIN OPTION;
GRANT pg_read_all_data TO helper;
CREATE TABLE entry (id int PRIMARY KEY, amount int); INSERT INTO entry SELECT i, i FROM generate_series(1, 9) i;
ALTER TABLE entry OWNER TO clerk;
GRANT CREATE ON SCHEMA public TO helper, clerk;
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note(); ALTER EVENT TRIGGER note OWNER TO boss;
CREATE PUBLICATION everything FOR ALL TABLES; ALTER PUBLICATION everything OWNER TO boss;
CREATE MATERIALIZED VIEW totals AS SELECT sum(amount) FROM entry; ALTER MATERIALIZED VIEW totals OWNER TO boss;
ALTER TABLE entry ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON entry USING (false);
CREATE MATERIALIZED VIEW all_of_them AS SELECT count(*) FROM entry; ALTER MATERIALIZED VIEW all_of_them OWNER TO helper;
"""


@contextmanager
def _source(client: Client, script: str, database: str = "shop", **settings: str) -> Iterator[Server]:
    with running_server(client, settings={n.replace("__", "."): v for n, v in settings.items()}) as server:
        told(server, f"CREATE DATABASE {database}")
        told(server.on(database), script)
        yield server.on(database)


def _drilled(storage: ObjectStore, client: Client, queries: str = "") -> DrillReport:
    return rehearsed(storage, Place("sandbox", client=client), read_queries(queries) if queries else ())


ATTRIBUTES = """
-- name: attributes
-- expect: = 'boss|t|f clerk|f|f helper|f|t readers|f|f'
SELECT string_agg(concat_ws('|', rolname, rolsuper, rolbypassrls), ' ' ORDER BY rolname) FROM pg_roles
WHERE rolname IN ('boss', 'clerk', 'helper', 'readers') AND NOT rolcanlogin;
-- name: memberships
-- expect: = 'pg_read_all_data|f readers|t'
SELECT string_agg(concat_ws('|', roleid::regrole, admin_option), ' ' ORDER BY roleid::regrole::text) FROM pg_auth_members
WHERE member = 'helper'::regrole;
"""


@pytest.mark.parametrize("major", [15, 16, 18])
def test_roles_may_what_they_might(major: int, storage: ObjectStore, clients: Clients) -> None:
    """Objects only superusers can own, and views that row security would empty, are restored; clerk gains no rights."""
    with _source(clients[major], OWNED) as source:
        take_backup(storage, source, clients[major])
    report = _drilled(storage, clients[major], ATTRIBUTES)
    assert (report.verdict, report.cause) == ("PROVEN", "")
    assert (results(report)["query: attributes"], results(report)["query: memberships"]) == ("passed", "passed")


def test_a_role_that_only_a_row_names(storage: ObjectStore, clients: Clients) -> None:
    """All roles of the source are created, not only those that statements name."""
    rows = "CREATE ROLE billing; CREATE TABLE duty (id int PRIMARY KEY, who regrole); INSERT INTO duty VALUES (1, 'billing')"
    with _source(clients[16], rows) as source:
        take_backup(storage, source, clients[16])
    report = _drilled(storage, clients[16])
    assert (report.verdict, report.cause) == ("PROVEN", "")


@pytest.mark.long
def test_locks_follow_what_is_restored(storage: ObjectStore, clients: Clients) -> None:
    """One transaction restores more large objects than a server's default number of locks."""
    with _source(clients[16], "CREATE TABLE t (a int)") as source:
        for _ in range(4):
            told(source, "SELECT count(lo_from_bytea(0, 'x')) FROM generate_series(1, 40000)")
        take_backup(storage, source, clients[16])
    assert _drilled(storage, clients[16]).verdict == "PROVEN"


CRON = """
CREATE EXTENSION pg_cron; CREATE TABLE visits (id int, kind varchar(9) CHECK (kind IN ('page', 'form'))); INSERT INTO visits VALUES (1);
SELECT cron.schedule('tidy', '* * * * *', 'DELETE FROM visits');
"""
NO_WORKERS = """
-- name: workers
-- expect: rows = 0
SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pg_cron%';
"""


@pytest.mark.parametrize(("script", "settings", "named"), [
    (CRON, {"shared_preload_libraries": "pg_cron", "cron__database_name": "shop", "cron__launch_active_jobs": "off"}, "cron.database_name"),
    ("CREATE EXTENSION pg_stat_statements; CREATE TABLE t (i int); CREATE MATERIALIZED VIEW slow AS SELECT calls FROM pg_stat_statements",
     {"shared_preload_libraries": "pg_stat_statements"}, "not preloaded"),
])  # fmt: skip
def test_what_wants_to_be_preloaded(
    script: str, settings: dict[str, str], named: str, storage: ObjectStore, clients: Clients
) -> None:
    """Libraries are preloaded without their workers; without a record of them, the place is blamed, not the backup."""
    with _source(clients[15], script, **settings) as source:
        take_backup(storage, source, clients[15])
    proven = _drilled(storage, clients[15], NO_WORKERS)
    assert (proven.verdict, proven.cause, results(proven)["query: workers"]) == ("PROVEN", "", "passed")
    without_manifest(storage)
    report = _drilled(storage, clients[15])
    assert report.verdict == "INCONCLUSIVE"
    assert named in report.cause


@pytest.mark.parametrize("known", [True, False])
def test_the_number_of_a_dropped_role(known: bool, storage: ObjectStore, clients: Clients) -> None:
    """No server restores such a dump: the role is named, but there is no verdict if the source's roles are unknown."""
    with _source(clients[15], "CREATE ROLE oldboss SUPERUSER") as source, ExitStack() as stack:
        connection = stack.enter_context(source.connect(own_names=True))
        for statement in ("SET ROLE oldboss", "CREATE EXTENSION pg_stat_statements", "RESET ROLE",
                          "REASSIGN OWNED BY oldboss TO postgres", "DROP OWNED BY oldboss"):  # fmt: skip
            connection.execute(statement)
        number = str(asked(source, "SELECT 'oldboss'::regrole::oid")[0][0])
        told(source, "DROP ROLE oldboss")
        take_backup(storage, source, clients[15])
    if not known:
        put_manifest(storage, manifest_of(storage).model_copy(update={"role_attributes": ()}))
    report = _drilled(storage, clients[15])
    assert report.verdict == ("FAILED" if known else "INCONCLUSIVE")
    assert f"{number} is the OID of a dropped role" in report.cause


def test_what_no_condition_explains_is_the_backups_fault(
    new_database: NewDatabase, storage: ObjectStore, clients: Clients
) -> None:
    """A view whose function raises for its own reasons still fails the backup."""
    script = """CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
      IF current_database() LIKE 'verify%' THEN RAISE 'not here'; END IF; RETURN 1; END $$;
      CREATE MATERIALIZED VIEW m AS SELECT f()"""
    take_backup(storage, new_database(16, script), clients[16])
    assert _drilled(storage, clients[16]).verdict == "FAILED"


def test_an_extension_that_is_tied_to_a_database_is_restored_in_place(
    storage: ObjectStore, clients: Clients, flow_run: FlowRun
) -> None:
    """A restore fills the empty database of that name; a missing or used one is refused, and nothing is touched."""
    settings = {"shared_preload_libraries": "pg_cron", "cron__database_name": "shop", "cron__launch_active_jobs": "off"}
    with _source(clients[15], CRON, **settings) as source:
        take_backup(storage, source, clients[15])
    with _source(clients[15], "SELECT 1", **settings) as target:
        missing = flow_run(restore, to=target.on("shop_2"), backup=NAME)
        assert isinstance(missing.error, RestoreError)
        assert "pg_cron works in only one database" in missing.error.context
        assert flow_run(restore, to=target, backup=NAME).error is None
        assert asked(target, "SELECT jobname, (SELECT count(*) FROM public.visits) FROM cron.job") == [("tidy", 1)]
        again = flow_run(restore, to=target, backup=NAME, replace=True)
        assert isinstance(again.error, RestoreError)
        assert asked(target, "SELECT count(*) FROM cron.job") == [(1,)]
