"""What a server refuses is blamed on the backup only where nothing else can be the cause."""

from __future__ import annotations

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
from blocks.sql.restore_session import Refusal
from tasks.engine.drill.verdict import blame, judge
from tasks.engine.repository.checks import failed, not_possible, passed, warned
from tasks.engine.restore.refusals import error_of


def test_a_verdict_is_the_worst_of_its_checks() -> None:
    """Skipped checks and warnings don't fail a backup."""
    assert judge([passed("a", ""), warned("b", ""), not_possible("c", "")]) == "PROVEN"
    assert judge([passed("a", ""), failed("b", "")]) == "FAILED"


@pytest.mark.parametrize(
    "error",
    [ClientMissing(), CreateDatabaseDenied(), DatabaseUnreachable(), DrillTimedOut(), NoSpaceLeft(), RestoreError(), StorageDenied(),
     RestoreFailed("it ended early")],
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


@pytest.mark.parametrize(
    ("code", "kind"),
    [("42601", RestoreFailed), ("P0001", RestoreFailed), ("53100", NoSpaceLeft), ("57P01", DatabaseUnreachable), ("08006", DatabaseUnreachable)],
)  # fmt: skip
def test_what_a_server_said(code: str, kind: type[PgRoundtripError]) -> None:
    """A server that goes away and a full disk are distinguished from a refusal."""
    error = error_of(Refusal(code, "said so"))
    assert isinstance(error, kind)
    assert "said so" in error.sentence
