"""Every fault reaches a user as one sentence, a hint where there is one, and an exit status."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from blocks import errors
from blocks.errors import ConfigurationError, Fault, PgRoundtripError, RestoreFailed


def family(root: type[PgRoundtripError] = PgRoundtripError) -> Iterator[type[PgRoundtripError]]:
    """All error classes, as far as they are ours."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from family(child)


ERRORS = [cls for cls in family() if cls is not ConfigurationError]
# The sentences that the specification promises, and which class says each.
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
TRANSIENT = {"DatabaseUnreachable", "DatabaseTimeout", "StorageUnreachable", "StorageTimeout"}


@pytest.mark.parametrize("cls", ERRORS)
def test_an_error_prints_itself(cls: type[PgRoundtripError]) -> None:
    """`ERROR: sentence [context]`, then a hint where the class has one: each on one line."""
    error = cls("here\n  and   there")
    assert error.lines() == [f"ERROR: {cls.message} [here and there]"] + ([f"HINT: {cls.hint}"] if cls.hint else [])
    assert cls().lines()[0] == f"ERROR: {cls.message}"
    assert str(error) == error.sentence == f"{cls.message} [here and there]"
    assert all("\n" not in line for line in error.lines())
    assert isinstance(error, PgRoundtripError)


@pytest.mark.parametrize("cls", ERRORS)
def test_whether_it_heals_by_itself(cls: type[PgRoundtripError]) -> None:
    """Only what another attempt may mend is transient; everything but the configuration ends with status 1."""
    assert cls().transient is (cls.__name__ in TRANSIENT)
    assert cls().exit_status == 1


@pytest.mark.parametrize("cls", [c for c in ERRORS if not c.__subclasses__() and c is not errors.ClientMissing])
def test_every_error_that_is_raised_says_what_to_do(cls: type[PgRoundtripError]) -> None:
    """A user is never left alone with what went wrong."""
    assert cls().lines()[1].startswith("HINT: ")


@pytest.mark.parametrize(("sentence", "classes"), PROMISED.items())
def test_the_promised_sentences(sentence: str, classes: set[str]) -> None:
    """The specification's words are said, each by the classes that mean it."""
    assert {cls.__name__ for cls in ERRORS if cls.message == sentence} == classes


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The family is drawn once, and drawn right."""
    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(
            r"^([ |]*)(?:__ )?([A-Z][A-Za-z]+)(?= {2,}| \(|$)", line.replace("|__", "| ").replace("|_", "|")
        )
        if found and hasattr(errors, found[2]):
            drawn.append((len(found[1]), found[2]))
    assert [name for _, name in drawn] == [cls.__name__ for cls in family()]
    above: list[tuple[int, str]] = []
    for depth, name in drawn:
        above = [parent for parent in above if parent[0] < depth]
        if above:
            assert issubclass(getattr(errors, name), getattr(errors, above[-1][1]))
        above.append((depth, name))


def test_what_an_instance_may_say_for_itself() -> None:
    """Message, hint and whether it is transient may be said where an error is raised."""
    error = errors.StorageError("key", message="S3 upload failed", hint="do this", transient=True)
    assert error.lines() == ["ERROR: S3 upload failed [key]", "HINT: do this"]
    assert error.transient
    assert not errors.StorageError.transient
    assert errors.DatabaseTimeout(hint="").lines() == ["ERROR: Connection timed out"]


def test_restore_failed_carries_the_servers_code() -> None:
    """The code tells a bad backup from a server that could not try."""
    error = RestoreFailed('relation "x" does not exist', sqlstate="42P01")
    assert (error.sqlstate, RestoreFailed().sqlstate) == ("42P01", "")
    assert error.lines()[0] == 'ERROR: Restore failed [relation "x" does not exist]'


def test_a_configuration_error_lists_every_fault() -> None:
    """All faults at once, each with its hint where it has one, and exit status 2."""
    error = ConfigurationError([Fault("first", "mend it"), Fault("second")])
    assert error.lines() == ["ERROR: first", "HINT: mend it", "ERROR: second"]
    assert str(error) == "first; second"
    assert (error.exit_status, error.transient) == (2, False)


@pytest.mark.parametrize("cls", ERRORS)
def test_an_error_survives_pickling(cls: type[PgRoundtripError]) -> None:
    """A run's error may be kept and read again by another process."""
    again = pickle.loads(pickle.dumps(cls("somewhere", hint="do this")))  # noqa: S301  (our own bytes)
    assert (type(again), again.lines()[-1]) == (cls, "HINT: do this")
