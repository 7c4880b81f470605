"""Answer whether backups are fine, from the bucket alone: one sentence in one of three colours, and what it rests on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from shlex import quote
from typing import Any

from blocks.config import DEFAULT
from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.newest import newest, newest_whole
from tasks.engine.repository.set_results import Failure
from tasks.engine.wording import iso, visible
from tasks.status.judgement import Colour, Judgement, Reason, bounded, judge, worst
from tasks.status.places import survey_places
from tasks.status.series import Day, Point, calendar, points
from tasks.status.survey import Surveyed, survey

_DROPPED = Judgement(Colour.FINE, "Fine: the server has this database no more", retired=True)


@dataclass(frozen=True)
class PlanStatus:
    """How the backups of one database in one folder are; `plan` is empty where no plan is known here."""

    plan: str
    folder: str
    database: str
    judgement: Judgement
    backups: int
    stored_bytes: int
    newest: Backup | None
    days: tuple[Day, ...]
    points: tuple[Point, ...]
    proven: str
    removals: tuple[Backup, ...]
    stopped: str
    commands: tuple[tuple[str, str], ...]
    place: str = ""

    @property
    def title(self) -> str:
        """What it is called: its database, or else its folder; with its place, if it has several."""
        named = self.database or self.folder or "the bucket"
        return f"{named} ({self.place})" if self.place else named

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return f"of-{hashlib.sha256(f'{self.place}{self.folder}/{self.database}'.encode()).hexdigest()[:12]}"

    def document(self) -> dict[str, Any]:
        """The same as a JSON document."""
        return {
            "plan": self.plan or None, **({"place": self.place} if self.place else {}), "folder": self.folder, "database": self.database or None,
            **_judged(self.judgement), "backups": self.backups, "stored_bytes": self.stored_bytes,
            "newest_proven": self.proven or None,
            "days": [{"date": str(day.date), "state": day.state.value, "backups": day.backups} for day in self.days],
            "points": [_point(point) for point in self.points],
            "removals": [b.name for b in self.removals], "removals_stopped": self.stopped or None,
            "commands": [{"what": what, "command": command} for what, command in self.commands],
        }  # fmt: skip


@dataclass(frozen=True)
class Status:
    """The answer at one moment: its colour is that of the worst plan. `failed` are databases that the newest set lacks."""

    at: datetime
    judgement: Judgement
    plans: tuple[PlanStatus, ...] = ()
    note: str = ""
    failed: tuple[Failure, ...] = ()

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong."""
        return self.judgement.colour is Colour.FINE

    def document(self) -> dict[str, Any]:
        """The same as a JSON document."""
        return {
            "at": iso(self.at), **_judged(self.judgement), "note": self.note or None,
            "failed": [one.model_dump() for one in self.failed],
            "plans": [plan.document() for plan in self.plans],
        }  # fmt: skip


def read_status(plan: Plan, now: datetime) -> Status:
    """Read the bucket and judge; one that cannot be read is bad: nothing could be restored from it now."""
    try:
        seen = survey_places(plan, now) if plan.copies else survey(plan, now)
    except PgRoundtripError as error:
        return unreadable(error.sentence, error.hint, now)
    return replace(summarize(seen.found, now, seen.note), failed=seen.failed)


def unreadable(why: str, hint: str, now: datetime) -> Status:
    """Return the answer while the bucket cannot be read."""
    reason = Reason(Colour.BAD, f"the bucket cannot be read: {bounded(why)}", bounded(hint))
    return Status(now, Judgement(Colour.BAD, f"Bad: {reason.text}", (reason,)))


def summarize(found: Sequence[Surveyed], now: datetime, note: str = "") -> Status:
    """Judge what was found; pure."""
    plans = tuple(_plan_status(each, now) for each in found)
    return Status(now, _together(plans), plans, bounded(note))


def _together(plans: Sequence[PlanStatus]) -> Judgement:
    """Return the judgement on all plans: that of the only one, or else of the worst, which it names."""
    active = [plan for plan in plans if not plan.judgement.retired]
    if not active:
        return Judgement(Colour.FINE, "Fine: nothing is backed up here any more")
    if len(active) == 1:
        return active[0].judgement
    colour = worst([plan.judgement.colour for plan in active])
    first = next(plan for plan in active if plan.judgement.colour is colour)
    fine = sum(plan.judgement.colour is Colour.FINE for plan in active if plan is not first)
    word, _, why = first.judgement.sentence.partition(": ")
    what = "other place" if any(plan.place for plan in active) else "other database"
    rest = f"{fine} of {counted(len(active) - 1, what)} fine"
    return Judgement(colour, f"{word}: {first.title}: {why}; {rest}", first.judgement.reasons)


def _plan_status(found: Surveyed, now: datetime) -> PlanStatus:
    facts, proof = found.facts, found.facts.proof(now)
    proven, whole = proof[0].name if proof else "", newest_whole(facts.backups, now)
    folder, database = bounded(found.folder), bounded(found.database)
    return PlanStatus(
        found.plan, folder, database, _DROPPED if found.dropped else judge(facts, now), len(facts.backups), sum(b.object_bytes for b in facts.backups),
        whole, calendar(facts, now, found.kept_days), points(facts, found.chosen, found.contents), proven,
        tuple(found.removals), found.stopped, _commands(found, whole or newest(facts.backups, now), proven),
        found.place,
    )  # fmt: skip


def _commands(found: Surveyed, last: Backup | None, proven: str) -> tuple[tuple[str, str], ...]:
    """Return the commands that restore the newest backup, unless it is known to be bad, and the newest PROVEN one."""
    if last is None:
        return ()
    drill = found.facts.drill_of(last)
    bad = drill is not None and drill.verdict is Verdict.FAILED and not drill.contents_hold
    wanted = {"The newest backup": "" if bad else last.name, "The newest PROVEN backup": proven}
    chosen = f" --plan {found.plan}" if found.plan not in ("", DEFAULT) else ""
    # Another folder's commands must name it.
    before = "" if found.plan else f"BACKUP_PREFIX={quote(found.folder)} "
    return tuple(
        (what, visible(f'{before}pg-roundtrip restore {name} --to "$TARGET_URL"{chosen}'))
        for what, name in wanted.items()
        if name
    )


def _judged(judgement: Judgement) -> dict[str, Any]:
    return {
        "status": judgement.colour.value, "sentence": judgement.sentence, "retired": judgement.retired,
        "reasons": [{"status": r.colour.value, "text": r.text, "hint": r.hint or None} for r in judgement.reasons],
    }  # fmt: skip


def _point(point: Point) -> dict[str, Any]:
    return {
        "name": point.name, "taken_at": iso(point.taken_at), "object_bytes": point.object_bytes, "rows": point.rows,
        "backup_seconds": point.took_s, "restore_seconds": point.restore_s,
        "verdict": point.verdict.value if point.verdict else None, "without": point.without or None,
    }  # fmt: skip
