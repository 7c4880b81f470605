"""Queries on a real server: they are judged, they can't affect one another, and they change nothing."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from blocks.errors import DatabaseUnreachable
from blocks.sql.server import Server
from tasks.engine.drill.query_checks import ask_queries
from tasks.engine.drill.query_file import Query, read_queries
from tasks.engine.repository.manifest import Check
from tests.conftest import MAJORS, NewDatabase
from tests.integration.objects import LIBRARY, asked

WRITERS = """
CREATE TABLE kept (a int);
CREATE SEQUENCE numbers_of_kept;
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO kept VALUES (1); RETURN 1; END $$;
CREATE FUNCTION does(what text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; RETURN 1; END $$;
"""


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    """A database of 20 authors and 300 books."""
    return new_database(16, LIBRARY + WRITERS)


def ask(database: Server, text: str, *, strict: bool = False, timeout_s: int = 60) -> tuple[list[Check], list[str]]:
    """Return the checks and the warnings of a query file."""
    warnings: list[str] = []
    queries = read_queries(text)
    checks = ask_queries(database, queries, timeout_s=timeout_s, strict=strict, warn=warnings.append)
    assert [c.name for c in checks] == [f"query: {q.name}" for q in queries]
    return checks, warnings


def results(checks: list[Check]) -> list[tuple[str, str]]:
    return [(c.result, c.evidence) for c in checks]


EXPECTED = [
    ("> 0", "SELECT count(*) FROM books", "300", "SELECT count(*) FROM books WHERE id < 0", "0"),
    (">= 20", "SELECT count(*) FROM authors", "20", "SELECT 19.99", "19.99"),
    ("< 1e3", "SELECT 999.9::float8", "999.9", "SELECT 1000", "1000"),
    ("<= -1", "SELECT -1::numeric", "-1", "SELECT NULL::int", "NULL"),
    ("= 0.1", "SELECT 0.10::numeric", "0.10", "SELECT 0.2::real", "0.2"),
    ("= 'author 1'", "SELECT name FROM authors WHERE id = 1", "author 1", "SELECT name FROM authors ORDER BY id DESC", "20 rows"),
    ("= UTF8", "SHOW server_encoding", "UTF8", "SELECT ''", ""),
    ("!= 5", "VALUES ('five')", "five", "VALUES (5)", "5"),
    ("<> none", "SELECT 'some'", "some", "SELECT 'none'", "none"),
    ("not empty", "TABLE books", "300 rows", "SELECT NULL FROM books", "300 rows"),
    ("not empty", "SELECT NULL UNION ALL SELECT 0", "2 rows", "SELECT 1 WHERE false", "0 rows"),
    ("empty", "SELECT * FROM books WHERE author NOT IN (SELECT id FROM authors)", "0 rows", "TABLE authors", "20 rows"),
    ("empty", "SELECT max(id) FROM books WHERE false", "NULL", "SELECT 1", "1"),
    ("true", "SELECT NOT EXISTS (SELECT FROM kept)", "true", "SELECT 1", "1"),
    ("false", "SELECT EXISTS (SELECT FROM kept)", "false", "SELECT NULL::bool", "NULL"),
    ("rows = 20", "SELECT NULL FROM authors", "20 rows", "SELECT 20", "1 row"),
    ("rows < 2", "SELECT 'x'", "1 row", "SELECT FROM authors", "20 rows"),
    ("= infinity", "SELECT 'infinity'::date", "infinity", "SELECT '4713-01-01 BC'::timestamp", "4713-01-01 00:00:00 BC"),
    ("= {1,2}", "SELECT ARRAY[1, 2]", "{1,2}", "SELECT '{\"a\":  1}'::json", '{"a": 1}'),
]  # fmt: skip


@pytest.mark.parametrize("major", MAJORS)
def test_each_expectation_met_and_not_met(major: int, new_database: NewDatabase) -> None:
    """On every version, the check of each kind of expectation shows what was expected and what was found."""
    database = new_database(major, LIBRARY + WRITERS)
    for number, result in ((1, "passed"), (3, "failed")):
        text = ";\n".join(f"-- expect: {case[0]}\n{case[number]}" for case in EXPECTED)
        checks, warnings = ask(database, text)
        assert results(checks) == [(result, f"expected {case[0]}, got {case[number + 1]}") for case in EXPECTED]
        assert warnings == []
        assert all(c.seconds >= 0 for c in checks)


def test_a_query_without_an_expectation_need_only_end(library: Server) -> None:
    """A query without an expectation passes if it runs; a short single value is shown, anything else only counted."""
    long, two = f"SELECT '{'x' * 41}'", "SELECT 1, 'secret'"
    checks, warnings = ask(library, f"SELECT 42; {long}; {two}; SELECT E'a\\nb'; EXPLAIN SELECT count(*) FROM books")
    assert [c.result for c in checks] == ["passed"] * 5
    assert [c.evidence.removeprefix("no expectation, got ") for c in checks] == [
        "42",
        "1 row",
        "1 row",
        "a b",
        "2 rows",
    ]
    assert warnings == []


BROKEN = [
    ("SELECT a FROM not_here", 'relation "not_here" does not exist'),
    ("SELECT 1 / (SELECT count(*) FROM kept)", "division by zero"),
    ("SELECT 1 +", "syntax error at end of input"),
    ("SELECT $1", 'bind message supplies 0 parameters, but prepared statement "" requires 1'),
    ("SELECT writes()", "cannot execute INSERT in a read-only transaction"),
    ("SELECT nextval('numbers_of_kept')", "cannot execute nextval() in a read-only transaction"),
    ("SELECT 1 FROM authors FOR SHARE", "cannot execute SELECT FOR SHARE in a read-only transaction"),
    ("SELECT does('CREATE TEMP TABLE t (a int)')", "cannot execute CREATE TABLE in a read-only transaction"),
    (
        "SELECT does('CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS ''SELECT 1''')",
        "cannot execute CREATE FUNCTION in a read-only transaction",
    ),
    (
        "SELECT set_config('transaction_read_only', 'off', false)",
        "transaction read-write mode must be set before any query",
    ),
    ("SELECT does('SET TRANSACTION READ WRITE')", "transaction read-write mode must be set before any query"),
    ("SELECT does('COMMIT')", "EXECUTE of transaction commands is not implemented"),
    ("SELECT pg_sleep(30)", "canceling statement due to statement timeout"),
    ("SELECT i, 1 / (5000 - i) FROM generate_series(1, 5000) i", "division by zero"),
]


@pytest.mark.parametrize("strict", [False, True])
def test_a_query_that_fails_is_warned_of_and_the_others_go_on(strict: bool, library: Server) -> None:
    """Errors, timeouts and attempted writes: the server's message, a warning, and a failure only when strict."""
    good = "-- expect: = 300\nSELECT count(*) FROM books"
    text = f"{good};\n" + "".join(f"{query};\n{good};\n" for query, _ in BROKEN)
    checks, warnings = ask(library, text, strict=strict, timeout_s=1)
    assert set(results(checks[::2])) == {("passed", "expected = 300, got 300")}
    assert results(checks[1::2]) == [("failed" if strict else "warning", said) for _, said in BROKEN]
    assert warnings == [f"Query failed: {query}" for query, _ in BROKEN]
    assert asked(library, "SELECT (SELECT count(*) FROM kept), is_called FROM numbers_of_kept") == [(0, False)]


def test_a_long_query_is_cut_in_its_warning(library: Server) -> None:
    """A warning quotes a query on one line of at most 200 characters, without its comments."""
    _, (warning,) = ask(library, "SELECT nothing, -- that\n" + ",\n".join(str(n) for n in range(200)))
    assert warning.startswith("Query failed: SELECT nothing, 0, 1, 2, ")
    assert len(warning) == len("Query failed: ") + 200


def test_a_setting_does_not_outlive_its_query(library: Server) -> None:
    """Session settings made by a query are undone, so the next one has the same limits."""
    text = """
    SELECT set_config('default_transaction_read_only', 'off', false);
    SELECT set_config('statement_timeout', '0', false);
    SELECT set_config('search_path', 'nowhere', false);
    SELECT set_config('role', 'pg_monitor', false);
    SELECT does('SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE');
    -- expect: = on
    SHOW transaction_read_only;
    -- expect: = 7s
    SHOW statement_timeout;
    -- expect: = '"$user", public'
    SHOW search_path;
    -- expect: true
    SELECT current_user = session_user;
    SELECT writes();
    """
    checks, warnings = ask(library, text, timeout_s=7)
    assert [c.result for c in checks] == ["passed"] * 9 + ["warning"]
    assert warnings == ["Query failed: SELECT writes()"]
    assert asked(library, "SELECT count(*) FROM kept") == [(0,)]


def test_what_the_server_lets_a_reader_do_does_not_last(new_database: NewDatabase) -> None:
    """Before version 16 a read-only transaction can create large objects: they are rolled back."""
    database = new_database(15)
    checks, _ = ask(database, "SELECT lo_from_bytea(4711, 'x') = 4711")
    assert [c.evidence for c in checks] == ["no expectation, got true"]
    assert asked(database, "SELECT count(*) FROM pg_largeobject_metadata") == [(0,)]


def test_a_smuggled_statement_is_refused_by_the_server(library: Server) -> None:
    """If two statements ever passed for one query, neither would be executed."""
    smuggled = "SELECT 1; COMMIT; INSERT INTO kept VALUES (1)"
    queries = [Query("two", smuggled), Query("one", "SELECT 1")]
    checks = ask_queries(library, queries, timeout_s=60, strict=False, warn=lambda _: None)
    assert results(checks) == [
        ("warning", "cannot insert multiple commands into a prepared statement"),
        ("passed", "no expectation, got 1"),
    ]
    assert asked(library, "SELECT count(*) FROM kept") == [(0,)]


def test_two_million_rows(library: Server) -> None:
    """However many rows a query returns, they are counted and not kept in memory."""
    query = "-- expect: rows = 2000000\nSELECT n, repeat('x', 100) FROM generate_series(1, 2000000) n"
    checks, _ = ask(library, f"{query};\n-- expect: > 1999999\nSELECT count(*) FROM generate_series(1, 2000000)")
    assert results(checks) == [
        ("passed", "expected rows = 2000000, got 2000000 rows"),
        ("passed", "expected > 1999999, got 2000000"),
    ]


def test_names_need_no_schema(new_database: NewDatabase) -> None:
    """Unqualified and quoted names resolve as in any session."""
    database = new_database(16, 'CREATE TABLE "a;b" ("update" int); INSERT INTO "a;b" VALUES (7)')
    checks, _ = ask(database, '-- expect: = 7\nSELECT "update" FROM "a;b"; -- the end')
    assert results(checks) == [("passed", "expected = 7, got 7")]


@pytest.mark.parametrize("strict", [False, True])
def test_a_lost_connection_is_no_answer(strict: bool, library: Server) -> None:
    """When the server is gone, queries get no result: the connection's error is raised."""
    warnings: list[str] = []
    queries = read_queries("SELECT 1; SELECT pg_terminate_backend(pg_backend_pid()); SELECT 2")
    with pytest.raises(DatabaseUnreachable):
        ask_queries(library, queries, timeout_s=60, strict=strict, warn=warnings.append)
    assert warnings == []


def test_an_error_that_looks_like_a_lost_connection(library: Server) -> None:
    """A function can raise any error code; while the connection is alive, it is an error of the query."""
    raising = "$$ DO $body$ BEGIN RAISE 'gone' USING ERRCODE = '57P01'; END $body$ $$"
    checks, _ = ask(library, f"SELECT does({raising}); SELECT 1")
    assert results(checks) == [("warning", "gone"), ("passed", "no expectation, got 1")]


def test_without_queries_nobody_is_asked() -> None:
    """Without queries, no connection is opened."""
    nowhere = Server(SecretStr("postgresql://u@127.0.0.1:1/d"))
    assert ask_queries(nowhere, [], timeout_s=1, strict=True, warn=lambda _: None) == []
    with pytest.raises(DatabaseUnreachable):
        ask_queries(nowhere, [Query("q", "SELECT 1")], timeout_s=1, strict=False, warn=lambda _: None)
