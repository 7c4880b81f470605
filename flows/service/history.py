"""Decide where the history of runs is kept, and notice while nothing can be recorded: no backup waits for it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from prefect.exceptions import PrefectException
from prefect.logging import get_logger
from pydantic import ValidationError

from blocks.errors import PrefectUnreachable
from tasks.clock import utc_now
from tasks.engine.folder_lock import left_folders, lock_folder, remove_folder
from tasks.engine.wording import iso
from tasks.status.health import OK

# How requests to Prefect's server fail, one that is no Prefect server included: it answers with something else.
TROUBLE = (PrefectUnreachable, PrefectException, TimeoutError, ValidationError, LookupError, TypeError, RuntimeError)
# Set in a service whose history isn't where it should be: the reason.
MOVED = "PG_ROUNDTRIP_HISTORY_MOVED"
PATIENCE_S = 60
ROOM = bytes(1 << 20)
_TEMPORARY = "pg-roundtrip-history-"
_HINT = (
    "HINT: backups and drills go on; give PREFECT_HOME a folder that can be written, and restart the service to use it"
)
_NOT_RECORDED_HINT = (
    "HINT: what is due is run without Prefect; check PREFECT_HOME, or the server that PREFECT_API_URL names"
)
_LOST = "Prefect answers, but has not begun a run that was due"
_logger = get_logger("serve")


def why_unusable(home: Path) -> str:
    """Return why a folder cannot hold Prefect's database; empty if it can. A full disk still creates empty files."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(ROOM)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return str(error.strerror)
    return ""


def temporary_home() -> Path | None:
    """Create a folder for a history that lasts until the next start; None if there is no room for one either."""
    with contextlib.suppress(OSError):
        home = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
        if not why_unusable(home):
            with lock_folder(home) as lock:
                # Stays open while this process, which becomes the service, lives.
                os.set_inheritable(os.dup(lock.fileno()), True)
            return home
        remove_folder(home)
    return None


def sweep_temporary_homes() -> None:
    """Remove the temporary histories of services that have ended."""
    for home in left_folders(_TEMPORARY, {os.geteuid()}):
        remove_folder(home)


def moved_lines(wanted: Path, why: str, home: Path | None) -> list[str]:
    """Say where the history is instead of the wanted folder."""
    place = f"the history of runs is kept in {home}" if home else "runs are not recorded"
    return [f"{wanted} cannot be used: {why}; {place} until the next start", _HINT]


def said_of(error: Exception) -> str:
    """Return what to say of a request to Prefect's server that failed; no address, because `/health` says it to everyone."""
    if isinstance(error, TimeoutError):
        return "Prefect's server does not answer"
    return error.sentence if isinstance(error, PrefectUnreachable) else type(error).__name__


class History:
    """Whether runs can be recorded. What fails for a minute is logged once; `/health` says it as long as it lasts.

    `moved` is why the history isn't in PREFECT_HOME; without `kept` there is none at all.
    """

    def __init__(self, moved: str = "", *, kept: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.kept = kept
        self._moved, self._clock = moved, clock
        self._since: float | None = None
        self._said, self._stalled = "", False
        # When something last failed: a run that was begun before is no sign that it passed.
        self.failed_at: datetime | None = None

    @property
    def fails(self) -> bool:
        """Whether nothing has been recorded for so long that runs must go on without it."""
        return not self.kept or bool(self._said)

    @property
    def doubted(self) -> bool:
        """Whether something has failed, and nothing has been written since."""
        return self._since is not None

    def failed(self, why: str) -> None:
        """Take note of a request or a write that failed: it may pass."""
        self.failed_at = utc_now()
        self._since = self._clock() if self._since is None else self._since
        if self._clock() - self._since >= PATIENCE_S:
            self._say(why)

    def _say(self, why: str) -> None:
        if not self._said:
            self._said = f"not recorded since {iso(utc_now())}: {why}"
            _logger.warning("Runs cannot be recorded: %s", why)
            _logger.warning(_NOT_RECORDED_HINT)

    def judge(self, refusal: str | None, *, lost: bool, begun: bool) -> None:
        """Conclude from what happened since the last failure; reading proves nothing.

        `refusal` is why writing failed, empty if it worked, None if that cannot be told;
        `lost` is whether a run that was due had no chance, `begun` whether one was begun.
        """
        if refusal or lost:
            self.failed(refusal or _LOST)
            if lost:  # it had its minute already
                self._say(refusal or _LOST)
                self._stalled = self._stalled or not refusal
        elif begun or (refusal == "" and not self._stalled):
            self.written()
        elif not self._said:
            self._since = None

    def written(self) -> None:
        """Take note that runs are recorded."""
        if self._said:
            _logger.info("Runs are recorded again")
        self._since, self._said, self._stalled = None, "", False

    def __str__(self) -> str:
        if not self.kept:
            return f"not recorded until the next start: {self._moved}"
        return self._said or (f"kept in a temporary folder until the next start: {self._moved}" if self._moved else OK)
