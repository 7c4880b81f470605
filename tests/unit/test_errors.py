"""Every error reaches a user as one sentence, a hint where there is one, and an exit status."""

from __future__ import annotations

import pickle
import re

import pytest

from blocks import errors
from blocks.errors import ConfigurationError, PgRoundtripError, Problem, RestoreFailed, code_in, family

ERRORS = [cls for cls in family() if cls is not ConfigurationError]
# The sentences that the specification promises, and the class that uses each.
PROMISED = {
    "Cannot connect to database": {"DatabaseUnreachable", "DatabaseRefused"},
    "Access Denied": {"StorageDenied"},
    "No space left on device": {"NoSpaceLeft"},
    "pg_dump failed": {"DumpFailed", "ClientMissing"},
    "Backup file is empty or does not exist": {"EmptyBackup", "ObjectMissing"},
    "Connection timed out": {"DatabaseTimeout", "StorageTimeout"},
    "No backups found in S3": {"NoBackups"},
    "permission denied to create database": {"CreateDatabaseDenied"},
    "Restore failed": {"RestoreError", "RestoreFailed", "StatementRefused", "BackupDamaged"},
}
TRANSIENT = {
    "DatabaseUnreachable",
    "DatabaseTimeout",
    "FolderFailed",
    "NameTaken",
    "StorageUnreachable",
    "StorageTimeout",
}


@pytest.mark.parametrize("cls", ERRORS)
def test_an_error_prints_itself(cls: type[PgRoundtripError]) -> None:
    """`ERROR: sentence [context] (code)`, then a hint where the class has one: each on one line."""
    error = cls("here\n  and   there")
    first = f"ERROR: {cls.message} [here and there] ({cls.code})"
    assert error.lines() == [first] + ([f"HINT: {cls.hint}"] if cls.hint else [])
    assert cls().lines()[0] == f"ERROR: {cls.message} ({cls.code})"
    assert str(error) == error.sentence == f"{cls.message} [here and there]"
    assert all("\n" not in line for line in error.lines())
    assert isinstance(error, PgRoundtripError)


@pytest.mark.parametrize("cls", ERRORS)
def test_whether_it_heals_by_itself(cls: type[PgRoundtripError]) -> None:
    """Only what a retry can fix is transient; everything but a configuration error exits with status 1."""
    assert cls().transient is (cls.__name__ in TRANSIENT)
    assert cls().exit_status == 1


# What to do depends on what happened: the code that raises these supplies the hint.
SAID_WHERE_RAISED = {
    "TemporaryFileFailed",
    "ClientMissing",
    "ServerProgramsMissing",
    "SandboxFailed",
    "NoFreeName",
    "NotCompared",
}


@pytest.mark.parametrize("cls", [c for c in ERRORS if not c.__subclasses__() and c.__name__ not in SAID_WHERE_RAISED])
def test_every_error_that_is_raised_says_what_to_do(cls: type[PgRoundtripError]) -> None:
    """Users always learn what to do about an error."""
    assert cls().lines()[1].startswith("HINT: ")


@pytest.mark.parametrize(("sentence", "classes"), PROMISED.items())
def test_the_promised_sentences(sentence: str, classes: set[str]) -> None:
    """The specified sentences are used, each by the classes meant for it."""
    assert {cls.__name__ for cls in ERRORS if cls.message == sentence} == classes


def test_codes_are_stable_names() -> None:
    """A code identifies one class, whatever its sentence; each class has its own label or its parent's."""
    of_operations = {errors.UPLOAD.code, errors.DOWNLOAD.code, errors.REQUEST.code}
    codes = [cls.code for cls in family() if cls.code not in of_operations]
    assert len(codes) == len(set(codes))
    assert {cls for cls in family() if cls.code in of_operations} == {
        errors.StorageError, errors.StorageUnreachable, errors.NameTaken,
    }  # fmt: skip
    assert all(re.fullmatch(r"PGR(-[A-Z0-9]+)+", code) for code in codes)
    assert all(re.fullmatch(r"[a-z0-9_]+", cls.cause) for cls in family())


def test_a_code_is_read_back() -> None:
    """The last code in a line is the error's own: text from outside may contain another."""
    assert code_in(str(errors.NoBackups("x").lines()[0])) == "PGR-NO-BACKUPS"
    assert code_in(errors.StorageDenied("(PGR-NO-BACKUPS)").lines()[0]) == "PGR-S3-DENIED"
    assert code_in("nothing of ours") == ""


def test_what_an_instance_may_say_for_itself() -> None:
    """Message, hint and transience can be set where an error is raised."""
    error = errors.StorageError("key", during=errors.UPLOAD, hint="do this", transient=True)
    assert error.lines() == ["ERROR: S3 upload failed [key] (PGR-S3-UPLOAD)", "HINT: do this"]
    assert error.transient
    assert not errors.StorageError.transient
    assert errors.DatabaseTimeout(hint="").lines() == ["ERROR: Connection timed out (PGR-DB-TIMEOUT)"]


def test_restore_failed_carries_the_servers_code() -> None:
    """The code tells a bad backup from a server that couldn't try."""
    error = RestoreFailed('relation "x" does not exist', sqlstate="42P01")
    assert (error.sqlstate, RestoreFailed().sqlstate) == ("42P01", "")
    assert error.lines()[0] == 'ERROR: Restore failed [relation "x" does not exist] (PGR-RESTORE-FAILED)'


def test_a_configuration_error_lists_every_fault() -> None:
    """A configuration error lists all problems, each with its hint where it has one, and exits with 2."""
    error = ConfigurationError([Problem("first", "mend it"), Problem("second")])
    assert error.lines() == ["ERROR: first (PGR-CONFIG)", "HINT: mend it", "ERROR: second (PGR-CONFIG)"]
    assert str(error) == "first; second"
    assert (error.exit_status, error.transient) == (2, False)


@pytest.mark.parametrize("cls", ERRORS)
def test_an_error_survives_pickling(cls: type[PgRoundtripError]) -> None:
    """A run's error can be stored and read again by another process."""
    again = pickle.loads(pickle.dumps(cls("somewhere", hint="do this")))  # noqa: S301  (our own bytes)
    assert (type(again), again.lines()[-1]) == (cls, "HINT: do this")
