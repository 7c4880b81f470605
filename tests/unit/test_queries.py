"""A query file means what its author wrote, or it is refused with a reason; nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import ConfigurationError, Problem
from tasks.engine.drill.query_checks import Answer, meets
from tasks.engine.drill.query_file import Expectation, Query, load_queries, read_expectation, read_queries
from tasks.engine.repository import checks as checklist

PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)
PIECES = st.sampled_from(
    ["'", '"', "$$", "$a$", "--", "/*", "*/", ";", "\n", "\\", "E'", "SELECT", "1", " ", "-- expect: > 0\n", "(", ")",
     "-- name: x\n", "-- expect: ?\n", "INSERT", ".", "rows", "\r", "\0", "\ufeff", "ä", "begin", "#"]
)  # fmt: skip


def one(text: str) -> Query:
    (query,) = read_queries(text)
    return query


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        read_queries(text)
    assert all(fault.hint for fault in raised.value.problems)
    return [fault.message for fault in raised.value.problems]


def answer(*first: object, rows: int = 1) -> Answer:
    return Answer(rows, first, any(value is not None for value in first))


NOTHING = Answer(0, None, filled=False)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any file yields unique names and statements without a trailing semicolon, or ConfigurationError."""
    queries: list[Query] = []
    found: tuple[Problem, ...] = ()
    try:
        queries = read_queries(text)
    except ConfigurationError as error:
        found = error.problems
    assert all(0 < len(fault.message) < 200 for fault in found)
    assert len({q.name for q in queries}) == len(queries)
    for query in queries:
        assert query.name
        assert (
            query.text.lstrip("( \t\r\n\f\v")
            .upper()
            .startswith(("SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN"))
        )
        assert [q.text for q in read_queries(query.text)] == [query.text]


HARMLESS = {
    "string": "SELECT 'a;b''c;--/*$$'",
    "string that ends with a backslash": r"SELECT 'a\', ';'",
    "escape string": r"SELECT E'a\';\\', e'\\\''",
    "quoted identifier": 'SELECT 1 AS "a;""b;--"',
    "dollar quote": "SELECT $$;'\"--/*$$",
    "dollar quote with a tag": "SELECT $body$ ; $$ ; $bod$ ; $body$",
    "column called begin": "SELECT begin, go FROM ranges",
    "case": "SELECT CASE WHEN true THEN 1 END",
    "operator that other dialects begin comments with": "SELECT 5 # 3, '{}'::jsonb #> '{a}', a[1:2] FROM t",
    "backtick": "SELECT 1 OPERATOR(s.`) 2, ';'",
    "writing words in strings": "SELECT 'DELETE', \"update\", $$DROP$$, E'\\'INSERT', has_table_privilege('t', 'INSERT')",
    "writing words as functions and columns": "SELECT replace('a', 'b', 'c'), truncate (2), t.update, updated_at, inserts FROM t",
    "parentheses first": "(SELECT 1) UNION (SELECT 2)",
    "values": "VALUES(1), (2)",
    "table": "table books",
    "show": "Show server_version",
    "with": "WITH x (a) AS (SELECT 1) SELECT a FROM x",
    "explain": "EXPLAIN (ANALYZE, COSTS OFF) SELECT 1",
    "newline inside": "SELECT 1\n\n  , 2",
}  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_semicolon_inside_of_something_ends_nothing(text: str) -> None:
    """What PostgreSQL takes for one statement is one query, and is kept unchanged."""
    found = read_queries(f"{text};\n;; {text} ; SELECT 2")
    assert [q.text for q in found] == [text, text, "SELECT 2"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=4))
def test_strings_never_split(values: list[str]) -> None:
    """Quoted text never splits a query: not by semicolons, quotes, comment marks or words that write."""
    text = "SELECT " + ", ".join("'{}'".format(v.replace("'", "''")) for v in values)
    names = " , ".join('"{}"'.format(v.replace('"', '""')) for v in values)
    assert [q.text for q in read_queries(f"{text};SELECT {names}; SELECT 2;")] == [text, f"SELECT {names}", "SELECT 2"]


def test_comments_inside_are_left_out() -> None:
    """Line and block comments that aren't expectations change neither the query nor what is expected."""
    text = "SELECT 1 -- expected: > 5; it's \"\n + /* DELETE; ' */ 2 -- $$\n; /* ; */ SELECT 3 -- name: no"
    assert [(q.text.split(), q.expectation) for q in read_queries(text)] == [
        (["SELECT", "1", "+", "2"], None),
        (["SELECT", "3"], None),
    ]


