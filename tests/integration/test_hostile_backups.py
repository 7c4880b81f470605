"""A backup can only fill its database: no psql commands, nothing outside the database, no rows leaked into a report."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from blocks.config.environment import child_environment
from blocks.s3.client import ObjectStore
from flows.restore import restore
from tasks.engine.drill.place import Place
from tasks.engine.repository import checks as checklist
from tasks.engine.servers.programs import Client
from tests.conftest import FlowRun, NewDatabase, databases_of
from tests.integration.objects import (
    LIBRARY,
    asked,
    inserted,
    new_role,
    put_object,
    rewrite,
    take_backup,
    told,
)
from tests.integration.sandboxes import rehearsed, results, row

Clients = dict[int, Client]
Edit = Callable[[bytes], bytes]


def _in_a_string() -> Edit:
    """Use lower case, which pg_dump never writes: the scanner sees one string where the server sees three statements."""
    return inserted(f"set standard_conforming_strings = off;\nSELECT '\\' '; {_ESCAPE}; SELECT '';\n")


def _in_a_comment() -> Edit:
    """In SJIS, a byte swallows the one after it, and with it the start of a comment's end."""
    return inserted(f"SET client_encoding = 'SJIS';\n/* \x83/* */ {_ESCAPE} */;\n")


def _in_a_body() -> Edit:
    """The scanner waits for an END that the server doesn't need."""
    return inserted(
        f"CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql RETURN $1 + begin; {_ESCAPE}; SELECT 1 end;\n"
    )


_ESCAPE = "ALTER ROLE sneaky SUPERUSER"


