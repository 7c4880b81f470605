"""Turn backups into what a page draws: a calendar of days with their verdicts, and points over time; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.newest import of_the_past
from tasks.status.judgement import Facts
from tasks.status.listing import Contents

WEEKS = 16
# So many manifests are read at most, however many backups there are.
MOST_POINTS = 150
_HOURS = (1, 2, 3, 6, 12, 24, 48, 7 * 24, 14 * 24, 28 * 24)


class DayState(StrEnum):
    """What a day's backups are worth."""

    FAILED = "FAILED"
    PROVEN = "PROVEN"
    INCONCLUSIVE = "INCONCLUSIVE"
    KEPT = "not drilled"
    MISSED = "missed"
    NONE = "no backup kept"


@dataclass(frozen=True)
class Day:
    """One day (UTC) of the calendar."""

    date: date
    state: DayState
    backups: int = 0


@dataclass(frozen=True)
class Point:
    """One backup over time; what is not known is None."""

    name: str
    taken_at: datetime
    object_bytes: int
    rows: int | None = None
    took_s: float | None = None
    restore_s: float | None = None
    verdict: Verdict | None = None


def calendar(facts: Facts, now: datetime, kept_days: int | None) -> tuple[Day, ...]:
    """Return the days of the last weeks, from a Monday to today.

    A day without a backup was missed if backups were due, and if retention keeps every backup of that day; the first
    backup's day is the earliest that could be missed.
    """
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=today.weekday(), weeks=WEEKS - 1)
    by_day: dict[date, list[Backup]] = {}
    for backup in of_the_past(facts.backups, now):
        by_day.setdefault(backup.taken_at.date(), []).append(backup)
    due = _days_due(facts, now, kept_days, min(by_day, default=today))
    days = (first + timedelta(days=n) for n in range((today - first).days + 1))
    return tuple(Day(day, _state(facts, by_day.get(day, []), due=day in due), len(by_day.get(day, []))) for day in days)


def _days_due(facts: Facts, now: datetime, kept_days: int | None, first: date) -> set[date]:
    """Return the whole days, before today, of which a backup must be there."""
    if not facts.backups_due or not kept_days:
        return set()
    moment, days = now, set[date]()
    since = max(now - timedelta(days=min(kept_days, 7 * WEEKS)), datetime.combine(first, datetime.min.time(), UTC))
    while (moment := facts.backups_due.before(moment)) > since + timedelta(days=1):
        days.add(moment.date())
        # One slot of each day is enough.
        moment = datetime.combine(moment.date(), datetime.min.time(), UTC)
    return days - {now.date()}


def _state(facts: Facts, backups: Sequence[Backup], *, due: bool) -> DayState:
    """Return the state of a day: a verdict on contents, the worst first, counts before one that says nothing."""
    drills = [drill for b in backups if (drill := facts.drill_of(b))]
    verdicts = {DayState.PROVEN if d.contents_hold else DayState(d.verdict.value) for d in drills}
    for state in (DayState.FAILED, DayState.PROVEN, DayState.INCONCLUSIVE):
        if state in verdicts:
            return state
    if backups:
        return DayState.KEPT
    return DayState.MISSED if due else DayState.NONE


def sampled(backups: Sequence[Backup], most: int = MOST_POINTS) -> list[Backup]:
    """Choose the backups to draw, oldest first: the last one in each of equal spans of time.

    The spans are aligned, so that a backup that was chosen, and read, is chosen again.
    """
    if len(backups) <= most:
        return list(backups)
    for hours in _HOURS:
        chosen = list({int(b.taken_at.timestamp() // (3600 * hours)): b for b in backups}.values())
        if len(chosen) <= most:
            return chosen
    return chosen[-most:]


def points(facts: Facts, chosen: Sequence[Backup], contents: Mapping[str, Contents]) -> tuple[Point, ...]:
    """Return the points of the chosen backups, oldest first; a clock that was wrong draws none."""
    return tuple(_point(b, contents.get(b.name), facts) for b in chosen)


def _point(backup: Backup, made: Contents | None, facts: Facts) -> Point:
    drill = facts.drill_of(backup)
    return Point(
        backup.name, backup.taken_at, backup.object_bytes,
        rows=made.rows if made else None, took_s=made.took_s if made else None,
        restore_s=drill.restore_s if drill and drill.restore_s else None, verdict=drill.verdict if drill else None,
    )  # fmt: skip
