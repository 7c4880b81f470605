"""A dump that passes the scanner affects only its own database, and psql splits dumps where the scanner does."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.config.environment import child_environment
from blocks.errors import BackupDamaged
from blocks.sql.server import Server
from tasks.engine.dump.splitter import StatementSplitter
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.servers.programs import Client
from tests.conftest import HARD_SQL, MAJORS, psql
from tests.fuzz import fuzzed
from tests.integration.objects import told
from tests.integration.test_healthy_backups import EVERY_KIND_SQL, ROLES
from tests.unit.sql import HEAD, TAIL, scan, statements

# Options that people use with pg_dump, each with one of the two settings of standard_conforming_strings.
OPTIONS = {
    "rows": ("on", []),
    "rows, backslashes": ("off", []),
    "inserts": ("off", ["--inserts"]),
    "columns": ("on", ["--column-inserts", "--on-conflict-do-nothing"]),
    "many rows": ("off", ["--rows-per-insert=3", "--quote-all-identifiers"]),
    "clean": ("on", ["--clean", "--use-set-session-authorization"]),
    "clean if there": ("off", ["--clean", "--if-exists", "--no-owner", "--disable-triggers"]),
}
PROOF, MARK = "/proof", "fuzz_mark"
ROLE = f"(oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit) VALUES (99998, '{MARK}', true, true, true, true, true, true, true, -1)"
# Each would leave something behind outside the database.
PAYLOADS = [text.encode() for text in (
    f"CREATE ROLE {MARK} SUPERUSER;", f"create/**/user {MARK};", f"CREATE -- x\nROLE {MARK};", f"COPY (SELECT 1) TO '{PROOF}';",
    f"COPY t TO PROGRAM 'touch {PROOF} # FROM stdin';", f"COPY t FROM PROGRAM 'touch {PROOF} # FROM stdin';\n\\.\n",
    f"DO $$ BEGIN CREATE ROLE {MARK}; END $$;", f"DO 'BEGIN CREATE ROLE {MARK}; END';", f"CREATE DATABASE {MARK};",
    "ALTER SYSTEM SET work_mem = '3MB';", "ALTER DATABASE postgres SET work_mem = '3MB';", "ALTER ROLE postgres SET work_mem = '3MB';",
    "COMMENT ON ROLE pg_monitor IS 'x';", f"SELECT lo_export(1, '{PROOF}');", f"SELECT pg_catalog.lo_export(1, '{PROOF}');",
    f"SELECT pg_catalog.setval('s', pg_catalog.lo_export(1, '{PROOF}'), true);", f"INSERT INTO t VALUES (lo_export(1, '{PROOF}'));",
    f"INSERT INTO t VALUES ('1'::int) RETURNING lo_export(1, '{PROOF}');", f"CREATE TABLE x AS SELECT lo_export(1, '{PROOF}');",
    f"COPY t (a) FROM stdin; CREATE ROLE {MARK};\n1\n\\.\n", f"\\! touch {PROOF}\n", f"\\o {PROOF}\n", f"\\copy t to '{PROOF}'\n", "GRANT pg_monitor TO pg_signal_backend;",
    f"INSERT INTO pg_catalog.pg_authid {ROLE};", f"INSERT INTO pg_authid {ROLE};", f'INSERT INTO "pg_catalog"."pg_authid" {ROLE};',
    f"COPY pg_catalog.pg_authid (oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit) FROM stdin;\n99998\t{MARK}\tt\tt\tt\tt\tt\tt\tt\t-1\n\\.\n",
    f"ALTER TABLE t ALTER a TYPE int USING pg_catalog.lo_export(1, '{PROOF}');", f"ALTER TABLE t ADD b int DEFAULT pg_catalog.lo_export(1, '{PROOF}');",
    f"CREATE MATERIALIZED VIEW m AS SELECT pg_catalog.lo_export(1, '{PROOF}');",
    f'CREATE VIEW public.Ä AS SELECT * FROM pg_catalog.pg_authid;\nINSERT INTO public."Ä" {ROLE};', f"CREATE VIEW no AS SELECT * FROM pg_catalog.pg_authid;\nALTER TABLE ONLY (no) RENAME TO v;\nINSERT INTO v {ROLE};",
    f"CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE q PARTITION OF p FOR VALUES IN (pg_catalog.lo_export(1, '{PROOF}'));", f"ALTER TABLE t ADD generated int DEFAULT pg_catalog.lo_export(1, '{PROOF}');", f"ALTER TABLE t ADD exclude int DEFAULT pg_catalog.lo_export(1, '{PROOF}');",
    "CREATE USER mapping SUPERUSER;", "CREATE SCHEMA x GRANT CREATE ON DATABASE postgres TO PUBLIC;", "CREATE SCHEMA x GRANT ALTER SYSTEM ON PARAMETER archive_command TO PUBLIC;",
    f"CREATE VIEW w AS SELECT * FROM pg_catalog.pg_authid;\nINSERT INTO w {ROLE};", f'CREATE VIEW public.w AS SELECT * FROM pg_catalog.pg_authid;\nINSERT INTO "public" . w {ROLE};',
    f"CREATE VIEW w AS SELECT * FROM pg_catalog.pg_authid; ALTER VIEW w RENAME TO v; INSERT INTO v {ROLE};", f"INSERT INTO prey.pg_catalog.pg_authid {ROLE};",
    f"CREATE RULE r AS ON INSERT TO t DO INSTEAD INSERT INTO pg_catalog.pg_authid {ROLE}; ALTER TABLE t ENABLE ALWAYS RULE r; INSERT INTO t VALUES ('x');",
    f"SELECT 1 \\g {PROOF}\n", f"SELECT 'CREATE ROLE {MARK}' \\gexec\n", f"\\w {PROOF}\n",
)]  # fmt: skip
QUOTES = [
    b"'", b"''", b'"', b'""', b"$$", b"$a$", b"$1$", b"t$a$", b"1$$", b"E'", b"e'", b"1E'", b"U&'", b'U&"', b"u&'", b"B'", b"x'", b"N'", b"\\", b"\\'", b"\\\\", b"'\n'",
    b"' --x\n'", b"E'a'\n'", b"--", b"-- ", b"/*", b"*/", b"/*/*", b"\n", b"\r", b"\r\n", b"\f", b"\v", b"\t", b" ", b";", b"(", b")", b"\\;", b":", b":'x'", b"\\.\n", b"\\.\r\n", b"\xc3\xa4",
    b"\xff", b"\0", b"'\\''", b"E'\\''", b"U&'\\''", b"B'\\''", b"1E'\\''", b"E'a'\n'b\\''", b"UESCAPE '!'", b"BEGIN", b" BEGIN ATOMIC ", b" CASE ", b" END ", b" END;", b"\xef\xbb\xbf",
]  # fmt: skip
BEGUN = [
    b"COMMENT ON TABLE t IS ", b"SET standard_conforming_strings = off;\n", b"SET standard_conforming_strings = on;\n", b"set standard_conforming_strings = off;\n",
    b"SET client_encoding = 'LATIN1';\n", b"SET client_encoding = 'SJIS';\n", b"SET client_encoding = 'UTF8';\n", b"COPY t (a) FROM stdin;\n", b"COPY t (a) FROM stdin;\n1\n",
    b"INSERT INTO t VALUES (", b"CREATE FUNCTION f() RETURNS text LANGUAGE sql ", b"CREATE OR REPLACE PROCEDURE p() LANGUAGE sql ", b"SELECT pg_catalog.setval('s', 1, true);\n", b"CREATE TABLE u (a text DEFAULT ",
    b"ALTER TABLE t ALTER a SET DEFAULT ", b"\\restrict aB1\n", b"\\unrestrict aB1\n", b"\\unrestrict aBcDeF0123\n", b"SELECT pg_catalog.set_config('search_path', '', false);\n", b"-- ", b"/* ",
]  # fmt: skip
NOISE = (
    st.just(b"") | st.sampled_from(QUOTES) | st.tuples(st.sampled_from(QUOTES), st.sampled_from(QUOTES)).map(b"".join)
)
OPENED = st.just(b"") | st.tuples(st.sampled_from(BEGUN), NOISE).map(b"".join)
TANGLE = st.lists(
    st.sampled_from([*(quote for quote in QUOTES if b"\0" not in quote), b"a", b";", b";", b"x y"]), max_size=12
).map(b"".join)
CLOSED = st.sampled_from([b"", b"';\n", b" --';\n", b"$a$;\n", b"*/;\n", b'";\n'])
HOSTILE = st.tuples(OPENED, OPENED, st.sampled_from([b"", b";\n", b"';\n"]), st.sampled_from(PAYLOADS), NOISE, CLOSED)
_ATTACKS = settings(
    fuzzed, max_examples=fuzzed.max_examples * 2, suppress_health_check=[*HealthCheck], derandomize=fuzzed.derandomize
)
_CUTS = settings(fuzzed, max_examples=fuzzed.max_examples // 2, suppress_health_check=[*HealthCheck])
_LOGGED = re.compile(rb"\*{9} QUERY \*{10}\n(.*?)\n\*{26}\n\n", re.DOTALL)  # of versions 15 to 17
_LOGGED_18 = re.compile(rb"/\*{8} QUERY \*{9}/\n(.*?)\n/\*{24}/\n\n", re.DOTALL)
_BEFORE = re.compile(rb"(?:\s+|--[^\r\n]*[\r\n])*")
_numbers = count()
# Everything outside the database, as one row.
BEYOND_SQL = """
SELECT (SELECT string_agg(r::text, ';' ORDER BY r.oid) FROM pg_authid r),
  (SELECT string_agg(d.datname || coalesce(d.datacl::text, ''), ';' ORDER BY d.oid) FROM pg_database d),
  (SELECT string_agg(p::text, ';' ORDER BY p.oid) FROM pg_parameter_acl p), (SELECT count(*) FROM pg_file_settings), (SELECT count(*) FROM pg_shdescription), (SELECT count(*) FROM pg_db_role_setting), (SELECT count(*) FROM pg_auth_members)