@pytest.mark.parametrize("major", [15, 18])
@pytest.mark.parametrize("hide", [_in_a_string, _in_a_comment, _in_a_body], ids=lambda f: f.__name__)
def test_no_statement_hides_in_another(
    major: int, hide: Callable[[], Edit], new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:  # fmt: skip
    """A text that the scanner takes for one statement isn't carried out as several, even if nothing was refused before."""
    server = new_database(major, LIBRARY)
    take_backup(storage, server, clients[major])
    told(server, "DROP ROLE IF EXISTS sneaky", "CREATE ROLE sneaky")
    rewrite(storage, hide(), forge=True)
    assert rehearsed(storage, Place("database", server=server)).verdict != "PROVEN"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.engine.dump.scanner.DumpScanner._refuse", lambda *_: None)
        assert rehearsed(storage, Place("database", server=server)).verdict != "PROVEN"
        assert flow_run(restore, to=new_database(major), backup="latest").error is not None
    assert asked(server, "SELECT rolsuper FROM pg_roles WHERE rolname = 'sneaky'") == [(False,)]
    told(server, "DROP ROLE sneaky")


BEYOND = [
    "DROP DATABASE victim;", "CREATE DATABASE more;", "ALTER DATABASE postgres CONNECTION LIMIT 3;", "CREATE ROLE more;",
    "ALTER USER postgres PASSWORD 'x';", "DROP ROLE reader;", "GRANT postgres TO reader;", "ALTER SYSTEM SET work_mem = '1MB';",
    "CREATE TABLESPACE more LOCATION '/tmp';", "DO $$ BEGIN END $$;", "SET ROLE pg_monitor;", "set local role pg_monitor;",
    "COPY public.books TO PROGRAM 'cat > /tmp/books';", "COPY public.books FROM '/etc/passwd';", "copy (SELECT 1) to '/tmp/x';",
]  # fmt: skip


@pytest.mark.parametrize("statement", BEYOND)
def test_what_reaches_beyond_the_database_is_refused(
    statement: str, new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """No dump of a single database contains such a statement; it isn't executed, and gives no verdict on the backup."""
    server = new_database(16, LIBRARY)
    take_backup(storage, server, clients[16])
    rewrite(storage, inserted(statement), forge=True)
    before = databases_of(server)
    report = rehearsed(storage, Place("database", server=server))
    assert report.verdict == "INCONCLUSIVE"
    assert f"it would change more than its database: {statement.split(maxsplit=1)[0].upper()}" in report.cause
    assert databases_of(server) == before


FOREIGN = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER victim FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname '{database}');
CREATE USER MAPPING FOR {user} SERVER victim OPTIONS (user '{user}', password '{password}');
CREATE FOREIGN TABLE remote (id int, name text) SERVER victim OPTIONS (table_name 'authors');
CREATE TABLE parts (id int, name text) PARTITION BY LIST (id);
CREATE FOREIGN TABLE first PARTITION OF parts FOR VALUES IN (777) SERVER victim OPTIONS (table_name 'authors');
"""


@pytest.mark.parametrize("rows", ["COPY public.{} (id, name) FROM stdin;\n777\tx\n\\.\n", "INSERT INTO public.{} VALUES (777, 'x');"],
                         ids=["COPY", "INSERT"])  # fmt: skip
@pytest.mark.parametrize("table", ["remote", "parts"])
def test_no_rows_go_to_another_database(
    table: str, rows: str, new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """A foreign table can leak rows, directly or as a partition: it is restored but given no rows."""
    victim, source, target = new_database(15, LIBRARY), new_database(15), new_database(15)
    told(source, FOREIGN.format(database=victim.database, **victim.parameters()))
    take_backup(storage, source, clients[15])
    assert rehearsed(storage, Place("database", server=source)).verdict == "PROVEN"
    rewrite(storage, inserted(rows.format(table)), forge=True)
    assert rehearsed(storage, Place("database", server=source)).verdict == "INCONCLUSIVE"
    assert flow_run(restore, to=target, backup="latest").error is not None
    assert asked(victim, "SELECT count(*) FROM authors WHERE id = 777") == [(0,)]


AUDITED = """
CREATE TABLE log (at timestamptz DEFAULT now(), tag text);
CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM log;
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO public.log (tag) VALUES (tg_tag); RAISE EXCEPTION 'no DDL here'; END $$;
CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION note();
"""


@pytest.mark.parametrize("major", [15, 16, 18])
def test_an_audit_of_ddl_does_not_fire(
    major: int, new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """DDL triggers would write rows that weren't dumped or forbid the restore; drills and restores disable them."""
    server = new_database(major, AUDITED)
    take_backup(storage, server, clients[major])
    for place in (Place("sandbox", client=clients[major]), Place("database", server=server)):
        report = rehearsed(storage, place)
        assert (report.verdict, report.cause) == ("PROVEN", "")
    target = new_database(major)
    assert flow_run(restore, to=target, backup="latest").error is None
    assert asked(target, "SELECT count(*) FROM log") == [(0,)]


LITERALS = """
CREATE TABLE t (a text);
CREATE VIEW v1 AS SELECT (SELECT 'lit') AS s WHERE EXISTS (SELECT 'x' FROM t);
CREATE VIEW v2 AS SELECT a FROM t WHERE a IN (SELECT 'x' UNION SELECT 'y');
CREATE VIEW v3 AS SELECT ARRAY(SELECT 'x') AS a, ARRAY(SELECT NULL::date) AS b, (SELECT 'x'::varchar(5)) AS c;
CREATE MATERIALIZED VIEW v4 AS SELECT * FROM (SELECT 'a' UNION ALL SELECT 'b') q;
CREATE POLICY p ON t USING (a = (SELECT 'lit')); CREATE POLICY p2 ON t USING (EXISTS (SELECT NULL FROM t));
"""


@pytest.mark.parametrize("major", [15, 18])
def test_a_nameless_literal_is_no_difference(
    major: int, new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """PostgreSQL prints such a literal differently before and after a restore."""
    server = new_database(major, LITERALS)
    take_backup(storage, server, clients[major])
    report = rehearsed(storage, Place("sandbox", client=clients[major]))
    assert (report.verdict, report.cause) == ("PROVEN", "")


def _foreign(storage: ObjectStore, command: list[str], environ: dict[str, str]) -> None:
    dumped = subprocess.run(command, env=environ, capture_output=True, check=True)
    put_object(storage, subprocess.run(["gzip"], input=dumped.stdout, capture_output=True, check=True).stdout)


def test_rows_are_in_no_report(new_database: NewDatabase, clients: Clients, storage: ObjectStore) -> None:
    """Rows in another tool's INSERT statements are not compared, which is reported, and not shown."""
    server = new_database(
        16, "CREATE TABLE t (a int, b text); INSERT INTO t SELECT n, 'secret ' || n FROM generate_series(1, 9) n"
    )
    _foreign(storage, [clients[16].program("pg_dump"), "--inserts"], child_environment(server.child_environment()))
    report = rehearsed(storage, Place("sandbox", client=clients[16]))
    assert report.verdict == "PROVEN"
    assert {results(report)[n] for n in (checklist.TABLES, checklist.ROWS, checklist.DIGESTS)} == {"not possible"}
    assert "9 rows in it came as INSERT statements" in row(report, checklist.ROWS).evidence
    assert b"secret" not in report.encode()


def test_names_in_needless_quotes_are_the_same_names(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """Needlessly quoted names equal unquoted ones: `pg_dump --quote-all-identifiers` is a matter of style."""
    server = new_database(16, LIBRARY + 'CREATE TABLE "Odd ""name" (a int);')
    command = [clients[16].program("pg_dump"), "--quote-all-identifiers"]
    _foreign(storage, command, child_environment(server.child_environment()))
    report = rehearsed(storage, Place("sandbox", client=clients[16]))
    assert (report.verdict, report.cause) == ("PROVEN", "")
    assert results(report)[checklist.DIGESTS] == "passed"


def test_a_role_may_be_called_like_everybody(new_database: NewDatabase, clients: Clients, storage: ObjectStore) -> None:
    """Quoted "PUBLIC" is an ordinary name, and the role is created in a throwaway server."""
    server = new_database(16, "CREATE TABLE t (a int)")
    told(server, 'CREATE ROLE "PUBLIC"', 'ALTER TABLE t OWNER TO "PUBLIC"')
    try:
        take_backup(storage, server, clients[16])
        assert rehearsed(storage, Place("sandbox", client=clients[16])).verdict == "PROVEN"
    finally:
        told(server, 'DROP OWNED BY "PUBLIC"', 'DROP ROLE "PUBLIC"')


@pytest.mark.usefixtures("unguarded")
def test_what_a_server_refuses_may_be_a_sound_object(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """The report keeps what is known about the object even though the restore failed."""
    server = new_database(16, LIBRARY)
    take_backup(storage, server, clients[16])
    rewrite(storage, inserted("SELECT 1/0;"), forge=True)
    report = rehearsed(storage, Place("sandbox", client=clients[16]))
    assert report.verdict == "FAILED"
    assert {results(report)[n] for n in (checklist.SIZE, checklist.GZIP, checklist.COMPLETE)} == {"passed"}


def test_how_a_role_reads_strings_does_not_matter(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """A dump that doesn't say how its strings are to be read is read by the standard, whatever the role has set."""
    server = new_database(16, LIBRARY)
    take_backup(storage, server, clients[16])
    forged = (
        b"CREATE TABLE public.u (a text, b text);\n"
        b"INSERT INTO public.u VALUES ('\\', ', pg_catalog.lo_from_bytea(4711,$$x$$)::text) --');\n"
    )
    rewrite(
        storage,
        lambda dump: inserted(forged.decode())(dump.replace(b"SET standard_conforming_strings = on;\n", b"")),
        forge=True,
    )
    login, target = new_role(server, "SUPERUSER"), new_database(16)
    told(server, f"ALTER ROLE {login.parameters()['user']} SET standard_conforming_strings = off")
    ran = flow_run(restore, to=login.on(target.database), backup="latest", verify=False)
    assert ran.error is None
    assert asked(target, "SELECT count(*) FROM pg_largeobject_metadata WHERE oid = 4711") == [(0,)]
