"""The scanner survives any dump, ignores how its input is chunked, and never calls a truncated dump whole."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocks.config.environment import child_environment
from blocks.sql.server import Server
from tasks.engine.dump.schema_text import SchemaNormaliser, codec_of, roles_of
from tasks.engine.dump.splitter import StatementSplitter
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository.manifest import SequenceRecord, TableRecord
from tasks.engine.restore.header import encoding_in, major_in
from tasks.engine.servers.programs import Client
from tests.conftest import HARD_SQL, MAJORS, psql
from tests.fuzz import fuzzed
from tests.integration.test_healthy_backups import EVERY_KIND_SQL, ROLES
from tests.unit.sql import COMPLETE, TAIL, copy, dump, scan
from tests.unit.test_dump_stream import facts

KINDS = {
    "rows": [],
    "inserts": ["--inserts", "--rows-per-insert=3"],
    "columns": ["--column-inserts", "--quote-all-identifiers"],
    "clean": ["--clean", "--if-exists", "--no-owner"],
}
# The building blocks of a dump, and what imitates them.
FRAGMENTS = st.sampled_from([
    b"COPY t (a, b) FROM stdin;\n", b'COPY "t;" FROM stdin;\n', b"\\.\n", b"\\.", b"1\t2\n", b"\\\\.\n", b"\\N\t\n", b"\n", b";", b"'", b'"', b"$$", b"$a$",
    b"--", b"/*", b"*/", b"(", b")", b" E'", b"\\'", b"SELECT 1;\n", b"INSERT INTO t VALUES ('\\.');\n", b"SET standard_conforming_strings = off;\n",
    b"SET standard_conforming_strings = on;\n", b"-- PostgreSQL database dump complete\n", b"-- Dumped from database version 16.4\n",
    b"-- Dumped by pg_dump version " + b"9" * 30 + b"\n", b"\\restrict aB1\n", b"\\unrestrict aB1\n", b"\\connect x\n", b"\\! x\n", b"BEGIN ATOMIC ", b"END;",
    b"CREATE FUNCTION f() ", b"SET client_encoding = 'LATIN1';\n", b"SET client_encoding = 'SJIS';\n", b"SET client_encoding = 'hex';\n",
    b"SET client_encoding = 'idna';\n", b"SET client_encoding = 'undefined';\n", b"SET client_encoding = 'utf_7';\n", b"SET client_encoding = 'unicode_escape';\n",
    b"SET client_encoding = 'UTF8';\n", b"SELECT pg_catalog.setval('public.s', 7, true);\n", b"SELECT pg_catalog.setval('s', " + b"9" * 5000 + b", true);\n",
    b"SELECT pg_catalog.setval('\xff+ADw-\\ud800', -1, false);\n", b"SELECT pg_catalog.lo_create('1');\n", b"SELECT pg_catalog.lo_open('1', 131072);\n",
    b"SELECT pg_catalog.lowrite(0, '\\x00');\n", b"SELECT pg_catalog.lo_close(0);\n", b'COPY "\xff\xed\xa0\x80+2AA-" ("\xe4") FROM stdin;\n',
    b'ALTER TABLE t OWNER TO "\xff";\n', b"GRANT ALL ON TABLE t TO r;\n", b"CREATE EXTENSION x;\n", b"CREATE DATABASE x;\n", b"SET default_tablespace = x;\n",
    b"(ARRAY['x'::text])::text[] ", b"::text AS text ", b"CREATE POLICY p ON t TO \xff, b;\n", b"\xef\xbb\xbf", b"\r\n", b"\0", b"\xff",
])  # fmt: skip
SOUP = st.lists(FRAGMENTS | st.binary(max_size=4), max_size=24).map(b"".join)
ROWS = st.lists(st.sampled_from([b"1\t2\n", b"\\\\.\t\n", b"\t\n", b"x\\n\t'$$\n", b"\xff\t\x00\n"]), max_size=4)
PARTS = st.one_of(
    ROWS.map(lambda rows: copy("t", rows)),
    st.sampled_from([
        b"COMMENT ON TABLE t IS 'COPY u FROM stdin;\n1\n\\.\n';\n", b"CREATE FUNCTION f() RETURNS text AS $a$ ';\n\\.\n$a$;\n", b"INSERT INTO t VALUES ('\\.\n;');\n",
        b"-- Name: t; Type: TABLE\n", b"/* a /* b; */ ; */ SELECT 1;\n", b"SELECT pg_catalog.lo_open('1', 131072);\nSELECT pg_catalog.lowrite(0, '\\x00');\n",
        b"COMMENT ON TABLE t IS E'\\';\n\\\\.\n';\n", b"SELECT pg_catalog.setval('s', 7, true);\n",
    ]),
)  # fmt: skip
Dumps = dict[str, bytes]
# A real dump takes tens of milliseconds.
sparsely = settings(fuzzed, max_examples=fuzzed.max_examples // 12)
EVERY = sparsely.max_examples // 5  # lines to cut at


@pytest.fixture(scope="module")
def real_dumps(server_of: Callable[[int], Server], clients: dict[int, Client]) -> Dumps:
    """Dumps of everything that is hard to dump, by the oldest and the newest pg_dump, as COPY and as INSERT."""
    made = {}
    for major in (MAJORS[0], MAJORS[-1]):
        server = server_of(major)
        with server.connect() as connection:
            connection.execute("CREATE DATABASE fuzz")
        hard = re.sub(r"(?m)^CREATE ROLE .*$", "", HARD_SQL.read_text())
        psql(clients[major], server.on("fuzz"), ROLES + hard + EVERY_KIND_SQL.read_text())
        for kind, options in KINDS.items():
            command = [clients[major].program("pg_dump"), *options]
            environ = child_environment(server.on("fuzz").child_environment())
            made[f"{kind} {major}"] = subprocess.run(command, env=environ, capture_output=True, check=True).stdout
        with server.connect() as connection:
            connection.execute("DROP DATABASE fuzz")
    return made


def storable(summary: DumpSummary) -> bool:
    """Return whether a manifest can hold the summary: text that is valid in JSON, and counts."""
    for t in summary.tables.values():
        TableRecord(
            name=t.name, columns=t.columns, rows=t.rows, digest=t.digest, raw_bytes=t.raw_bytes, member_offset=0, skip_bytes=t.start
        ).encode()  # fmt: skip
    for name, (value, called) in summary.sequences.items():
        record = SequenceRecord(name=name, value=value, called=called)
        assert SequenceRecord.model_validate_json(record.encode()) == record
    texts = (*summary.roles, *summary.extensions, *summary.tablespaces, summary.server_version, summary.client_version,
             summary.refused, *summary.unknown_commands, summary.problem)  # fmt: skip
    return "".join(texts).encode() is not None


def test_real_dumps_are_whole(real_dumps: Dumps) -> None:
    """The dumps that the other tests cut and alter are whole, and contain something of everything."""
    for name, text in real_dumps.items():
        summary = scan(text)
        assert (summary.problem, summary.unknown_commands) == ("", []), name
        assert bool(summary.inserts) == name.startswith(("inserts", "columns"))
        assert len(summary.tables) > 20 or summary.inserts > 50
        assert summary.large_objects > 1
        assert storable(summary)


@pytest.mark.parametrize("kind", [f"{kind} {major}" for kind in KINDS for major in (MAJORS[0], MAJORS[-1])])
def test_a_real_dump_cut_at_lines(kind: str, real_dumps: Dumps) -> None:
    """A dump cut before, at or after a line end, up to the completion comment, is reported as incomplete."""
    text = real_dumps[kind]
    end = text.rindex(COMPLETE) + len(COMPLETE)
    lines = [found.start() for found in re.finditer(b"\n", text[:end])]
    for place in sorted({at + n for at in lines[:: max(1, len(lines) // EVERY)] for n in (0, 1, 2)}):
        assert scan(text[:place]).problem, place
    assert scan(text[:end]).problem == ""


@sparsely
@given(st.data())
def test_a_real_dump_cut_anywhere(real_dumps: Dumps, data: st.DataObject) -> None:
    """A dump cut at any byte is reported as incomplete."""
    text = real_dumps[data.draw(st.sampled_from(sorted(real_dumps)))]
    assert scan(text[: data.draw(st.integers(0, text.rindex(COMPLETE) + len(COMPLETE) - 1))]).problem


@sparsely
@given(st.data())
def test_a_real_dump_in_any_pieces(real_dumps: Dumps, data: st.DataObject) -> None:
    """The scanner reports the same however its input is chunked."""
    text = real_dumps[data.draw(st.sampled_from(sorted(real_dumps)))]
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=60))
    assert facts(scan(text, places, keep=True)) == facts(scan(text, keep=True))


@sparsely
@given(st.data())
def test_a_real_dump_with_anything_in_it(real_dumps: Dumps, data: st.DataObject) -> None:
    """A mutated dump raises no exception and yields the same facts in any chunks, and a manifest can hold them."""
    text = real_dumps[data.draw(st.sampled_from(sorted(real_dumps)))]
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = begin + data.draw(st.integers(0, 60) | st.integers(0, 4000))
        text = text[:begin] + data.draw(SOUP | st.just(text[begin:end] * 2)) + text[end:]
    summary = scan(text)
    assert summary.raw_bytes == len(text)
    assert storable(summary)
    assert facts(scan(text, data.draw(st.lists(st.integers(0, len(text)), max_size=8)))) == facts(summary)


@fuzzed
@given(SOUP, st.data())
@example(b"SET client_encoding = 'hex';\nCOPY t (a) FROM stdin;\n\\.\n", None)
@example(b"SELECT pg_catalog.setval('s', " + b"9" * 5000 + b", true);\n", None)
def test_a_dump_of_anything(soup: bytes, data: st.DataObject | None) -> None:
    """The parts of a dump in any order, cut in half or next to garbage, don't upset the scanner."""
    for text in (soup, dump(soup)):
        summary = scan(text)
        assert storable(summary)
        if data:
            places = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
            assert facts(scan(text, places)) == facts(summary)