"""


@pytest.fixture(scope="module")
def prey(server_of: Callable[[int], Server]) -> Iterator[Server]:
    """A database with the few objects that the fragments name."""
    server = server_of(MAJORS[-1])
    with server.connect() as connection:
        connection.execute("CREATE DATABASE prey")
    with server.on("prey").connect() as connection:
        connection.execute("CREATE TABLE public.t (a text)")
        connection.execute("CREATE SEQUENCE public.s")
        connection.query("SELECT lo_create(1)")
    yield server.on("prey")
    with server.connect() as connection:
        connection.execute("DROP DATABASE prey WITH (FORCE)")


def passes(dump: bytes) -> bool:
    """Return whether a restore would pass the dump to psql."""
    try:
        summary: DumpSummary = scan(dump)
    except BackupDamaged:
        return False
    return not summary.refused and not summary.unknown_commands


def beyond(server: Server) -> list[tuple[Any, ...]]:
    """Return everything that exists outside the database."""
    with server.connect() as connection:
        return [tuple(row) for row in connection.query(BEYOND_SQL)]


@_ATTACKS
@given(HOSTILE)
def test_nothing_that_passes_reaches_beyond_its_database(
    prey: Server, clients: dict[int, Client], tmp_path_factory: pytest.TempPathFactory, parts: tuple[bytes, ...]
) -> None:
    """Even as superuser and without ON_ERROR_STOP: no role, no file, no program, no other database is touched."""
    body = b"".join(parts)
    proof = Path(tmp_path_factory.getbasetemp()) / f"proof{next(_numbers)}"
    attack = (HEAD + b"SET search_path = public, pg_catalog;\n" + body + b"\n" + TAIL).replace(
        PROOF.encode(), bytes(proof)
    )
    if not passes(attack):
        return
    proof.parent.chmod(0o777)
    before = beyond(prey)
    command = [clients[MAJORS[-1]].program("psql"), "-X", "-q", "-f", "-"]
    subprocess.run(
        command, env=child_environment(prey.child_environment()), input=attack, capture_output=True, check=False
    )
    assert beyond(prey) == before
    # What an attack left inside the database can't affect another: each real dump gets a new database.
    told(
        prey,
        "DROP VIEW IF EXISTS public.w, public.v, public.no, public.Ä",
        "DROP TABLE IF EXISTS public.p",
        "DROP RULE IF EXISTS r ON public.t",
        "DROP SCHEMA IF EXISTS x",
    )
    assert not proof.exists()


def cut_by_psql(client: Client, server: Server, text: bytes, log: Path) -> list[bytes]:
    """Return the queries that psql sends, without what precedes each."""
    log.unlink(missing_ok=True)
    command = [client.program("psql"), "-X", "-q", "-L", str(log), "-o", "/dev/null", "-f", "-"]
    subprocess.run(
        command, env=child_environment(server.child_environment()), input=text, capture_output=True, check=False
    )
    written = log.read_bytes()
    return [bare(query) for query in (_LOGGED_18 if b"/******** QUERY" in written else _LOGGED).findall(written)]


def bare(query: bytes) -> bytes:
    """Return a statement without leading comments and without whitespace: psql leaves out empty lines."""
    begun = _BEFORE.match(query)
    return b"".join(query[begun.end() if begun else 0 :].split())


@pytest.mark.parametrize("major", [MAJORS[0], MAJORS[-1]])
@_CUTS
@given(st.lists(statements() | TANGLE, min_size=1, max_size=4), st.booleans())
def test_psql_cuts_where_the_scanner_does(
    major: int, server_of: Callable[[int], Server], clients: dict[int, Client], tmp_path_factory: pytest.TempPathFactory,
    made: list[bytes], escapes: bool,
) -> None:  # fmt: skip
    """The scanner and psql split at the same places, in both readings of strings; a doubtful dump is refused anyway."""
    setting = b"SET standard_conforming_strings = %s;" % (b"off" if escapes else b"on")
    text = b"\n".join([setting, *made, b""])
    splitter = StatementSplitter()
    splitter.backslash_escapes = escapes
    splitter.feed(text)
    pieces = list(splitter.pieces(final=True))
    if splitter.doubtful or any(piece.kind == "meta" for piece in pieces):
        return
    ours = [bare(piece.text) for piece in pieces if piece.kind == "statement"]
    log = Path(tmp_path_factory.getbasetemp()) / "psql.log"
    theirs = cut_by_psql(clients[major], server_of(major), text, log)
    assert theirs[: len(ours)] == ours


@pytest.fixture(scope="module", params=MAJORS)
def filled(request: pytest.FixtureRequest, server_of: Callable[[int], Server], clients: dict[int, Client]) -> Iterator[tuple[Client, Server]]:  # fmt: skip
    """A database with everything that is hard to dump, for each version."""
    major: int = request.param
    server = server_of(major)
    with server.connect() as connection:
        connection.execute("CREATE DATABASE full_of_it")
    hard = re.sub(r"(?m)^CREATE ROLE .*$", "", HARD_SQL.read_text())
    psql(clients[major], server.on("full_of_it"), ROLES + hard + EVERY_KIND_SQL.read_text())
    yield clients[major], server.on("full_of_it")
    with server.connect() as connection:
        connection.execute("DROP DATABASE full_of_it WITH (FORCE)")


@pytest.mark.parametrize(("strings", "options"), OPTIONS.values(), ids=OPTIONS.keys())
def test_every_statement_of_pg_dump_passes(filled: tuple[Client, Server], strings: str, options: list[str]) -> None:
    """No statement by any version's pg_dump is refused, with the options people use and in both readings of strings."""
    client, server = filled
    environ = child_environment(server.child_environment()) | {"PGOPTIONS": f"-c standard_conforming_strings={strings}"}
    dumped = subprocess.run([client.program("pg_dump"), *options], env=environ, capture_output=True, check=True).stdout
    summary = scan(dumped)
    assert (summary.problem, summary.refused, summary.unknown_commands) == ("", "", [])
    assert summary.schema_statements > 50
