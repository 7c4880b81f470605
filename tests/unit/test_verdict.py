"""What a server refuses is blamed on the backup only where nothing else can be the cause."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from blocks.errors import (
    BackupDamaged,
    ClientMissing,
    CreateDatabaseDenied,
    DatabaseUnreachable,
    DrillTimedOut,
    EmptyBackup,
    NoSpaceLeft,
    PgRoundtripError,
    RestoreError,
    RestoreFailed,
    StorageDenied,
)
from tasks.engine.drill.verdict import blame, judge
from tasks.engine.repository.checks import failed, not_possible, passed, warned
from tasks.engine.restore.psql_errors import error_of


def test_a_verdict_is_the_worst_of_its_checks() -> None:
    """Skipped checks and warnings don't fail a backup."""
    assert judge([passed("a", ""), warned("b", ""), not_possible("c", "")]) == "PROVEN"
    assert judge([passed("a", ""), failed("b", "")]) == "FAILED"


@pytest.mark.parametrize(
    "error",
    [ClientMissing(), CreateDatabaseDenied(), DatabaseUnreachable(), DrillTimedOut(), NoSpaceLeft(), RestoreError(), StorageDenied(),
     RestoreFailed("psql exited early")],
)  # fmt: skip
def test_what_is_no_fault_of_the_backup(error: PgRoundtripError) -> None:
    """Whatever prevented a drill, and what can't be explained, is INCONCLUSIVE."""
    assert blame(error) == "INCONCLUSIVE"


def test_what_is_a_fault_of_the_backup() -> None:
    """The backup is damaged, or there is none."""
    assert blame(BackupDamaged()) == blame(EmptyBackup()) == "FAILED"


@pytest.mark.parametrize(
    ("code", "text", "verdict"),
    [
        ("42601", 'syntax error at or near "x"', "FAILED"),
        ("22P02", 'invalid input syntax for type integer: "x"', "FAILED"),
        ("23505", 'could not create unique index "i"', "FAILED"),
        ("42P07", 'relation "t" already exists', "FAILED"),
        ("42704", 'type "t" does not exist', "FAILED"),
        ("42883", "function f() does not exist", "FAILED"),
        ("55000", 'materialized view "m" has not been populated', "FAILED"),
        ("P0001", "raised in a trigger", "FAILED"),
        ("42704", 'role "r" does not exist', "INCONCLUSIVE"),
        ("42704", 'collation "pg_catalog.de-x-icu" for encoding "UTF8" does not exist', "INCONCLUSIVE"),
        ("22023", 'could not create locale "de_DE": No such file or directory', "INCONCLUSIVE"),
        ("0A000", 'extension "x" is not available', "INCONCLUSIVE"),
        ("58P01", 'could not access file "$libdir/x": No such file or directory', "INCONCLUSIVE"),
        ("42501", "permission denied for schema s", "INCONCLUSIVE"),
        ("25006", "cannot execute CREATE TABLE in a read-only transaction", "INCONCLUSIVE"),
        ("53200", "out of memory", "INCONCLUSIVE"),
        ("54000", "index row size 2712 exceeds btree version 4 maximum 2704", "INCONCLUSIVE"),
        ("40P01", "deadlock detected", "INCONCLUSIVE"),
        ("55P03", "canceling statement due to lock timeout", "INCONCLUSIVE"),
        ("57014", "canceling statement due to user request", "INCONCLUSIVE"),
        ("XX000", "cache lookup failed for relation 5", "INCONCLUSIVE"),
    ],
)
def test_what_a_server_refused(code: str, text: str, verdict: str) -> None:
    """A server's code tells whether the statement or the server is to blame."""
    assert blame(RestoreFailed(text, sqlstate=code)) == verdict


def said(*lines: str, timed_out: bool = False) -> Any:
    """Return the error of a psql that exited with this output."""
    return error_of(SimpleNamespace(timed_out=timed_out, stderr_lines=lambda: list(lines)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["psql:<stdin>:7: ERROR:  42601: syntax error"], "42601"),
        (["psql:<stdin>:7: FEHLER:  42601: Syntaxfehler"], "42601"),
        (["psql:<stdin>:7: ERROR:  P0001: raised"], "P0001"),
        (["psql:<stdin>:2: WARNING:  25001: there is already a transaction", "LOCATION:  x",
          "psql:<stdin>:7: ERROR:  0A000: not available", "HINT:  y"], "0A000"),
        (["psql:<stdin>:7: ERROR:  23514: violated", "DETAIL:  Failing row contains (psql: ERROR:  08006: gone)."], "23514"),
        (["psql:<stdin>:7: ERROR:  22P02: invalid", "CONTEXT:  COPY t, line 1: 57P01: x"], "22P02"),
    ],
)  # fmt: skip
def test_the_code_that_psql_stopped_at(lines: list[str], code: str) -> None:
    """The last error's code is used: warnings precede it, and rows may be quoted after it."""
    error = said(*lines)
    assert isinstance(error, RestoreFailed)
    assert error.sqlstate == code
    assert code not in error.context


def test_what_ended_psql_otherwise() -> None:
    """A server that went away, a full disk and a timeout are distinguished from a refusal."""
    lost = "psql:<stdin>:9: error: connection to server was lost"
    warning = "psql:<stdin>:2: WARNING:  55000: wal_level is insufficient to publish logical changes"
    assert isinstance(said(warning, lost), DatabaseUnreachable)
    assert isinstance(said("psql:<stdin>:2: FATAL:  57P01: terminating connection", lost), DatabaseUnreachable)
    assert isinstance(said("psql:<stdin>:2: ERROR:  53100: could not extend file"), NoSpaceLeft)
    assert isinstance(
        said('psql: error: connection to server failed: FATAL:  database "x" does not exist'), DatabaseUnreachable
    )
    assert isinstance(said(timed_out=True), DrillTimedOut)
    assert said().context == "psql exited early"
