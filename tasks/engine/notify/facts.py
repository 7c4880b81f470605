"""Read from the bucket how backups and drills are doing, and say what of that is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from blocks.config.plan import Plan, Schedules
from tasks.engine.notify.incidents import Incident, Observation, Subject
from tasks.engine.repository.cache import Kind
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import cache_of
from tasks.engine.repository.manifest import Anomaly, DrillReport, Verdict
from tasks.engine.repository.members import current_members
from tasks.engine.repository.newest import is_future, last_drilled, newest_whole, of_the_past
from tasks.engine.repository.open_anomalies import OpenAnomalies, open_anomalies
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import folder_of
from tasks.engine.wording import human_age

# After a start, what was missed is caught up first; this much lateness is nobody's business.
_GRACE = timedelta(minutes=15)
# Each drilled backup costs a request, the first time it is looked at.
_LOOKED_AT = 100
# Whoever makes backups answers for these, too.
_REMINDED = {"backup": (Subject.BACKUP, Subject.PRUNE), "restore-drill": (Subject.DRILL,)}
_MOST_ANOMALIES, _MOST_MARKS = 5, 1000


@dataclass(frozen=True)
class Drill:
    """What is told of the newest drill of a backup."""

    backup: str
    verdict: Verdict
    contents_hold: bool
    started_at: datetime
    cause: str
    code: str


@dataclass(frozen=True)
class Facts:
    """How a plan is doing, from its bucket. `proved_at` is when the newest PROVEN backup was drilled.

    `odd` tells anomalies apart; one that is found again in the next backup is the same.
    """

    newest: Backup | None = None
    drill: Drill | None = None
    proven: Backup | None = None
    proved_at: datetime | None = None
    anomalies: tuple[str, ...] = ()
    odd: frozenset[str] = frozenset()


_COUNTS = Kind("told drill", TypeAdapter(Drill), lambda b: b.report_version)
_NEWEST = Kind("newest drill", TypeAdapter(Drill), lambda b: b.newest_report.version if b.newest_report else "")


def read_facts(plan: Plan, now: datetime) -> Facts:
    """Read the bucket; raises StorageError."""
    if plan.databases:
        return _together(
            [_facts_in(Repository(m.plan.storage), list(m.backups), now) for m in current_members(plan, now)]
        )
    repository = Repository(plan.storage)
    return _facts_in(repository, folder_of(plan, backups=repository.backups()).own, now)


def _together(all_of_them: Sequence[Facts]) -> Facts:
    """Return how a whole server is doing: its oldest newest backup counts, and a drill that FAILED more than a later one."""
    newest = [facts.newest for facts in all_of_them]
    there = [backup for backup in newest if backup]
    drills = [facts.drill for facts in all_of_them if facts.drill]
    proven = [facts.proven for facts in all_of_them if facts.proven]
    return Facts(
        newest=min(there, key=lambda b: b.taken_at) if there and len(there) == len(newest) else None,
        drill=max(drills, key=lambda d: (d.verdict is Verdict.FAILED, d.started_at), default=None),
        proven=max(proven, key=lambda b: b.taken_at, default=None),
        proved_at=max((facts.proved_at for facts in all_of_them if facts.proved_at), default=None),
        anomalies=tuple(said for facts in all_of_them for said in facts.anomalies)[:_MOST_ANOMALIES],
        odd=frozenset(mark for facts in all_of_them for mark in facts.odd),
    )


def _facts_in(repository: Repository, own: list[Backup], now: datetime) -> Facts:
    past = of_the_past(own, now)
    held = [pair for pair in _drills(repository, past, now) if pair[1].contents_hold]
    proven = max(held, key=lambda pair: pair[0].taken_at, default=None)
    anomalies = open_anomalies(repository, own, now)
    return Facts(
        newest=newest_whole(past, now),
        drill=_newest(repository, past, now),
        proven=proven[0] if proven else None,
        proved_at=max((drill.started_at for _, drill in held), default=None),
        anomalies=tuple(_sentences(anomalies)),
        odd=frozenset(list(map(_mark, (one for odd in anomalies for one in odd.found)))[:_MOST_MARKS]),
    )


def _sentences(anomalies: Sequence[OpenAnomalies]) -> list[str]:
    said = [f"{odd.backup.name}: {one.sentence}" for odd in anomalies for one in odd.found]
    more = len(said) - _MOST_ANOMALIES
    return [*said[:_MOST_ANOMALIES], *([f"and {more} more"] if more > 0 else [])]


def _mark(one: Anomaly) -> str:
    return hashlib.sha256(f"{one.kind} {one.table}".encode()).hexdigest()[:12]


def _drills(repository: Repository, past: list[Backup], now: datetime) -> Iterator[tuple[Backup, Drill]]:
    """Yield what counts of each backup."""
    drilled = [b for b in past if b.has_report][-_LOOKED_AT:]
    known = cache_of(repository).facts(_COUNTS, drilled, lambda b: _drill_in(repository.report(b), b))
    return ((b, known[b.name]) for b in drilled if b.name in known and not is_future(known[b.name].started_at, now))


def _newest(repository: Repository, past: list[Backup], now: datetime) -> Drill | None:
    drilled = [b for b in (last_drilled(past, now),) if b]
    known = cache_of(repository).facts(_NEWEST, drilled, lambda b: _drill_in(repository.newest_report(b), b))
    return next((drill for drill in known.values() if not is_future(drill.started_at, now)), None)


def _drill_in(report: DrillReport | None, backup: Backup) -> Drill | None:
    if report is None:
        return None
    # A report of a clock that was ahead was stored before it says that its drill began.
    started_at = min(report.started_at, max(found.stored_at for found in backup.report_files))
    return Drill(report.backup, report.verdict, report.contents_hold, started_at, report.cause[:1000], report.code)


def observations(
    facts: Facts,
    schedules: Schedules,
    unproven_after: timedelta,
    flows: Collection[str],
    now: datetime,
    known: Mapping[str, Incident] | None = None,
) -> Iterator[Observation]:
    """Return what the bucket and what is `known` show, for those who make backups or drills: `flows`."""
    if "backup" in flows:
        if facts.newest:
            yield Observation(Subject.BACKUP, facts.newest.taken_at, bad=False)
        yield _overdue(facts.newest, schedules, now)
        yield of_anomalies(facts, now)
    if "restore-drill" in flows:
        if facts.drill:
            yield of_drill(facts.drill)
        if unproven_after:
            yield _unproven(_proved_at(facts, (known or {}).get(Subject.UNPROVEN), now), unproven_after, now)


def unproven_limit(schedules: Schedules, given_s: int | None, now: datetime) -> timedelta:
    """Return how long nothing may be proven; zero for as long as you like."""
    return 2 * schedules.drills.gap(now) if given_s is None else timedelta(seconds=given_s)


def reminded(flows: Collection[str]) -> list[Subject]:
    """Return what to remind of those who answer for flows, though no look sees it."""
    return [subject for flow in flows for subject in _REMINDED.get(flow, ())]


def of_anomalies(facts: Facts, now: datetime) -> Observation:
    """Return what is odd about backups, until it is acknowledged or confirmed."""
    return Observation(
        Subject.ANOMALY, now, bool(facts.anomalies), "; ".join(facts.anomalies), severity="warning", lasting=True,
        parts=facts.odd, hint="if this is as it should be: pg-roundtrip acknowledge BACKUP",
    )  # fmt: skip


def of_drill(drill: Drill | DrillReport) -> Observation:
    """Return what a drill shows."""
    return Observation(
        Subject.DRILL, drill.started_at, drill.verdict is not Verdict.PROVEN,
        f"{drill.backup or 'The drill'} is {drill.verdict.value}: {drill.cause}", drill.code,
        severity="error" if drill.verdict is Verdict.FAILED else "warning",
        backup="" if drill.verdict is Verdict.INCONCLUSIVE else drill.backup,
    )  # fmt: skip


def _proved_at(facts: Facts, known: Incident | None, now: datetime) -> datetime | None:
    told = known.good_at if known else None
    moments = [moment for moment in (facts.proved_at, told) if moment and not is_future(moment, now)]
    return max(moments, default=None)


def _overdue(newest: Backup | None, schedules: Schedules, now: datetime) -> Observation:
    """Two slots without a backup are late; a plan that never had one has as long as the first may take."""
    due = schedules.backups
    often = f"one is due every {human_age(due.gap(now))}"
    if newest is None:
        return Observation(
            Subject.OVERDUE,
            now,
            bad=True,
            sentence=f"There is no backup, and {often}",
            lasting=True,
            grace=due.gap(now),
        )
    late = newest.taken_at < due.before(now, 2)
    said = f"The newest backup, {newest.name}, is {human_age(now - newest.taken_at)} old, and {often}"
    return Observation(Subject.OVERDUE, now, late, said if late else "", lasting=True, grace=_GRACE)


def _unproven(proved_at: datetime | None, limit: timedelta, now: datetime) -> Observation:
    if proved_at is None:
        said, late = "No drill has proven a backup", True
    else:
        said, late = f"No drill has proven a backup for {human_age(now - proved_at)}", now - proved_at > limit
    grace = _GRACE if proved_at else limit
    return Observation(Subject.UNPROVEN, now, late, said if late else "", lasting=True, grace=grace)