def test_a_query_has_its_name_and_expectation() -> None:
    """A query's name and expectation are the comments before it, in any case and spacing, mixed with others."""
    text = (
        "\ufeff/* a file */\n  --NAME :  books   have authors \n-- about: nothing\r\n---Expect:>=  3\n-- end\nSELECT 1;"
    )
    query = one(text)
    assert query == Query("books have authors", "SELECT 1", Expectation(">=  3", "value", ">=", Decimal(3)))


@given(
    PRINTABLE,
    st.sampled_from([">", ">=", "<", "<=", "=", "!=", "<>"]),
    st.decimals(allow_nan=False, allow_infinity=False),
)
def test_names_and_numbers_come_back(name: str, sign: str, number: Decimal) -> None:
    """Name, comparison and number are read as written."""
    query = one(f"-- name: {name}\n-- expect: {sign} {number}\nSELECT 1")
    assert query.name == (f"{name} (2)" if f"query: {name}" in checklist.ALL else name)
    assert query.expectation == Expectation(f"{sign} {number}", "value", sign, number)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n")))
def test_quoted_text_comes_back(text: str) -> None:
    """Quoted text is compared literally, whatever it looks like."""
    quoted = text.replace("'", "''")
    expectation = one(f"-- expect: = '{quoted}'\nSELECT 1").expectation
    assert expectation is not None
    assert expectation.operand == text
    assert meets(expectation, answer(text))
    assert not meets(expectation, answer(text + "x"))


def test_a_query_without_a_name_is_called_by_its_text() -> None:
    """An unnamed query is named by its text, on one line, shortened and without comments."""
    assert one("SELECT  1,\n\t2 -- two\n").name == "SELECT 1, 2"
    long = one("SELECT " + ", ".join(map(str, range(100)))).name
    assert (len(long), long[:16], long[-1]) == (60, "SELECT 0, 1, 2, ", "…")
    assert one("-- name:\nSELECT 1").name == "SELECT 1"


def test_names_stay_distinct() -> None:
    """A number distinguishes queries of one name from each other and from the checks that every drill makes."""
    names = ["x", "x (2)", "x", "x", "table count"]
    found = read_queries("".join(f"-- name: {n}\nSELECT 1;\n" for n in names))
    assert [q.name for q in found] == ["x", "x (2)", "x (3)", "x (4)", "table count (2)"]
    assert not {f"query: {q.name}" for q in found} & set(checklist.ALL)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("INSERT INTO t VALUES (1)", "it begins with INSERT"),
        ("create table t (a int)", "it begins with CREATE"),
        ("BEGIN", "it begins with BEGIN"),
        ("SET search_path = x", "it begins with SET"),
        ("DO $$ BEGIN DELETE FROM t; END $$", "it begins with DO"),
        ("CALL p()", "it begins with CALL"),
        ("COPY t TO PROGRAM 'x'", "it begins with COPY"),
        ("VACUUM", "it begins with VACUUM"),
        ("(", "it begins with ("),
        ("'SELECT'", "it begins with 'SELECT'"),
        ("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "it begins with CREATE"),
        ("WITH gone AS (DELETE FROM t RETURNING 1) SELECT 1", "it says DELETE"),
        ("with a as (update t set a = 1 returning a) table a", "it says UPDATE"),
        ("WITH a AS (MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING RETURNING 1) SELECT 1", "it says MERGE"),
        ("SELECT * INTO copy_of_t FROM t", "it says INTO"),
        ("SELECT * FROM t FOR/**/UPDATE", "it says UPDATE"),
        ("SELECT 1 FROM t FOR NO KEY UPDATE", "it says UPDATE"),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "it says INSERT"),
        ("EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "it says CREATE"),
        ("EXPLAIN ANALYZE EXECUTE p", "it says EXECUTE"),
        ("\\timing", "a backslash begins a psql command"),
        ("SELECT 1 \\gexec", "a backslash begins a psql command"),
        ("SELECT 'open", "a quote or comment in it is not closed"),
        ('SELECT "open', "a quote or comment in it is not closed"),
        (r"SELECT E'open\'", "a quote or comment in it is not closed"),
        ("SELECT $a$ open $$ $b$", "a quote or comment in it is not closed"),
        ("SELECT 1 /* open", "a quote or comment in it is not closed"),
        ("SELECT 1 /* a /* b */ + 2 */", "a quote or comment in it is not closed, or a comment contains another one"),
    ],
)
def test_what_writes_or_cannot_be_read_is_refused(text: str, reason: str) -> None:
    """A query that writes or can't be read is refused before it runs, with the reason and its name."""
    (message,) = faults(f"-- name: the query\n{text}")
    assert message.startswith(f"A query is refused: {reason}")
    assert message.endswith("[the query]")