@sparsely
@given(st.lists(PARTS, min_size=1, max_size=2))
def test_a_small_dump_split_at_every_byte(parts: list[bytes]) -> None:
    """Splitting at any byte after the head changes nothing, and a dump cut there is incomplete."""
    text = dump(*parts)
    whole = facts(scan(text))
    assert whole["problem"] == ""
    for place in range(len(dump()) - len(TAIL), len(text) - len(TAIL) + len(COMPLETE)):
        assert facts(scan(text, [place])) == whole, place
        assert scan(text[:place]).problem, place


@fuzzed
@given(SOUP)
@example(b"-- Dumped from database version " + b"9" * 5000)
def test_the_beginning_of_anything(header: bytes) -> None:
    """The head of another tool's dump yields a valid version and an encoding, or neither."""
    assert 0 <= major_in(header) < 1000
    assert encoding_in(header).isascii()
    assert b"\xe4\xff".decode(codec_of(encoding_in(header)), errors="backslashreplace")


def test_what_is_normal_stays_normal(real_dumps: Dumps) -> None:
    """Normalisation is idempotent: the dump of a restored copy is normalised too."""
    for text in real_dumps.values():
        splitter = StatementSplitter()
        splitter.feed(text)
        for piece in splitter.pieces(final=True):
            normal = SchemaNormaliser().normalise(piece.text) if piece.kind == "statement" else None
            assert normal is None or SchemaNormaliser().normalise(normal) == normal


