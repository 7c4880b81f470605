"""Errors that keep an intact backup from being restored."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class RestoreError(PgRoundtripError):
    """Base class for errors that keep an intact backup from being restored."""

    message = "Restore failed"
    code = "PGR-RESTORE-IMPOSSIBLE"
    cause = "restore_failed"


class StatementRefused(RestoreError):
    """The backup has, or arrived with, a statement that no dump of one database has; none of it is executed."""

    code = "PGR-RESTORE-STATEMENT"
    hint = "pg_dump writes no such statement for one database; review the backup, and restore it by hand"


class RestoreFailed(RestoreError):
    """The server did not carry out a statement of the dump; `sqlstate` is the server's code, if any, and `place` where in the dump."""

    code = "PGR-RESTORE-FAILED"
    hint = "the text in brackets is the server's own"

    def __init__(self, context: str = "", *, sqlstate: str = "", place: str = "", hint: str | None = None) -> None:
        self.sqlstate = sqlstate
        # Not part of the context: verdicts depend on its words, which could also occur as names in a place.
        self.place = " ".join(place.split())
        super().__init__(context, hint=hint)

    def veil(self) -> None:
        """Forget where in the dump it happened, too."""
        self.place = ""
        super().veil()

    @property
    def sentence(self) -> str:
        """The server's message and where it happened."""
        return f"{super().sentence} in {self.place}" if self.place else super().sentence


class TargetRefused(RestoreError):
    """A restore must not touch this target."""

    message = "Restore refused"
    code = "PGR-TARGET-REFUSED"
    cause = "restore_refused"


class TargetNotEmpty(TargetRefused):
    """The target database is not empty, and the user did not allow replacing it."""

    message = "Restore refused: the target database is not empty"
    code = "PGR-TARGET-NOT-EMPTY"
    hint = "restore into another database, or pass --replace to replace everything in this one"


class NotCompared(RestoreError):
    """The restored rows could not be read back."""

    message = "The restored rows could not be read back to compare them"
    code = "PGR-RESTORE-NOT-COMPARED"


class OtherRows(RestoreError):
    """The restored rows differ from those in the backup."""

    message = "The restored rows differ from those in the backup"
    code = "PGR-RESTORE-OTHER-ROWS"
    hint = "nothing was changed in the target; restore to a server with the settings and version of the source"


class DrillTimedOut(RestoreError):
    """The drill exceeded its time limit."""

    message = "The drill took longer than VERIFY_TIMEOUT allows"
    code = "PGR-DRILL-TIMEOUT"
    cause = "drill_timed_out"
    hint = "raise VERIFY_TIMEOUT; VERIFY_TARGET=sandbox is faster than a shared server"
