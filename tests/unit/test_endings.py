"""A run's end is a sentence: its cause can be read back from it, and the error reaches the caller as ever."""

from __future__ import annotations

import logging

import httpx
import pytest
from prefect.client.schemas import State
from prefect.logging import disable_run_logger
from prefect.states import Completed

from blocks import errors
from blocks.causes import CAUSES, OTHER_CAUSE, cause_of
from blocks.errors import ConfigurationError, Fault, PgRoundtripError, StorageError
from flows.endings import in_words, sentence_and_hint
from tests.unit.test_errors import ERRORS

# Classes without a sentence of their own, which are raised with one, or not at all.
ABSTRACT = {"PgRoundtripError", "BackupError", "RestoreError"}
LABELS = {
    "DatabaseUnreachable": "database_unreachable", "DatabaseRefused": "database_unreachable", "DatabaseError": "database_error",
    "PooledSessions": "database_error",
    "DatabaseTimeout": "timeout", "StorageTimeout": "timeout", "CreateDatabaseDenied": "create_database_denied",
    "ClientMissing": "dump_failed", "DumpFailed": "dump_failed", "StorageError": "s3_request_failed",
    "StorageUnreachable": "s3_request_failed", "BucketMissing": "s3_request_failed", "StorageDenied": "s3_access_denied",
    "ObjectMissing": "backup_empty_or_missing", "EmptyBackup": "backup_empty_or_missing", "NoBackups": "no_backups",
    "BackupDamaged": "restore_failed", "RestoreFailed": "restore_failed",
    "StatementRefused": "restore_failed", "TargetNotEmpty": "restore_refused",
    "DrillTimedOut": "drill_timed_out", "NoSpaceLeft": "disk_full",
    "ServiceError": "service", "PortTaken": "service", "PrefectUnreachable": "service",
}  # fmt: skip


@pytest.mark.parametrize("cls", ERRORS)
def test_every_error_has_a_cause(cls: type[PgRoundtripError]) -> None:
    """Whatever the context quotes, the whole family maps back to its labels."""
    if cls.__name__ in ABSTRACT:
        return
    for context in ("", "here", "S3 upload failed: pg_dump failed"):
        assert cause_of(sentence_and_hint(cls(context))) == LABELS[cls.__name__]
    assert LABELS[cls.__name__] in CAUSES


@pytest.mark.parametrize(("message", "cause"), [
    (sentence_and_hint(StorageError("key", message="S3 upload failed")), "s3_upload_failed"),
    (sentence_and_hint(StorageError("key", message="Failed to download backup from S3")), "s3_download_failed"),
    (sentence_and_hint(ConfigurationError([Fault("Required environment variable S3_BUCKET is not set", "set it"),
                                           Fault("Invalid DATABASE_URL format")])), "configuration"),
    (sentence_and_hint(ConfigurationError([Fault("There is no plan named x")])), "configuration"),
    ("backup_20240207_143022 is not what it should be: Restore failed [the gzip stream is damaged]", "restore_failed"),
    ("backup_20240207_143022 could not be drilled, which says nothing about it: Cannot connect to database", "database_unreachable"),
    ("Flow run encountered an exception: KeyError: 'x'", OTHER_CAUSE), ("", OTHER_CAUSE),
])  # fmt: skip
def test_what_messages_say(message: str, cause: str) -> None:
    """Sentences that are said where an error is raised, those of drills, and Prefect's own."""
    assert cause_of(message) == cause
    assert cause in CAUSES


def test_a_message_is_one_line_with_the_hint() -> None:
    """The run's history shows it as it is."""
    assert sentence_and_hint(errors.NoSpaceLeft("a disk\nof mine")) == (
        "No space left on device [a disk of mine] HINT: free some space, then run it again"
    )


def test_a_flow_ends_with_our_words(caplog: pytest.LogCaptureFixture) -> None:
    """A foreseen error becomes a failed state that holds it; another is Prefect's, and a good end is left alone."""

    def ended(error: Exception | None) -> object:
        @in_words
        def run() -> State[int]:
            if error:
                raise error
            return Completed(data=7)

        with disable_run_logger(), caplog.at_level(logging.ERROR):
            return run()

    failed = ended(errors.NoBackups("here"))
    assert isinstance(failed, State)
    assert (failed.is_failed(), failed.name) == (True, "Failed")
    assert failed.message == sentence_and_hint(errors.NoBackups("here"))
    assert isinstance(failed.data, errors.NoBackups)
    with pytest.raises(KeyError):
        ended(KeyError("x"))
    good = ended(None)
    assert isinstance(good, State)
    assert good.data == 7


def test_a_prefect_server_that_goes_away_is_a_sentence() -> None:
    """It may go while a run goes on; forty lines of its client's traceback would hide that."""

    @in_words
    def run() -> State[int]:
        raise httpx.ConnectError("All connection attempts failed")

    with disable_run_logger():
        ended: object = run()
    assert isinstance(ended, State)
    assert isinstance(ended.data, errors.PrefectUnreachable)
    assert ended.message is not None
    assert ended.message.startswith("Cannot reach the Prefect server [ConnectError]")
