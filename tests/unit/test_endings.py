"""A run's end is a sentence: its cause can be read back from it, and the error reaches the caller as ever."""

from __future__ import annotations

import logging

import httpx
import pytest
from prefect.client.schemas import State
from prefect.logging import disable_run_logger
from prefect.states import Completed, Crashed, Failed

from blocks import errors
from blocks.errors import (
    DOWNLOAD,
    UPLOAD,
    ConfigurationError,
    Fault,
    PgRoundtripError,
    StorageError,
    StorageUnreachable,
    family,
)
from flows.endings import cause_of, in_words, sentence_and_hint


def ended_with(error: PgRoundtripError) -> State[None]:
    return Failed(message=sentence_and_hint(error))


@pytest.mark.parametrize("cls", [cls for cls in family() if cls is not ConfigurationError])
def test_every_error_has_a_cause(cls: type[PgRoundtripError]) -> None:
    """Whatever the context quotes, a run that failed is counted by its error's own label."""
    for context in ("", "here", "S3 upload failed: pg_dump failed (PGR-DUMP-FAILED)"):
        assert cause_of(ended_with(cls(context))) == cls.cause


@pytest.mark.parametrize(("state", "cause"), [
    (ended_with(StorageError("key", during=UPLOAD)), "s3_upload_failed"),
    (ended_with(StorageUnreachable("key", during=DOWNLOAD)), "s3_download_failed"),
    (ended_with(ConfigurationError([Fault("Required environment variable S3_BUCKET is not set", "set it"),
                                    Fault("Invalid DATABASE_URL format")])), "configuration"),
    (Failed(name="FAILED", message="backup_20240207_143022 is not what it should be: … (PGR-BACKUP-DAMAGED)"), "restore_failed"),
    (Failed(message="Flow run encountered an exception: KeyError: 'x'"), "other"), (Failed(message=""), "other"),
    (Crashed(message="Flow run process exited with non-zero status code 137."), "killed"),
])  # fmt: skip
def test_what_states_say(state: State[None], cause: str) -> None:
    """By what was asked of the storage; of drills and of Prefect's own ends as well."""
    assert cause_of(state) == cause


def test_a_message_is_one_line_with_the_hint() -> None:
    """The run's history shows it as it is."""
    assert sentence_and_hint(errors.NoSpaceLeft("a disk\nof mine")) == (
        "No space left on device [a disk of mine] (PGR-DISK-FULL) HINT: free some space, then run it again"
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