@pytest.mark.parametrize(
    "text", ["SELECT 1\n-- expect: > 0", "SELECT 1 -- expect: > 0\n;", "SELECT 1\n-- expect: > 0\nSELECT 2;"]
)
def test_an_expectation_that_a_missing_semicolon_swallows_is_told(text: str) -> None:
    """An expectation after its query is an error: taken for a plain comment, it would be ignored by a PROVEN drill."""
    assert "A name or an expectation comes after a query [expect: > 0]" in faults(text)


def test_every_fault_is_said_at_once() -> None:
    """All problems are reported together, for one round of fixes, and nothing is quoted at length."""
    found = faults(
        "-- name: first\n-- expect: many\nSELECT 1; -- expect: > 1\nSELECT 2;\n-- expect: > 0\n-- expect: < 5\nSELECT 3;"
        f"DROP TABLE {'x' * 500};\n-- expect: = 1"
    )
    assert found == [
        "An expectation cannot be read [first: many]",
        "A name or an expectation comes after a query [expect: > 1]",
        "A query has 2 expectations [SELECT 3]",
        f"A query is refused: it begins with DROP [DROP TABLE {'x' * 48}…]",
        "No query comes after an expectation [= 1]",
    ]


@pytest.mark.parametrize(
    "text",
    ["", "many", "0", "> many", "> '5'", "rows", "rows 5", "rows = x", "rows > '5'", ">", "=", "== 5", "=> 5", "= 'open",
     "= 'a' or 'b'", '= "a"', "= NULL", "!= null", "> 5;", "is true", "> 1_000", "> nan", "~ x", "not true", "> 1 2"],
)  # fmt: skip
def test_an_expectation_that_cannot_be_read(text: str) -> None:
    """A typo must not become an expectation that always or never holds."""
    with pytest.raises(ValueError, match=r"^not an? "):
        read_expectation(text)
    assert faults(f"-- expect: {text}\nSELECT 1") == [f"An expectation cannot be read [SELECT 1: {text}]"]


NOON = datetime(2024, 2, 7, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expectation", "met", "not_met"),
    [
        ("> 0", [1, Decimal("0.1"), 0.5, "300", " 7 ", "1e3"], [0, -1, "0", "x", "", None, True, NOON, "1_0", "nan"]),
        (">= 2", [2, 2.0, "2.000", Decimal(3)], [1, "1.9999", None, "inf"]),
        ("<0.1", [0, "0.09", 0.09, -1], [0.1, "0.1", Decimal("0.1"), None]),
        ("<= -5", [-5, "-5.0", "-1e2"], [-4, None, "five"]),
        ("= 300", [300, 300.0, "300", "3e2", Decimal("300.00")], [301, "x", None, True]),
        ("= 0.1", [0.1, "0.1", Decimal("0.10")], [0.1000001, 1]),
        ("!= 5", [4, "x", "5.1", True], [5, "5.0", None]),
        ("<> 5", [4], [5, None]),
        ("= active", ["active"], ["Active", " active", 1, None, "actives"]),
        ("= two  words", ["two  words"], ["two words"]),
        ("= 'it''s; '", ["it's; "], ["it's;", None]),
        ("= '300'", [300, "300"], ["300.0", 300.0, None]),
        ("= ''", [""], [" ", None]),
        ("!= 'x'", ["y", 5, ""], ["x", None]),
        ("= 2024-02-07 12:00:00+00:00", [NOON, "2024-02-07 12:00:00+00:00"], ["2024-02-07", None]),
        ("= true", [True, "true"], [False, "t", None, 1]),
        ("true", [True, "true", "t", "TRUE"], [False, "false", 1, None, "yes"]),
        ("FALSE", [False, "f"], [True, 0, None, ""]),
        ("not empty", [1, 0, "", False], [None]),
        ("Not\tEmpty", [1], [None]),
        ("empty", [None], [1, 0, "", False]),
        ("rows = 1", [1, None, "x"], []),
        ("rows>1", [], [5, None]),
    ],
)
def test_what_meets_an_expectation(expectation: str, met: list[object], not_met: list[object]) -> None:
    """The first column of the first row decides; its type doesn't matter, its value does."""
    read = read_expectation(expectation)
    assert [value for value in met if not meets(read, Answer(1, (value, None), filled=value is not None))] == []
    assert [value for value in not_met if meets(read, Answer(1, (value,), filled=value is not None))] == []


