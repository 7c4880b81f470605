"""Put the reports of a backup's drills in order, from a listing alone: the one that counts first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.engine.repository.names import drilled_at, is_conclusive

# Who copies a folder stores all reports of a backup at about the same time, whenever its drills were.
_COPIED = timedelta(hours=1)


@dataclass(frozen=True)
class ReportFile:
    """A report as listed; `stored_at` is by the storage's clock, and `version` changes with the contents."""

    file: str
    stored_at: datetime
    version: str = ""

    @property
    def conclusive(self) -> bool:
        """Whether its name says that it tells anything about the backup; of version 1.0, no name says otherwise."""
        return is_conclusive(self.file)

    @property
    def drilled_at(self) -> datetime | None:
        """When the drill started; None for a report of version 1.0.

        No drill starts after its report was stored: a name that says so is from a clock that was ahead.
        """
        named = drilled_at(self.file)
        return min(named, self.stored_at) if named else None

    @property
    def moment(self) -> datetime:
        """When the drill started, or else when its report was stored."""
        return self.drilled_at or self.stored_at


def in_turn(files: Iterable[ReportFile]) -> tuple[ReportFile, ...]:
    """Sort the reports of one backup, the one that counts first: the newest that says something about the backup.

    A report of version 1.0 has no date, and counts as older than all others that say something, unless it was stored
    long after them: then that version still drills.
    """
    known = list(files)
    dated = [found.stored_at for found in known if found.conclusive and found.drilled_at]

    def turn(found: ReportFile) -> tuple[bool, bool, datetime, str]:
        newest = found.drilled_at is not None or not dated or found.stored_at - max(dated) > _COPIED
        return found.conclusive, newest, found.moment, found.file

    return tuple(sorted(known, key=turn, reverse=True))
