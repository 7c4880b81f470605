"""The scanner reports what a dump holds, and never takes half of one for a whole one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128

from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.summary import DumpSummary
from tests.conftest import HARD_SQL
from tests.unit.sql import COMPLETE, HEAD, TAIL, copy, dump, scan, statements

MIB = 1 << 20
FUNCTION = b"""CREATE FUNCTION public.tricky() RETURNS text LANGUAGE sql AS $_$
  SELECT 'COPY public.fake (a) FROM stdin;
1
\\.
' || $1 -- it's "odd
$_$;

"""
TRAPS = {
    "dollar quote": FUNCTION,
    "comment on": b"COMMENT ON TABLE t IS 'COPY public.fake (a) FROM stdin;\n1\n\\.\n-- PostgreSQL database dump complete\n';\n",
    "escape string": b"COMMENT ON TABLE t IS E'\\';\nCOPY public.fake (a) FROM stdin;\n1\n\\\\.\n';\n",
    "quoted identifier": b'CREATE TABLE "x;\nCOPY public.fake (a) FROM stdin;\n1\n\\.\n" (a int);\n',
    "nested comment": b"/* a /* b */ ;\nCOPY public.fake (a) FROM stdin;\n1\n\\.\n*/ SELECT 1;\n",
    "line comment": b"-- COPY public.fake (a) FROM stdin;\n-- 1\n-- \\.\nSELECT 1;\n",
    "atomic body": b"CREATE FUNCTION f() RETURNS int\n BEGIN ATOMIC\n SELECT 1;\nCOPY public.fake (a) FROM stdin;\n SELECT 2;\nEND;\n",
    "rule": b"CREATE RULE r AS ON DELETE TO t DO (SELECT 1;\nCOPY public.fake (a) FROM stdin;\n SELECT 2);\n",
}  # fmt: skip
SQL_ROWS = [b"\\\\.\tx\n", b"COPY public.fake (a, b) FROM stdin;\t1\n", b"-- PostgreSQL database dump complete\t\n", b"'\t\"\n",
            b"$$\t/*\n", b"\\\\unrestrict abc\t\\N\n", b".\t\\\\\n", b"pg_dump: error\t;\n", b"\t\n", b"(\tBEGIN\n"]  # fmt: skip
SMALL = dump(
    FUNCTION,
    copy("public.t", SQL_ROWS),
    copy("public.empty", []),
    copy("public.no_columns", [b"\n", b"\n"], columns=""),
    b"SELECT pg_catalog.setval('public.\"odd ''s''\"', 42, true);\n\n",
    b"SELECT pg_catalog.lo_create('900001');\nSELECT pg_catalog.lo_open('900001', 131072);\n"
    b"SELECT pg_catalog.lowrite(0, '\\x00ff');\nSELECT pg_catalog.lo_close(0);\n",
)
ROWS = st.lists(
    st.sampled_from([*SQL_ROWS, b"1\t2\n", b"a\tb\n", b"\n", b"x" * 50 + b"\t\n", b"\\\\\t.\n"]), max_size=12
)


def facts(summary: DumpSummary) -> dict[str, object]:
    """Return everything in a summary."""
    said = dict(vars(summary))
    said["tables"] = {name: vars(table) for name, table in summary.tables.items()}
    return said


def digest(rows: list[bytes], order: tuple[str, ...] | None = None) -> tuple[int, str]:
    summary = scan(dump(copy("t", rows)), columns={"t": order} if order else None)
    assert summary.problem == ""
    return summary.tables["t"].rows, summary.tables["t"].digest


def test_what_it_learns_from_a_dump() -> None:
    """Tables, rows, versions, sequences and large objects are read from the stream."""
    summary = scan(SMALL)
    assert summary.problem == ""
    assert (summary.server_version, summary.client_version) == ("16.4", "16.6")
    assert {t.name: (t.columns, t.rows) for t in summary.tables.values()} == {
        "public.t": (("a", "b"), len(SQL_ROWS)),
        "public.empty": (("a", "b"), 0),
        "public.no_columns": ((), 2),
    }
    assert summary.rows == len(SQL_ROWS) + 2
    assert summary.sequences == {"public.\"odd 's'\"": (42, True)}
    assert summary.large_objects == 1
    assert summary.large_object_digest != scan(SMALL.replace(b"00ff", b"00fe")).large_object_digest
    assert summary.schema_statements == 1
    assert summary.raw_bytes == len(SMALL)
    assert summary.unknown_commands == []


def test_split_at_every_byte() -> None:
    """The summary is the same wherever the stream is cut, and when every byte arrives separately."""
    whole = facts(scan(SMALL))
    for place in range(len(SMALL)):
        assert facts(scan(SMALL, [place])) == whole, place
    assert facts(scan(SMALL, range(len(SMALL)))) == whole


@given(
    st.lists(st.one_of(statements().map(lambda s: s + b"\n"), ROWS.map(lambda rows: copy("t", rows))), max_size=5),
    st.data(),
)
def test_no_cut_changes_the_summary(parts: list[bytes], data: st.DataObject) -> None:
    """Any dump gives the same summary, however it is chunked."""
    text = dump(*parts)
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=10))
    assert facts(scan(text, places)) == facts(scan(text))


@given(st.binary(max_size=300), st.data())
def test_no_cut_changes_what_is_said_of_rubbish(rubbish: bytes, data: st.DataObject) -> None:
    """Bytes that no dump contains break nothing, and are judged the same however they are chunked."""
    text = HEAD + b"COPY t (a) FROM stdin;\n" + rubbish + TAIL
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=10))
    assert facts(scan(text, places)) == facts(scan(text))


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_what_looks_like_a_table_and_is_none(trap: bytes) -> None:
    """Inside strings, comments and bodies nothing is a COPY statement, a command or the end of rows."""
    text = dump(trap, copy("public.t", [b"1\t2\n"]))
    for places in (range(0), range(len(text)), range(0, len(text), 7)):
        summary = scan(text, places)
        assert (summary.problem, list(summary.tables), summary.rows) == ("", ["public.t"], 1)
        assert summary.unknown_commands == []


@pytest.mark.parametrize("row", SQL_ROWS)
def test_a_row_that_looks_like_syntax_is_a_row(row: bytes) -> None:
    """No row ends its table or begins another."""
    for rows in ([row], [b"1\t1\n", row], [row, b"1\t1\n"], [row, row]):
        assert digest(rows)[0] == len(rows)


def test_the_script_of_the_hard_database_in_a_function() -> None:
    """Our hardest script is a single statement when it is dollar-quoted."""
    body = HARD_SQL.read_bytes()
    assert b"$hard$" not in body
    summary = scan(dump(b"CREATE FUNCTION f() AS $hard$" + body + b"$hard$;\n"), range(0, len(body), 97))
    assert (summary.problem, summary.tables, summary.schema_statements) == ("", {}, 1)


def test_a_dump_cut_anywhere_is_not_whole() -> None:
    """Up to the last letter of the completion comment, no beginning of a dump passes for a whole one."""
    end = SMALL.index(COMPLETE) + len(COMPLETE)
    for place in range(end):
        assert scan(SMALL[:place]).problem, place
    assert scan(SMALL[:end]).problem == scan(SMALL).problem == ""


@given(
    st.lists(st.one_of(statements().map(lambda s: s + b"\n"), ROWS.map(lambda rows: copy("t", rows))), max_size=5),
    st.data(),
)
def test_no_cut_dump_is_whole(parts: list[bytes], data: st.DataObject) -> None:
    """Whatever a dump holds, its beginning is never reported as whole."""
    text = dump(*parts)
    length = data.draw(st.integers(0, len(text) - len(TAIL) + len(COMPLETE) - 1))
    assert scan(text[:length]).problem


def test_why_a_dump_is_not_whole() -> None:
    """The reason is given in words: everything, rows, a statement or the end is missing."""
    assert scan(b"").problem == "it is empty"
    assert DumpScanner().summary.problem == "the dump has not ended"
    assert scan(HEAD + b"COPY public.t (a) FROM stdin;\n1\n").problem == "it ends inside the rows of table public.t"
    assert scan(HEAD + b"COPY public.t (a) FROM stdin;\n1\n\\.").problem == "it ends inside the rows of table public.t"
    assert scan(HEAD + b"SELECT 'a").problem == "it ends inside a statement"
    assert scan(HEAD).problem == "it has no completion comment at its end"
    assert scan(dump() + b"SELECT 1;\n").problem == "it has no completion comment at its end"


def test_rows_in_any_order_have_one_digest() -> None:
    """The digest doesn't depend on row order: a restored table can return its rows in another one."""
    rows = [b"%d\t%s\n" % (n, b"x" * (n % 7)) for n in range(500)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert digest(rows) == digest(shuffled)


@given(
    st.lists(
        st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"").replace(b"\\", b"") + b"\n"), min_size=1, max_size=8
    ),
    st.data(),
)
def test_every_change_of_rows_changes_the_digest(rows: list[bytes], data: st.DataObject) -> None:
    """Missing, altered, duplicated and swapped rows change the digest."""
    place = data.draw(st.integers(0, len(rows) - 1))
    before = digest(rows)
    assert digest(rows[:place] + rows[place + 1 :])[1] != before[1]
    assert digest([*rows, rows[place]])[1] != before[1]
    assert digest([*rows[:place], b"x" + rows[place], *rows[place + 1 :]])[1] != before[1]
    assert digest([*rows[:place], rows[place][:-1] + b"\t\n", *rows[place + 1 :]])[1] != before[1]