@pytest.mark.timeout(20)
@pytest.mark.parametrize("statement", [
    b"CREATE VIEW v AS SELECT " + b"(ARRAY[" * 50_000 + b";", b"CREATE VIEW v AS SELECT " + b"(ARRAY['x'::text])::text[]," * 20_000 + b"1;",
    b"CREATE VIEW v AS SELECT " + b"(ARRAY[(ARRAY['x'])::text[]," * 5_000 + b"1;", b"GRANT " * 30_000 + b";", b"GRANT SELECT ON t TO " * 20_000 + b";",
    b"GRANT" + b" " * 100_000 + b"x", b"ALTER DEFAULT PRIVILEGES " + b"FOR ROLE r GRANT " * 20_000 + b";",
    b"ALTER TABLE t ADD CHECK (" + b" OWNER TO x" * 30_000 + b");", b"CREATE POLICY p ON t TO " + b"r, " * 50_000 + b"r;", b'COPY "' + b'""' * 200_000 + b" FROM stdin;",
    b"COPY t (" + b"a) FROM stdin" * 30_000 + b";", b"SELECT pg_catalog.setval('" + b"''" * 200_000 + b";", b'SET default_tablespace = "' + b'""' * 200_000 + b";",
    b"CREATE VIEW v AS SELECT (ARRAY['new'::text])::public.list_of_allowed_order_states_of_the_shop AS s;",
    b'GRANT SELECT ON TABLE "' + b"a" * 2_000_000 + b'" TO x;', b"GRANT SELECT ON TABLE " + b"t," * 1_000_000 + b"t TO x;",
    b"INSERT INTO t VALUES ('" + b"a" * 8_000_000 + b"');", b"COMMENT ON TABLE t IS 'a'" + b"\n" * 200_000 + b"x'b';",
    b"CREATE" + b" " * 50_000 + b"x" + b" END" * 12_500 + b";", b"COPY t (a" + b",ab" * 1_000_000 + b") FROM stdin;\n\\.",
    b"DROP" + b"\n" * 100_000 + b"x;", b"SELECT '" + b"x''" * 200_000 + b"';", b"SELECT 1 AS " + b"::a AS " * 50_000 + b";",
], ids=lambda statement: statement[:32].decode())  # fmt: skip
def test_no_statement_takes_long(statement: bytes) -> None:
    """The time for a statement doesn't grow with the square of its length, whatever a dump contains."""
    assert scan(dump(statement + b"\n")).raw_bytes > len(statement)
    assert roles_of(statement) is not None
    SchemaNormaliser().normalise(statement)
