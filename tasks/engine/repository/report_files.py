"""Put the reports of a backup's drills in order, from a listing alone: the one that counts first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tasks.engine.repository.names import drilled_at, is_conclusive


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

    A report of version 1.0 has no date, and counts as older than all others that say something.
    """
    return tuple(sorted(files, key=_turn, reverse=True))


def _turn(report: ReportFile) -> tuple[bool, bool, datetime, str]:
    return report.conclusive, report.drilled_at is not None, report.moment, report.file
