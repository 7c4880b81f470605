"""A refused restore names the function and the table, says what to do, and shows no row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import BackupDamaged, RestoreFailed
from blocks.sql.restore_session import Refusal
from tasks.engine.dump.warnings import bounded, warnings_in
from tasks.engine.restore.hints import hint_for, place_of
from tasks.engine.restore.refusals import error_of


def refused(code: str, *context: str) -> RestoreFailed:
    """Return the error made of a server's refusal."""
    error = error_of(Refusal(code, "nothing there", context))
    assert isinstance(error, RestoreFailed)
    return error


@pytest.mark.parametrize(
    ("code", "context", "function"),
    [
        ("42883", 'SQL function "slug" during inlining', "slug"),
        ("42P01", 'SQL function "slug" statement 1', "slug"),
        ("42704", "PL/pgSQL function public.slug(text) line 1 at RETURN", "public.slug(text)"),
        ("42703", 'PL/pgSQL function "my schema".slug(text) line 3 at IF', '"my schema".slug(text)'),
    ],
)
def test_a_function_that_relies_on_search_path(code: str, context: str, function: str) -> None:
    """The function is named in the sentence and in the hint, which names the cause."""
    error = refused(code, context, 'COPY article, line 1, column title: "a secret"')
    assert f"in function {function}; COPY article, line 1, column title" in error.sentence
    assert f"empty search_path; the function {function} needs" in error.hint
    assert "secret" not in error.sentence + error.hint


def test_rows_and_statements_stay_out() -> None:
    """Of a CONTEXT only the table, line and column are kept."""
    assert place_of(['COPY t, line 3, column v: "secret"']) == "COPY t, line 3, column v"
    assert place_of(['COPY t, line 3: "secret"', 'SQL statement "SELECT secret"', "secret"]) == "COPY t, line 3"


def test_a_place_decides_no_verdict() -> None:
    """A table's name is not mistaken for the server's message, which decides the verdict."""
    error = refused("22P02", 'COPY "tablespace x", line 1')
    assert error.context == "nothing there"


def test_not_every_refusal_is_a_damaged_backup() -> None:
    """Only damage means that a backup cannot be trusted."""
    hints = [refused(code).hint for code in ("23505", "42883", "42501", "58P01", "P0001")]
    assert len(set(hints)) == len(hints)
    assert BackupDamaged.hint not in hints


def test_pg_dumps_warnings() -> None:
    """Details and hints are kept with their warning; notices and a note about our own file are not warnings."""
    assert warnings_in([
        "pg_dump: warning: one", "pg_dump: detail: more", "NOTICE:  news", "HINT:  of the news", "WARNING:  two", "DETAIL:  why",
        'WARNING: password file "x" has group or world access', "something else",
    ]) == ("one (more)", "two (why)", "something else")  # fmt: skip


@given(st.lists(st.text(max_size=3000), max_size=120), st.integers(0, 1000))
def test_warnings_are_bounded(lines: list[str], unseen: int) -> None:
    """Warnings are bounded, however many a server sends, and of what kind."""
    found: Any = bounded(warnings_in(lines), unseen)
    assert len(found) <= 52
    assert all(text.isprintable() and len(text) <= 501 for text in found)
    assert not unseen or f"and {unseen:,} more" in found[-1]


def test_a_missing_role_is_no_matter_of_search_path() -> None:
    """Roles live outside the database, and the hint says so."""
    assert hint_for("42704", (), 'role "clerk" does not exist').startswith("create the role on the server first")
    assert hint_for("42704", (), 'role "16385" does not exist').startswith("that is the OID of a dropped role")
    assert "search_path" in hint_for("42704", (), 'type "earth" does not exist')
