"""A run's final message is a sentence from which its cause can be read back; the caller still gets the error."""

from __future__ import annotations

import logging

import httpx
import pytest
from prefect.client.schemas import State
from prefect.logging import disable_run_logger
from prefect.states import Crashed, Failed

from blocks import errors
from blocks.errors import (
    DOWNLOAD,
    UPLOAD,
    ConfigurationError,
    PgRoundtripError,
    Problem,
    StorageError,
    StorageUnreachable,
    family,
)
from flows.runs.final_state import cause_of, state_of, with_final_state
from tasks.outcome import Outcome, failed


def ended_with(error: PgRoundtripError) -> State[None]:
    return state_of(failed("backup", "default", error))


@pytest.mark.parametrize("cls", [cls for cls in family() if cls is not ConfigurationError])
def test_every_error_has_a_cause(cls: type[PgRoundtripError]) -> None:
    """Whatever the context quotes, a failed run is counted under its error's own label."""
    for context in ("", "here", "S3 upload failed: pg_dump failed (PGR-DUMP-FAILED)"):
        assert cause_of(ended_with(cls(context))) == cls.cause


@pytest.mark.parametrize(("state", "cause"), [
    (ended_with(StorageError("key", during=UPLOAD)), "s3_upload_failed"),
    (ended_with(StorageUnreachable("key", during=DOWNLOAD)), "s3_download_failed"),
    (ended_with(ConfigurationError([Problem("Required environment variable S3_BUCKET is not set", "set it"),
                                    Problem("Invalid DATABASE_URL format")])), "configuration"),
    (Failed(name="FAILED", message="backup_20240207_143022 is not what it should be: … (PGR-BACKUP-DAMAGED)"), "restore_failed"),
    (Failed(message="Flow run encountered an exception: KeyError: 'x'"), "other"), (Failed(message=""), "other"),
    (Crashed(message="Flow run process exited with non-zero status code 137."), "killed"),
])  # fmt: skip
def test_what_states_say(state: State[None], cause: str) -> None:
    """Storage errors count by what was requested; drills and Prefect's own final states are recognised too."""
    assert cause_of(state) == cause


def test_a_message_is_one_line_with_the_hint() -> None:
    """The final message is one line with the hint: the run's history shows it unchanged."""
    assert failed("backup", "default", errors.NoSpaceLeft("a disk\nof mine")).message == (
        "No space left on device [a disk of mine] (PGR-DISK-FULL) HINT: free some space, then run it again"
    )


def test_a_flow_ends_with_our_words(caplog: pytest.LogCaptureFixture) -> None:
    """An expected error becomes a failed state that holds it; other errors, and success, are left to Prefect."""

    def ended(error: Exception | None) -> object:
        @with_final_state
        def run() -> Outcome[int]:
            if error:
                raise error
            return Outcome("backup", "default", "done", 7)

        with disable_run_logger(), caplog.at_level(logging.ERROR):
            return run()

    bad = ended(errors.NoBackups("here"))
    assert isinstance(bad, State)
    assert (bad.is_failed(), bad.name) == (True, "Failed")
    assert bad.message == f"No backups found in S3 [here] (PGR-NO-BACKUPS) HINT: {errors.NoBackups.hint}"
    assert isinstance(bad.data, errors.NoBackups)
    with pytest.raises(KeyError):
        ended(KeyError("x"))
    good = ended(None)
    assert isinstance(good, State)
    assert good.data == 7


def test_a_prefect_server_that_goes_away_is_a_sentence() -> None:
    """Losing the Prefect server during a run is one sentence, not hidden in forty lines of traceback."""

    @with_final_state
    def run() -> Outcome[int]:
        raise httpx.ConnectError("All connection attempts failed")

    with disable_run_logger():
        ended: object = run()
    assert isinstance(ended, State)
    assert isinstance(ended.data, errors.PrefectUnreachable)
    assert ended.message is not None
    assert ended.message.startswith("Cannot reach the Prefect server [ConnectError]")
