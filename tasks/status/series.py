"""Turn backups into what a page draws: a calendar of days with their verdicts, and points over time; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from blocks.config.schedule import Schedule
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.newest import of_the_past
from tasks.status.judgement import Facts
from tasks.status.listing import Contents

WEEKS = 16
# So many manifests are read at most, however many backups there are.
MOST_POINTS = 150
# So many of the newest backups a page lists.
NEWEST = 7
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
    without: str = ""


def calendar(facts: Facts, now: datetime, kept_days: int | None) -> tuple[Day, ...]:
    """Return the days of the last weeks, from a Monday to today."""
    today = now.date()
    first = today - timedelta(days=today.weekday(), weeks=WEEKS - 1)
    by_day: dict[date, list[Backup]] = {}
    for backup in of_the_past(facts.backups, now):
        by_day.setdefault(backup.taken_at.date(), []).append(backup)
    missed = _days_missed(facts, now, kept_days)
    days = (first + timedelta(days=n) for n in range((today - first).days + 1))
    return tuple(
        Day(day, _state(facts, by_day.get(day, []), missed=day in missed), len(by_day.get(day, []))) for day in days
    )


def _days_missed(facts: Facts, now: datetime, kept_days: int | None) -> set[date]:
    """Return the days whose backup was due, would still be kept, and was not made later either.

    Late by less than half of the time between two backups is not missed: one that is due at midnight is sometimes made
    before it, and sometimes after.
    """
    moments = [b.taken_at for b in of_the_past(facts.backups, now)]
    if not facts.backups_due or not kept_days or not moments:
        return set()
    kept_since = now - timedelta(days=min(kept_days, 7 * WEEKS))
    patience = facts.backups_due.gap(now) * 1.5
    missed = set[date]()
    for before, after in pairwise([*moments, now]):
        if after - before > patience:
            missed |= _days_due(facts.backups_due, max(before, kept_since), after)
    return missed


def _days_due(due: Schedule, since: datetime, until: datetime) -> set[date]:
    """Return the whole days between two moments of which at least one slot was due."""
    days, moment = set[date](), until
    while (moment := due.before(moment)) > since:
        # One slot of each day is enough.
        moment = datetime.combine(moment.date(), datetime.min.time(), UTC)
        if moment > since:
            days.add(moment.date())
    return days - {until.date()}


def _state(facts: Facts, backups: Sequence[Backup], *, missed: bool) -> DayState:
    """Return the state of a day: a verdict on contents, the worst first, counts before one that says nothing."""
    drills = [drill for b in backups if (drill := facts.drill_of(b))]
    verdicts = {DayState.PROVEN if d.contents_hold else DayState(d.verdict.value) for d in drills}
    for state in (DayState.FAILED, DayState.PROVEN, DayState.INCONCLUSIVE):
        if state in verdicts:
            return state
    if backups:
        return DayState.KEPT
    return DayState.MISSED if missed else DayState.NONE


def sampled(facts: Facts, most: int = MOST_POINTS) -> list[Backup]:
    """Choose the backups to draw, oldest first: of each of equal spans of time the last one, preferably a drilled one.

    The spans are aligned, so that a backup that was chosen, and read, is chosen again. The newest are all chosen,
    because the page lists them.
    """
    backups = facts.backups
    if len(backups) <= most:
        return list(backups)
    chosen = [*backups[-most:]]
    for hours in _HOURS:
        spans = {int(b.taken_at.timestamp() // (3600 * hours)): b for b in backups}
        spans |= {int(b.taken_at.timestamp() // (3600 * hours)): b for b in backups if facts.drill_of(b)}
        if len(spans) <= most - NEWEST:
            chosen = list(spans.values())
            break
    names = {b.name for b in (*chosen, *backups[-NEWEST:])}
    return [b for b in backups if b.name in names]


def points(facts: Facts, chosen: Sequence[Backup], contents: Mapping[str, Contents]) -> tuple[Point, ...]:
    """Return the points of the chosen backups, oldest first; a clock that was wrong draws none."""
    return tuple(_point(b, contents.get(b.name), facts) for b in chosen)


def _point(backup: Backup, made: Contents | None, facts: Facts) -> Point:
    drill = facts.drill_of(backup)
    return Point(
        backup.name, backup.taken_at, backup.object_bytes,
        rows=made.rows if made else None, took_s=made.took_s if made else None,
        restore_s=drill.restore_s if drill and drill.restore_s else None, verdict=drill.verdict if drill else None,
        without=made.without if made else "",
    )  # fmt: skip