def test_two_rows_swapped_for_each_other() -> None:
    """A value exchanged between two rows makes another table, even with the same number of rows."""
    assert digest([b"1\ta\n", b"2\tb\n"])[1] != digest([b"1\tb\n", b"2\ta\n"])[1]


def test_the_digest_is_what_the_format_says() -> None:
    """The sum of the rows' XXH3 hashes modulo 2^128, so that other tools can check it."""
    total = sum(int(xxh3_128(row).hexdigest(), 16) for row in (b"1\n", b"2\n", b"2\n"))
    assert digest([b"2\n", b"1\n", b"2\n"]) == (3, f"{total % 2**128:032x}")


@pytest.mark.parametrize("size", [1000, MIB - 1, MIB, MIB + 1, 3 * MIB + 17])
@pytest.mark.parametrize("step", [4096, 65536, MIB, 10 * MIB])
def test_rows_longer_than_a_block(size: int, step: int) -> None:
    """A value of many megabytes is counted and digested like any other, in chunks of any size."""
    rows = [b"1\t2\n", b"a" * size + b"\t\\\\.\n", b"3\t4\n", b"b" * size + b"\t\n"]
    text = dump(copy("t", rows))
    assert facts(scan(text, range(step, len(text), step))) == facts(scan(text))
    assert scan(text).tables["t"].rows == 4
    assert scan(text.replace(b"aaa\t", b"aab\t"), range(step, len(text), step)).tables["t"].digest != digest(rows)[1]


