"""A dump holds the statements that pg_dump writes, and no other is restored."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from blocks.errors import BackupDamaged
from tasks.engine.allowed import refused
from tasks.engine.dump_stream import DumpScanner

OF_PG_DUMP = [
    "SET statement_timeout = 0;", "SET client_encoding = 'UTF8';", "SET standard_conforming_strings = on;", "SET xmloption = content;",
    "SELECT pg_catalog.set_config('search_path', '', false);", "SET search_path = public, pg_catalog;", "SET default_tablespace = '';",
    "SET default_table_access_method = heap;", "SET SESSION AUTHORIZATION 'joe';", "RESET SESSION AUTHORIZATION;", "SET row_security = off;",
    "SET SESSION AUTHORIZATION DEFAULT;", 'SET default_tablespace = "odd name";', "BEGIN;", "COMMIT;", ";",
    "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;", "COMMENT ON EXTENSION hstore IS 'it''s CREATE ROLE x';",
    "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $_$ SELECT 1; CREATE ROLE x; $_$;",
    "CREATE FUNCTION public.f(a integer) RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN a > 1 THEN 1 END AS x; SELECT 2; END;",
    "CREATE PROCEDURE public.p() LANGUAGE sql BEGIN ATOMIC END;", "CREATE TABLE public.t (a int, b text GENERATED ALWAYS AS (1) STORED);",
    "CREATE UNLOGGED TABLE public.t (a int) WITH (fillfactor='70');", "CREATE TABLE public.c PARTITION OF public.p FOR VALUES IN (1);",
    "CREATE RULE r AS ON INSERT TO public.t DO (SELECT 1; SELECT 2);", "CREATE DEFAULT CONVERSION public.c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;",
    "CREATE TRUSTED PROCEDURAL LANGUAGE plx HANDLER public.h;", "CREATE USER MAPPING FOR joe SERVER far OPTIONS (\"user\" 'x');",
    "CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p WITH (connect = false, slot_name = 's');", "ALTER SUBSCRIPTION s OWNER TO joe;",
    "ALTER TABLE ONLY public.t ALTER COLUMN a SET DEFAULT 1;", "ALTER DEFAULT PRIVILEGES FOR ROLE joe GRANT SELECT ON TABLES TO PUBLIC;",
    "ALTER LARGE OBJECT 4711 OWNER TO joe;", "GRANT SELECT(a, b),UPDATE(c) ON TABLE public.t TO joe WITH GRANT OPTION;",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC;", "GRANT ALL ON FOREIGN SERVER far TO joe;", "SECURITY LABEL FOR dummy ON TABLE public.t IS 'secret';",
    "REFRESH MATERIALIZED VIEW public.m;", "SELECT pg_catalog.setval('public.s', 7, false);", "SELECT pg_catalog.lo_create('4711');",
    "SELECT pg_catalog.lo_open('4711', 131072);", "SELECT pg_catalog.lowrite(0, '\\x00ff');", "SELECT pg_catalog.lo_close(0);",
    "SELECT CASE WHEN EXISTS(SELECT 1 FROM pg_catalog.pg_largeobject_metadata WHERE oid = '4711') THEN pg_catalog.lo_unlink('4711') END;",
    "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '4711';",
    "SELECT * FROM pg_catalog.pg_restore_relation_stats(\n\t'version', '180000'::integer,\n\t'relpages', '1'::integer\n);",
    "INSERT INTO public.t VALUES (1, 'a''b', NULL, true, B'101', -1.5e3, '{1,2}');", 'INSERT INTO public.t (a, "B") OVERRIDING SYSTEM VALUE VALUES\n\t(1, 2),\n\t(3, DEFAULT);',
    "INSERT INTO public.t DEFAULT VALUES;", "INSERT INTO public.t VALUES ('1'::numeric(10,2), 'x'::public.\"My type\"[], '{1}'::int[]);", "INSERT INTO public.t VALUES (1, '2024-01-01'::timestamp(3) without time zone) ON CONFLICT DO NOTHING;",
    "DROP TABLE IF EXISTS public.t;", "DROP INDEX public.i;", "ALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT IF EXISTS t_pkey;",
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.f();", "CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');",
    'CREATE TEXT SEARCH CONFIGURATION public.c (PARSER = pg_catalog."default");', "COMMENT ON COLUMN public.t.a IS 'x';", "CREATE ACCESS METHOD m TYPE INDEX HANDLER h;",
    "COMMENT ON LARGE OBJECT 4711 IS 'x';", "CREATE OPERATOR CLASS public.o DEFAULT FOR TYPE int USING btree AS OPERATOR 1 <;", "CREATE CAST (text AS public.x) WITHOUT FUNCTION;",
]  # fmt: skip
NOT_OF_PG_DUMP = [
    "/* x */ CREATE ROLE more;", "CREATE/**/ROLE more;", "-- x\nCREATE ROLE more;", "CREATE -- x\n USER more;", "create group more;",
    "COPY (SELECT 1) TO PROGRAM 'id # FROM stdin';", "COPY public.t FROM PROGRAM 'sh # FROM stdin';", "COPY public.t FROM stdin WITH (FORMAT csv);",
    "ALTER DATABASE postgres SET search_path = x;", "COMMENT ON DATABASE postgres IS 'x';", "COMMENT ON ROLE joe IS 'x';", "SECURITY LABEL ON ROLE joe IS 'x';",
    "GRANT ALL ON DATABASE postgres TO joe;", "GRANT joe TO jane;", 'REVOKE "on" FROM joe;', "GRANT SET ON PARAMETER work_mem TO joe;", "GRANT CREATE ON TABLESPACE x TO joe;",
    "SELECT pg_read_file('/etc/passwd');", "SELECT pg_catalog.lo_export(1, '/tmp/x');", "SELECT pg_catalog.setval('s', (SELECT 1));", "SELECT pg_catalog.set_config('role', 'x', false);",
    "SELECT pg_catalog.lowrite(0, pg_read_binary_file('x'));", "SELECT pg_catalog.lo_close(0), pg_catalog.lo_export(1, 'x');", "SELECT pg_catalog.setval('s', 1, true) FROM x;",
    "INSERT INTO t SELECT lo_export(1, 'x');", "INSERT INTO t VALUES (lo_export(1, 'x'));", "INSERT INTO t VALUES ((SELECT 1));", "INSERT INTO t VALUES (1) RETURNING f();", "INSERT INTO t VALUES ('1'::int) RETURNING lo_export(1, 'x');",
    "INSERT INTO t VALUES ('1'::numeric(1)) RETURNING lo_export(1, 'x');", "INSERT INTO t VALUES ('1'::int, f(1));",
    "INSERT INTO t VALUES ('x'::regclass::text || f());", "INSERT INTO t (SELECT 1) VALUES (1);", "INSERT INTO t VALUES ('1'::numeric(f(1)));",
    "SET standard_conforming_strings = on /* off */;", "SET standard_conforming_strings TO off;", "SET client_encoding = 'SJIS';", "SET client_encoding TO 'UTF8', 'BIG5';",
    "SET role = joe;", "SET SESSION ROLE joe;", "SET ROLE joe;", "SET session_preload_libraries = 'x';", "SET LOCAL search_path = x;", "RESET ALL;", "SET backslash_quote = on;",
    "CREATE TABLE t AS SELECT lo_export(1, 'x');", "CREATE TABLE t (a) AS EXECUTE x;", "CREATE TEMP TABLE t (a int);", "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p;",
    "ALTER SUBSCRIPTION s ENABLE;", "DROP SUBSCRIPTION s;", "DROP OWNED BY joe;", "REASSIGN OWNED BY joe TO jane;", "ALTER SYSTEM SET work_mem = 1;", "LOAD 'x';", "DO $$ $$;",
    "CALL p();", "EXECUTE x;", "PREPARE x AS SELECT 1;", "VACUUM;", "CHECKPOINT;", "NOTIFY x;", "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z;", "TRUNCATE t;", "WITH x AS (SELECT 1) SELECT 1;",
    "VALUES (1);", "TABLE t;", "DELETE FROM t;", "UPDATE t SET a = 1;", "LOCK TABLE t;", "DISCARD ALL;", "CREATE TABLESPACE x LOCATION '/x';", "EXPLAIN ANALYZE SELECT 1;",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET begin.x = 'y' AS $$ $$; CREATE ROLE x; END;",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT begin FROM t; END; CREATE ROLE x; END;",
]  # fmt: skip


@pytest.mark.parametrize("statement", OF_PG_DUMP)
def test_what_pg_dump_writes_is_let_through(statement: str) -> None:
    """A good backup that cannot be restored would be as bad as a hostile one that can."""
    assert refused(statement.encode()) == ""


@pytest.mark.parametrize("statement", NOT_OF_PG_DUMP)
def test_everything_else_is_refused(statement: str) -> None:
    """Whatever comments, quotes and capitals it has."""
    assert refused(statement.encode()) != ""


HIDDEN = {
    "a carriage return ends a comment": "-- x\rCREATE ROLE more;\n",
    "a statement in the line of COPY": "COPY t (a) FROM stdin; CREATE ROLE more;\n1\n\\.\n",
    "another end of rows": "COPY t (a) FROM stdin;\n1\n\\.\r\nCREATE ROLE more;\n\\.\n",
    "another end of no rows": "COPY t (a) FROM stdin;\n\\.\r\nCREATE ROLE more;\n\\.\n",
    "a string that goes on": "COMMENT ON TABLE t IS E'a'\n'b\\'; CREATE ROLE more; --';\n",
    "a string that goes on behind a comment": "COMMENT ON TABLE t IS E'a' -- x\n'b\\'; CREATE ROLE more; --';\n",
    "a string of bits": "SET standard_conforming_strings = off;\nCOMMENT ON TABLE t IS B'\\'; CREATE ROLE more; --';\n",
    "a string of another kind": "SET standard_conforming_strings = off;\nCOMMENT ON TABLE t IS U&'\\'; CREATE ROLE more; --';\n",
    "strings of the other kind": "SET standard_conforming_strings = off;\nCOMMENT ON TABLE t IS 'a\\'b'; CREATE ROLE more;\n",
    "a quote in a name": "COMMENT ON TABLE t$a$ IS 'x'; CREATE ROLE more; COMMENT ON TABLE t$a$ IS 'x';\n",
    "a quote right behind another": "COMMENT ON TABLE t IS $$$$$$ ' $$; CREATE ROLE more; --';\n",
    "an escape string right behind a quote": "COMMENT ON TABLE t IS $$$$E'\\''; CREATE ROLE more; --';\n",
    "a zero byte": "COMMENT ON TABLE t IS 'a\0'; CREATE ROLE more;\n';\n",
    "a nested comment": "/* /* */ ; */ CREATE ROLE more;\n",
}


@pytest.mark.parametrize("dump", HIDDEN.values(), ids=HIDDEN.keys())
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_nothing_hides_from_the_scanner_that_psql_would_see(dump: str, step: int) -> None:
    """However the stream is cut, what psql takes for a statement is looked at, or the dump is refused for its doubt."""
    scanner, data = DumpScanner(), dump.encode()
    for at in range(0, len(data), step):
        scanner.feed(data[at : at + step])
    scanner.finish()
    assert scanner.summary.refused != ""


PLAIN = {
    "two lines of strings": "COMMENT ON TABLE t IS 'a''b\n''c';\n",
    "rows that look like SQL": "COPY t (a) FROM stdin;\nCREATE ROLE x;\n\\\\.\n\\.\n\nCREATE TABLE u (a int);\n",
    "an escape string": "COMMENT ON TABLE t IS E'a\\'; CREATE ROLE x; --';\n",
    "names with dollars": "COMMENT ON TABLE t$a$b IS $x$ CREATE ROLE $x$;\nCOMMENT ON TABLE \"E\" IS 'x';\n",
    "a default of an escape string": "CREATE TABLE t (a text DEFAULT E'a\\\\b'::text,\n b text DEFAULT 'c'::text);\n",
}


@pytest.mark.parametrize("dump", PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_strings_and_rows_are_no_statements(dump: str, step: int) -> None:
    """What stands in quotes or rows is what it is."""
    scanner, data = DumpScanner(), dump.encode()
    for at in range(0, len(data), step):
        scanner.feed(data[at : at + step])
    scanner.finish()
    assert scanner.summary.refused == ""


def feed(scanner: DumpScanner, pieces: Iterable[bytes]) -> None:
    """Scan one piece after the other."""
    for piece in pieces:
        scanner.feed(piece)


def test_a_statement_without_an_end_is_given_up() -> None:
    """Whatever the object holds, little of it is kept at a time."""
    scanner = DumpScanner()
    scanner.feed(b"SELECT '")
    with pytest.raises(BackupDamaged, match="a statement is longer than 64 MiB"):
        feed(scanner, (b"a" * (1 << 20) for _ in range(80)))


@pytest.mark.parametrize("flood", ["COPY t{n} (a) FROM stdin;\n\\.\n", "COPY t (a) FROM stdin;\n\\.\n", "ALTER TABLE t OWNER TO r{n};\n",
                                   "SELECT pg_catalog.setval('s{n}', 1, true);\n"])  # fmt: skip
def test_names_are_not_collected_without_a_bound(flood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump that names more than any database has is given up before memory is."""
    monkeypatch.setattr("tasks.engine.dump_stream._COLLECTED_BYTES", 1 << 16)
    scanner = DumpScanner()
    with pytest.raises(BackupDamaged, match="it names more tables, sequences and roles"):
        feed(scanner, (flood.format(n=n).encode() for n in range(10_000)))


def test_restrictions_are_not_collected_without_a_bound() -> None:
    """A dump restricts psql once."""
    scanner = DumpScanner()
    for _ in range(100):
        scanner.feed(b"\\restrict abc\n")
    assert scanner.summary.refused == "it restricts psql again and again"


def test_a_body_that_psql_misreads_is_named() -> None:
    """What nobody can restore is said with its name, and why."""
    scanner = DumpScanner()
    body = "BEGIN ATOMIC SELECT begin FROM public.span; END;"
    scanner.feed(
        f"CREATE FUNCTION public.starts() RETURNS int LANGUAGE sql\n {body}\n\nCREATE TABLE t (a int);\n".encode()
    )
    problem = scanner.finish().problem
    assert "CREATE FUNCTION public.starts" in problem
    assert "begin" in problem
