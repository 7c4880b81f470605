"""An expression that a server prints differently before and after a restore counts as the same expression."""

from __future__ import annotations

import time

import pytest

from tasks.engine.dump.ruleutils import even_out


@pytest.mark.parametrize(("before", "after"), [
    ("CHECK ((((age >= 0) AND (age <= 150)) AND (age <> 13)))", "CHECK (((age >= 0) AND (age <= 150) AND (age <> 13)))"),
    ("WHERE ((((a = b) OR (a = c)) OR (a = (b + 1))))", "WHERE (((a = b) OR (a = c) OR (a = (b + 1))))"),
    ("((\"x)\" AND b) AND 'it''s ((a AND b) AND c)')", "(\"x)\" AND b AND 'it''s ((a AND b) AND c)')"),
    ("(x = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))", "(x = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text]))"),
    ("CREATE STATISTICS s ON (ARRAY[a::bigint]::integer[])[1], b FROM t;", "CREATE STATISTICS s ON (ARRAY[a::bigint::integer])[1], b FROM t;"),
    ("SELECT ('x'::text COLLATE \"C\")", "SELECT ('x'::text COLLATE \"C\") AS text"),
    ("SELECT CASE WHEN a THEN 'x'::text ELSE ( SELECT 'x'::text) END AS text", "SELECT CASE WHEN a THEN 'x'::text ELSE ( SELECT 'x'::text) END"),
])  # fmt: skip
def test_two_ways_of_one_expression(before: str, after: str) -> None:
    """Nested lists, casts of arrays, and names that a cast gives don't make expressions different."""
    assert even_out(before.encode()) == even_out(after.encode())


@pytest.mark.parametrize(("one", "other"), [
    ("((a OR b) AND c)", "(a OR (b AND c))"), ("((a AND b) OR c)", "(a AND b OR c)"), ("((a AND b) IS TRUE AND c)", "(a AND b IS TRUE AND c)"),
    ("('((a AND b) AND c)')", "('(a AND b AND c)')"), ("$$((a AND b) AND c)$$", "$$(a AND b AND c)$$"), ("(f((a AND b)) AND c)", "(f(a AND b) AND c AND d)"),
    ("CREATE STATISTICS s ON '(a)' FROM t;", "CREATE STATISTICS s ON 'a' FROM t;"),
])  # fmt: skip
def test_other_expressions_stay_others(one: str, other: str) -> None:
    """What means something else, or is quoted, is left unchanged."""
    assert even_out(one.encode()) != even_out(other.encode())


@pytest.mark.parametrize(
    "text",
    [
        b"(" * (1 << 20),
        b"((a AND b)" * 100_000 + b" AND ",
        b"$a$" * 300_000 + b"(( AND ",
        b"((a)AND(b))AND" * 70_000,
        b"CREATE INDEX i ON t (((ARRAY[1" + b",1" * 40_000 + b"])::" + b"a" * 2000 + b"[]));",
        b"((ARRAY[1])::int[])," * 50_000,
    ],
)
def test_hostile_text_takes_no_time(text: bytes) -> None:
    """A backup can hold anything; the limit is far above the time needed."""
    begun = time.process_time()
    assert len(even_out(text)) <= 4 * len(text)
    assert time.process_time() - begun < 60