def test_a_long_row_is_not_kept() -> None:
    """At most a megabyte of an endless value is kept in memory."""
    scanner = DumpScanner()
    scanner.feed(HEAD + b"COPY t (a) FROM stdin;\n")
    for _ in range(64):
        scanner.feed(b"x" * (MIB // 4))
        assert scanner._rows is not None
        assert len(scanner._rows._carry) <= MIB
    scanner.feed(b"\n\\.\n" + TAIL)
    assert scanner.finish().rows == 1


def test_many_tiny_tables() -> None:
    """Thousands of tables in one block are kept apart, each with its rows and its position."""
    text = dump(*(copy(f"public.t{n}", [b"%d\tx\n" % n] * (n % 3)) for n in range(3000)))
    summary = scan(text, range(0, len(text), 65536))
    assert [t.rows for t in summary.tables.values()] == [n % 3 for n in range(3000)]
    assert facts(summary) == facts(scan(text))
    for name, table in summary.tables.items():
        assert text[table.start :].startswith(f"COPY {name} (".encode())


@given(st.lists(ROWS, max_size=5), st.data())
def test_where_a_table_stands_in_the_stream(tables: list[list[bytes]], data: st.DataObject) -> None:
    """`raw_bytes` bytes from `start` are exactly the table: its COPY statement, its rows and their end."""
    text = dump(FUNCTION, *(copy(f"t{n}", rows) for n, rows in enumerate(tables)))
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=10))
    summary = scan(text, places)
    assert len(summary.tables) == len(tables)
    for (name, table), rows in zip(summary.tables.items(), tables, strict=True):
        cut_out = text[table.start : table.start + table.raw_bytes]
        assert cut_out == copy(name, rows).removesuffix(b"\n\n")
        assert cut_out.endswith(b"\\.\n")


