"""What keeps a sound backup from being restored."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class RestoreError(PgRoundtripError):
    """Anything that keeps a sound backup from being restored."""

    message = "Restore failed"
    code = "PGR-RESTORE-IMPOSSIBLE"
    cause = "restore_failed"


class StatementRefused(RestoreError):
    """A backup holds what no dump of one database has, or it came so; nothing of it is carried out."""

    code = "PGR-RESTORE-STATEMENT"
    hint = "pg_dump writes no such thing for one database; read it, and restore it by hand"


class RestoreFailed(RestoreError):
    """psql could not carry out the dump; `sqlstate` is the server's code where it gave one, `place` is where in the dump."""

    code = "PGR-RESTORE-FAILED"
    hint = "the text in brackets is the server's own"

    def __init__(self, context: str = "", *, sqlstate: str = "", place: str = "", hint: str | None = None) -> None:
        self.sqlstate = sqlstate
        # Apart from the context, by whose words verdicts are found: names in a place could be those words.
        self.place = " ".join(place.split())
        super().__init__(context, hint=hint)

    @property
    def sentence(self) -> str:
        """The server's sentence, and where it happened."""
        return f"{super().sentence} in {self.place}" if self.place else super().sentence


class TargetRefused(RestoreError):
    """The target is one that a restore must not touch."""

    message = "Restore refused"
    code = "PGR-TARGET-REFUSED"
    cause = "restore_refused"


class TargetNotEmpty(TargetRefused):
    """The target database has tables, and nobody said that they may go."""

    message = "Restore refused: the target database has tables"
    code = "PGR-TARGET-NOT-EMPTY"
    hint = "restore into another database, or pass --replace to have everything in this one replaced"


class NotCompared(RestoreError):
    """What was restored could not be read again."""

    message = "The restored rows could not be read, to compare them"
    code = "PGR-RESTORE-NOT-COMPARED"


class OtherRows(RestoreError):
    """What was restored is not what the backup holds."""

    message = "The restored rows are not those of the backup"
    code = "PGR-RESTORE-OTHER-ROWS"
    hint = (
        "nothing was changed in the target; restore with the server's settings and version as they were on the source"
    )


class DrillTimedOut(RestoreError):
    """A drill is not to occupy a server for ever."""

    message = "The drill took longer than VERIFY_TIMEOUT allows"
    code = "PGR-DRILL-TIMEOUT"
    cause = "drill_timed_out"
    hint = "raise VERIFY_TIMEOUT; VERIFY_TARGET=sandbox is faster than a server that others use"