def test_answers_without_a_first_value() -> None:
    """Expectations handle no rows, rows without columns, and a value that comes after NULLs."""
    kinds = ["> 0", "= x", "!= x", "true", "false", "not empty", "rows > 0"]
    for found in (NOTHING, Answer(0, None, filled=False)):
        assert [k for k in kinds if meets(read_expectation(k), found)] == []
        assert meets(read_expectation("empty"), found)
        assert meets(read_expectation("rows = 0"), found)
    no_columns = Answer(3, (), filled=False)
    assert [k for k in kinds if meets(read_expectation(k), no_columns)] == ["rows > 0"]
    later = Answer(3, (None,), filled=True)
    assert [k for k in kinds if meets(read_expectation(k), later)] == ["not empty", "rows > 0"]


@given(
    st.sampled_from([">", ">=", "<", "<=", "=", "!="]),
    st.integers(-3, 3),
    st.one_of(st.integers(-3, 3), st.floats(), st.text(), st.none(), st.booleans(), st.datetimes(), st.decimals()),
)
def test_any_value_can_be_compared(sign: str, number: int, value: object) -> None:
    """Any server value can be compared; an ordering holds in one direction only."""
    found = {s: meets(read_expectation(f"{s} {number}"), answer(value)) for s in (">", ">=", "<", "<=", "=", "!=")}
    assert found[">="] == (found[">"] or found["="])
    assert found["<="] == (found["<"] or found["="])
    assert found[">"] + found["<"] + found["="] <= 1
    assert found["!="] == (value is not None and not found["="])


def test_a_file_is_read(tmp_path: Path) -> None:
    """The named file is read, else test-queries.sql if it exists, else none."""
    assert load_queries(None, tmp_path) == []
    (tmp_path / "test-queries.sql").write_bytes(b"\xef\xbb\xbfSELECT 1;\r\n")
    (tmp_path / "other.sql").write_text("-- expect: empty\nSELECT 'ä'", encoding="utf-8")
    assert load_queries(None, tmp_path) == [Query("SELECT 1", "SELECT 1")]
    assert [q.name for q in load_queries("other.sql", tmp_path)] == ["SELECT 'ä'"]
    assert load_queries(str(tmp_path / "other.sql")) == load_queries("other.sql", tmp_path)


def test_the_working_directory_is_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder, the file is looked up in the command's working directory."""
    monkeypatch.chdir(tmp_path)
    assert load_queries(None) == []
    (tmp_path / "test-queries.sql").write_text("TABLE t")
    assert load_queries(None) == [Query("TABLE t", "TABLE t")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"SELECT '\xe4'", "it is not UTF-8"), (b" " * (1024 * 1024 + 1), "it is larger than 1 MiB")],
)  # fmt: skip
def test_a_file_that_cannot_be_read(content: bytes | None, reason: str, tmp_path: Path) -> None:
    """The error names the variable, the file and the reason, with what to do."""
    if content is not None:
        (tmp_path / "q.sql").write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        load_queries("q.sql", tmp_path)
    (fault,) = raised.value.problems
    assert fault.message == f"The file of VERIFY_QUERIES_FILE cannot be used [{tmp_path / 'q.sql'}: {reason}]"
    assert fault.hint
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_queries(str(tmp_path))


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    """A file of 1 MiB is not too large, and a UTF-16 file is reported as such."""
    (tmp_path / "test-queries.sql").write_bytes(b"SELECT 1".ljust(1024 * 1024))
    assert load_queries(None, tmp_path) == [Query("SELECT 1", "SELECT 1")]
    assert faults("S\0E\0L\0") == ["The queries contain a NUL character"]


def test_prose_that_begins_like_an_expectation_is_a_comment() -> None:
    """Inside a query only what parses as an expectation is taken for one."""
    (query,) = read_queries("SELECT id -- expect: one row per customer\nFROM t;")
    assert (query.text.split(), query.expectation) == (["SELECT", "id", "FROM", "t"], None)