def test_the_starts_of_tables_are_told_once() -> None:
    """The object's index asks after every block, and gets each table's start once."""
    text = dump(copy("a", [b"1\n"]), copy("b", []))
    scanner, told = DumpScanner(), []
    for place in range(0, len(text), 16):
        scanner.feed(text[place : place + 16])
        told += scanner.take_table_starts()
    assert told == [text.index(b"COPY a"), text.index(b"COPY b")]


def test_columns_in_another_order() -> None:
    """Rows with reordered columns have the digest of the requested order."""
    asked, rows = ("b", "a"), [b"1\tx\n", b"2\t\\N\n", b"3\ttab\\there\n"]
    reordered = [b"x\t1\n", b"\\N\t2\n", b"tab\\there\t3\n"]
    assert digest(rows, asked) == digest(reordered)
    assert digest(rows, ("a", "b")) == digest(rows)
    assert digest(rows, asked) != digest(rows)


@given(st.lists(st.integers(0, 300), max_size=8))
def test_columns_in_another_order_in_pieces(places: list[int]) -> None:
    """Reordering also works for rows that are split across chunks."""
    text = dump(copy("t", [b"%d\tx\n" % n for n in range(8)]))
    first = text.index(b"COPY t")
    cuts = [first + place for place in places]
    assert facts(scan(text, cuts, {"t": ("b", "a")})) == facts(scan(text, (), {"t": ("b", "a")}))


def test_other_columns_are_not_another_order() -> None:
    """Columns that aren't the same ones are digested as they come: the difference must show."""
    assert digest([b"1\tx\n"], ("a", "c")) == digest([b"1\tx\n"])
    assert digest([b"1\tx\n"], ("b",)) == digest([b"1\tx\n"])


def test_long_rows_in_another_order() -> None:
    """A long row whose columns are reordered is still one row."""
    text, long = dump(copy("t", [b"1\t" + b"x" * (2 * MIB) + b"\n"])), b"x" * (2 * MIB)
    summary = scan(text, range(0, len(text), 65536), {"t": ("b", "a")})
    assert summary.tables["t"].digest == digest([long + b"\t1\n"])[1]


def test_names_and_columns_stay_as_they_are_quoted() -> None:
    """Odd names of tables and columns are read as PostgreSQL reads them."""
    name, columns = '"Schéma; FROM stdin;"."t (""x"")"', '("a, b", "c)", "d""e", f)'
    table = scan(dump(copy(name, [b"1\t2\t3\t4\n"], columns))).tables[name]
    assert (table.columns, table.rows) == (('"a, b"', '"c)"', '"d""e"', "f"), 1)


def test_a_table_in_several_parts() -> None:
    """Another tool can write a table's rows in several parts: they are counted together."""
    rows = [b"1\ta\n", b"2\tb\n", b"3\tc\n"]
    summary = scan(dump(copy("t", rows[:1]), copy("t", rows[1:])))
    assert (summary.tables["t"].rows, summary.tables["t"].digest) == digest(rows)


