"""Say what the end of a run, or the start of a service, shows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from blocks.config.databases import folder_for
from blocks.config.values import FLOWS
from tasks.engine.notify.facts import Facts, of_drill, of_drills
from tasks.engine.notify.incidents import Observation, Subject
from tasks.engine.notify.several import combined, mark
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.set_results import Failure, SetBackedUp, SetDrilled

# The runs that are remembered. A restore is not: nothing repeats it.
RUNS = {
    "backup": Subject.BACKUP, "restore-drill": Subject.DRILL, "prune": Subject.PRUNE, "serve": Subject.SERVICE,
    "key-check": Subject.KEYS,
}  # fmt: skip


def of_report(report: DrillReport, now: datetime) -> Iterator[Observation]:
    """Return what a drill that just ended shows: the bucket shows none of it if the drill's key can't write there."""
    yield of_drill(report)
    if report.contents_hold:
        yield Observation(Subject.UNPROVEN, now, bad=False, lasting=True, good_at=report.started_at)


def of_drills_with(report: DrillReport, known: Facts | None, now: datetime) -> Iterator[Observation]:
    """Return what a drill of one of several databases or places shows beside the others' drills: it makes none of those good.

    If those are not known, because the bucket is slow, the next look sees whether all is good.
    """
    drills = [part.drill for part in known.drilled_apart.values() if part.drill] if known else []
    if known and any((drill.backup, drill.verdict) == (report.backup, report.verdict) for drill in drills):
        yield from of_drills(known)
    elif known or not report.contents_hold:
        yield from of_report(report, now)


def failed_parts(plan: str, facts: object, now: datetime) -> frozenset[str]:
    """Tell apart the databases that a run failed for, as looks do; a run that doesn't say which is a part of its own."""
    seen: dict[str, Observation] = {}
    if isinstance(facts, SetDrilled):
        seen |= {one.plan: of_drill(one.report) for one in facts.drills}
    if isinstance(facts, SetBackedUp | SetDrilled):
        seen |= {f"{plan}/{folder_for(one.database)}": _of_failure(one, now) for one in facts.failed}
    return combined(seen).parts if seen else frozenset([mark(plan)])


def _of_failure(failure: Failure, now: datetime) -> Observation:
    return Observation(Subject.DRILL, now, bad=True, sentence=failure.reason)


def of_started(flows: Collection[str], now: datetime) -> Observation:
    """Return that a service runs; those for other flows may still not start."""
    return Observation(Subject.SERVICE, now, bad=False, lasting=True, flows=which_service(flows))


def which_service(flows: Collection[str]) -> str:
    """Return what tells services apart that serve the same plan: nothing for one with all flows, or if that is not known."""
    named = [flow for flow in FLOWS if flow in flows]
    return "" if len(named) in (0, len(FLOWS)) else "-".join(named)
