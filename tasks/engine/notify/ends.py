"""Say what the end of a run, or the start of a service, shows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from blocks.config.values import FLOWS
from tasks.engine.notify.facts import of_drill
from tasks.engine.notify.incidents import Observation, Subject
from tasks.engine.repository.manifest import DrillReport

# The runs that are remembered. A restore is not: nothing repeats it.
RUNS = {"backup": Subject.BACKUP, "restore-drill": Subject.DRILL, "prune": Subject.PRUNE, "serve": Subject.SERVICE}


def of_report(report: DrillReport, now: datetime) -> Iterator[Observation]:
    """Return what a drill that just ended shows: the bucket shows none of it if the drill's key can't write there."""
    yield of_drill(report)
    if report.contents_hold:
        yield Observation(Subject.UNPROVEN, now, bad=False, lasting=True, good_at=report.started_at)


def of_started(flows: Collection[str], now: datetime) -> Observation:
    """Return that a service runs; those for other flows may still not start."""
    return Observation(Subject.SERVICE, now, bad=False, lasting=True, flows=which_service(flows))


def which_service(flows: Collection[str]) -> str:
    """Return what tells services apart that serve the same plan: nothing for one with all flows, or if that is not known."""
    named = [flow for flow in FLOWS if flow in flows]
    return "" if len(named) in (0, len(FLOWS)) else "-".join(named)