@pytest.mark.parametrize(
    "command", [b"\\connect other", b"\\! rm -rf /", b"\\i file.sql", b"\\.", b"\\restrictx y", b"\\copy t from x"]
)
def test_unknown_commands_are_noticed(command: bytes) -> None:
    """pg_dump writes only two psql commands; any other is recorded, wherever the stream is cut."""
    text = dump(b"SELECT 1;\n" + command + b"\nSELECT 2;\n")
    for places in (range(0), range(len(text))):
        assert scan(text, places).unknown_commands == [command.decode()]
    assert scan(dump(b"SELECT 1 " + command + b"\n;\n")).unknown_commands == [command.decode()]


def test_restrict_is_no_unknown_command() -> None:
    """Newer versions of pg_dump frame a dump with two commands and a random key, which have no significance."""
    other = SMALL.replace(b"aBcDeF0123", b"zZ99")
    assert facts(scan(other)) | {"raw_bytes": 0, "tables": 0} == facts(scan(SMALL)) | {"raw_bytes": 0, "tables": 0}


def test_standard_conforming_strings_off() -> None:
    """Old dumps may use backslash escapes in plain strings; the scanner follows their setting."""
    text = b"SET standard_conforming_strings = %s;\nCOMMENT ON TABLE t IS 'it\\';\nCOPY fake (a) FROM stdin;\n';\n"
    for places in (range(0), range(300)):
        summary = scan(dump(text % b"off", copy("t", [b"1\n"])), places)
        assert (summary.problem, list(summary.tables)) == ("", ["t"])
    assert scan(dump(text % b"on")).problem


def test_the_schema_digest_ignores_session_and_data() -> None:
    """Settings, sequence values and large objects aren't schema; the order of statements doesn't matter."""
    a, b = b"CREATE TABLE a (x int);\n", b"CREATE TABLE b (x int);\n"
    first = scan(dump(a, b))
    assert first.schema_statements == 2
    again = scan(
        dump(b, b"SET lock_timeout = 0;\n", a, b"SELECT pg_catalog.setval('s', 1, false);\n", copy("a", [b"1\n"]))
    )
    assert again.schema_digest == first.schema_digest
    assert scan(dump(a)).schema_digest != first.schema_digest
    assert scan(dump(a, b, b)).schema_digest != first.schema_digest
    assert scan(dump(a, b.replace(b"int", b"bigint"))).schema_digest != first.schema_digest


def test_the_schema_is_kept_when_asked_for() -> None:
    """Statements are needed to explain a difference; otherwise none are kept."""
    text = dump(b"CREATE TABLE a (x int);\n", b"SET a = 1;\n")
    assert list(scan(text, keep=True).schema_kept.values()) == [b"CREATE TABLE a (x int);"]
    assert scan(text).schema_kept == {}


def test_extensions_and_roles() -> None:
    """The scanner lists what a restore needs on its server."""
    text = dump(
        b'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;\nCREATE EXTENSION citext;\n',
        b'ALTER TABLE public.t OWNER TO "r\xc3\xb6le";\nGRANT SELECT ON TABLE public.t TO reader;\n',
    )
    summary = scan(text)
    assert summary.extensions == {"uuid-ossp", "citext"}
    assert summary.roles == {"röle", "reader"}


def test_large_objects_are_digested_piece_by_piece() -> None:
    """Content, position and number of a large object's pieces all count."""

    def objects(*pieces: bytes, oid: bytes = b"7") -> str:
        writes = b"".join(b"SELECT pg_catalog.lowrite(0, '\\x%s');\n" % piece for piece in pieces)
        begin = b"SELECT pg_catalog.lo_create('%s');\nBEGIN;\nSELECT pg_catalog.lo_open('%s', 131072);\n" % (oid, oid)
        return scan(dump(begin + writes + b"SELECT pg_catalog.lo_close(0);\nCOMMIT;\n")).large_object_digest

    seen = [
        objects(),
        objects(b"00"),
        objects(b"00", b"01"),
        objects(b"01", b"00"),
        objects(b"00", b"00"),
        objects(b"00", oid=b"8"),
    ]
    assert len(set(seen)) == len(seen)
