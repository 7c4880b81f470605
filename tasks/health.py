"""Say whether backups work right now: the database and the bucket answer, and no backup is overdue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocks.errors import PgRoundtripError
from blocks.plan import Plan
from blocks.schedule import Schedule
from tasks.engine import catalog
from tasks.engine.catalog import Backup
from tasks.wording import human_age, iso

OK = "ok"


@dataclass(frozen=True)
class Health:
    """What was found, each part `ok` or what is wrong with it; nothing in it tells where anything is."""

    parts: dict[str, str]
    newest: datetime | None

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return all(found == OK for found in self.parts.values())

    def document(self) -> dict[str, Any]:
        """The same, for those who ask over HTTP."""
        faults = [f"{part}: {found}" for part, found in self.parts.items() if found != OK]
        return {
            "status": "healthy" if self.good else "unhealthy",
            "reason": "; ".join(faults),
            **self.parts,
            "newest_backup": iso(self.newest) if self.newest else None,
        }


def examine(plan: Plan, *, backs_up: bool, started_at: datetime, now: datetime) -> Health:
    """Ask the bucket and, where backups are made here, the database, and judge the newest backup's age."""
    parts, newest = {}, None
    if backs_up:
        parts["database"] = _said(plan.source.ask)
    backups: list[Backup] = []
    parts["storage"] = _said(lambda: backups.extend(catalog.read_catalog(plan.storage)))
    if parts["storage"] == OK:
        newest = newest_whole([b for b in backups if b.taken_at <= now])
    # Who only drills does not know how often another one backs up.
    if parts["storage"] == OK and backs_up:
        parts["backups"] = overdue(newest, plan.backups_due, started_at, now) or OK
    return Health(parts, newest)


def newest_whole(backups: list[Backup]) -> datetime | None:
    """When the newest backup was taken; one without a manifest may be half a backup, and counts where there are only such."""
    whole = [b for b in backups if not b.foreign] or backups
    return whole[-1].taken_at if whole else None


def overdue(newest: datetime | None, due: Schedule, started_at: datetime, now: datetime) -> str:
    """Why backups are overdue, empty when they are not: two slots have passed since the newest one.

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
    """Only the sentence: its context says where the database is, which is nobody's business."""
    try:
        ask()
    except PgRoundtripError as error:
        return error.message
    return OK
