"""Check whether backups work right now: the database and the bucket answer, and no backup is overdue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blocks.config.plan import Plan
from blocks.config.schedule import Schedule
from blocks.errors import PgRoundtripError
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.members import judged_backups
from tasks.engine.repository.newest import newest_whole, told_of_future
from tasks.engine.repository.open_anomalies import told_of_anomalies
from tasks.engine.wording import human_age, iso

OK = "ok"


@dataclass(frozen=True)
class Health:
    """The state of each part, `ok` or what is wrong with it; it reveals no addresses."""

    parts: dict[str, str]
    newest: datetime | None
    warnings: list[str] = field(default_factory=list)
    # Where the history of runs is, or why nothing is recorded: no reason to be unhealthy.
    history: str = OK
    # Whether messages arrive, or which channels don't take them: no reason to be unhealthy either.
    notifications: str = OK

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return all(found == OK for found in self.parts.values())

    def document(self) -> dict[str, Any]:
        """The same as a JSON document for HTTP."""
        faults = [f"{part}: {found}" for part, found in self.parts.items() if found != OK]
        return {
            "status": "healthy" if self.good else "unhealthy",
            "reason": "; ".join(faults),
            **self.parts,
            "newest_backup": iso(self.newest) if self.newest else None,
            "history": self.history,
            "notifications": self.notifications,
            **({"warnings": self.warnings} if self.warnings else {}),
        }


def examine(plan: Plan, *, backs_up: bool, started_at: datetime, now: datetime) -> Health:
    """Check the bucket, the newest backup's age and, if this service makes backups, the database.

    Of a whole server, the database whose newest backup is the oldest counts.
    """
    parts: dict[str, str] = {}
    if backs_up:
        parts["database"] = _said(plan.source.ask)
    backups = list[Backup]()
    parts["storage"] = _said(lambda: backups.extend(judged_backups(plan, now)))
    newest, odd = newest_whole(backups, now), told_of_future(backups, now)
    # A drill-only service doesn't know the backup schedule.
    if parts["storage"] == OK and backs_up:
        late = overdue(newest.taken_at if newest else None, plan.schedules.backups, started_at, now)
        parts["backups"] = (late if newest or not odd else late and odd) or OK
    return Health(
        parts, newest.taken_at if newest else None, [said for said in (odd, told_of_anomalies(backups, now)) if said]
    )


def overdue(newest: datetime | None, due: Schedule, started_at: datetime, now: datetime) -> str:
    """Return why backups are overdue, which is when two slots have passed since the newest one; empty if they are not.

    A service that has just started has one interval of grace, because its first backup may take that long.
    """
    if newest is not None and newest >= due.before(now, 2):
        return ""
    if now - started_at < due.gap(now):
        return ""
    if newest is None:
        return f"there is no backup, {human_age(now - started_at)} after the start"
    return f"the newest backup is {human_age(now - newest)} old, and one is due every {human_age(due.gap(now))}"


def _said(ask: Callable[[], object]) -> str:
    """Return only an error's sentence: its context would reveal the database's address."""
    try:
        ask()
    except PgRoundtripError as error:
        return error.message
    return OK
