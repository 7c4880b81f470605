"""Read from the bucket how backups and drills are doing, and say what of that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from blocks.config.plan import Plan, Schedules
from tasks.engine.notify.incidents import Incident, Observation, Subject
from tasks.engine.notify.several import GRACE, MOST_MARKS, combined, mark
from tasks.engine.repository.cache import Kind
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted
from tasks.engine.repository.facts import cache_of
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.members import current_members
from tasks.engine.repository.newest import is_future, last_drilled, newest_whole, of_the_past
from tasks.engine.repository.of_plan import repository_of
from tasks.engine.repository.open_anomalies import OpenAnomalies, open_anomalies
from tasks.engine.repository.places import Lag, Places, read_members, read_places
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import folder_of
from tasks.engine.wording import human_age

# Each drilled backup costs a request, the first time it is looked at.
_LOOKED_AT = 100
# Whoever makes backups answers for these, too.
_REMINDED = {"backup": (Subject.BACKUP, Subject.PRUNE), "restore-drill": (Subject.DRILL,)}
_MOST_ANOMALIES = 5


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

    `failed` is the drill of a backup that FAILED, if no later one is PROVEN. `odd` tells anomalies apart; one that is found again
    in the next backup is the same. Of a whole server, `parts` are those of its databases by their plans' names, each of which
    is to be proven if `proves_each`; `newest` is that of the weakest database, and `proven` that of any. With copies, `places`
    are those of each place that answers, each of which is to be proven if drills take them in turn: `proves_places`.
    """

    newest: Backup | None = None
    drill: Drill | None = None
    failed: Drill | None = None
    proven: Backup | None = None
    proved_at: datetime | None = None
    anomalies: tuple[str, ...] = ()
    odd: frozenset[str] = frozenset()
    parts: Mapping[str, Facts] = field(default_factory=dict)
    proves_each: bool = False
    lags: Mapping[str, Lag] = field(default_factory=dict)
    behind_after_s: int = 0
    places: Mapping[str, Facts] = field(default_factory=dict)
    proves_places: bool = False

    @property
    def drilled_apart(self) -> dict[str, Facts]:
        """What has drills of its own, by name: a proof of one says nothing of another. Empty if there is only one."""
        if not self.parts:
            return dict(self.places)
        each = {name: part.drilled_apart or {"": part} for name, part in self.parts.items()}
        return {f"{n} in {place}" if place else n: facts for n, there in each.items() for place, facts in there.items()}

    def observed(self, see: Callable[[Facts], Observation]) -> Observation:
        """Return what is seen of it; of a whole server, of each of its databases."""
        return combined({name: see(part) for name, part in self.parts.items()}) if self.parts else see(self)


_COUNTS = Kind("told drill", TypeAdapter(Drill), lambda b: b.report_version)
_NEWEST = Kind("newest drill", TypeAdapter(Drill), lambda b: b.newest_report.version if b.newest_report else "")


def read_facts(plan: Plan, now: datetime) -> Facts:
    """Read the bucket, with copies each place that answers; raises StorageError."""
    if plan.databases:
        return together(_parts(plan, now), proves_each=plan.databases.drilled != "newest")
    if plan.copies:
        return _facts_at(plan, read_places(plan, now), now)
    repository = repository_of(plan)
    return _facts_in(repository, folder_of(plan, backups=repository.backups()).own, now)


def _parts(plan: Plan, now: datetime) -> dict[str, Facts]:
    if plan.copies:
        return {own.name: _facts_at(own, places, now) for own, places in read_members(plan, now)}
    return {m.plan.name: _facts_in(repository_of(m.plan), list(m.backups), now) for m in current_members(plan, now)}


def _facts_at(plan: Plan, places: Places, now: datetime) -> Facts:
    """Put together what the places show: drills take them in turn, so none shows them all."""
    plans = {place.name: plan.at(place) for place in plan.destinations}
    each = {
        name: _facts_in(repository_of(plans[name]), list(folder.own), now) for name, folder in places.folders.items()
    }
    found = list(each.values())
    first = next((facts for facts in found if facts.newest), found[0])
    return replace(
        first,
        newest=max((f.newest for f in found if f.newest), key=lambda b: b.taken_at, default=None),
        drill=max((f.drill for f in found if f.drill), key=lambda d: d.started_at, default=None),
        failed=max((f.failed for f in found if f.failed), key=lambda d: d.started_at, default=None),
        proven=max((f.proven for f in found if f.proven), key=lambda b: b.taken_at, default=None),
        proved_at=max((f.proved_at for f in found if f.proved_at), default=None),
        lags=places.lags(plan, now),
        behind_after_s=plan.copying.behind_after_s,
        places=each,
        proves_places=plan.drill.destination == "turn",
    )


def together(parts: Mapping[str, Facts], *, proves_each: bool) -> Facts:
    """Return how a whole server is doing."""
    newest = [part.newest for part in parts.values() if part.newest]
    proven = [part.proven for part in parts.values() if part.proven]
    return Facts(
        newest=min(newest, key=lambda b: b.taken_at) if newest and len(newest) == len(parts) else None,
        proven=max(proven, key=lambda b: b.taken_at, default=None),
        proved_at=max((part.proved_at for part in parts.values() if part.proved_at), default=None),
        parts=parts,
        proves_each=proves_each,
    )


def _facts_in(repository: Repository, own: list[Backup], now: datetime) -> Facts:
    past = of_the_past(own, now)
    drills = list(_drills(repository, past, now))
    held = [pair for pair in drills if pair[1].contents_hold]
    proven = max(held, key=lambda pair: pair[0].taken_at, default=None)
    anomalies = open_anomalies(repository, own, now)
    marks = [mark(one.kind, one.table) for odd in anomalies for one in odd.found]
    return Facts(
        newest=newest_whole(past, now),
        drill=_newest(repository, past, now),
        failed=_failed([drill for _, drill in drills]),
        proven=proven[0] if proven else None,
        proved_at=max((drill.started_at for _, drill in held), default=None),
        anomalies=tuple(_sentences(anomalies)),
        odd=frozenset(marks[:MOST_MARKS]),
    )


def _failed(drills: Sequence[Drill]) -> Drill | None:
    """Return the newest backup's drill that says anything, if that FAILED: an older one that is PROVEN doesn't end it."""
    said = next((drill for drill in reversed(drills) if drill.verdict is not Verdict.INCONCLUSIVE), None)
    return said if said and said.verdict is Verdict.FAILED else None


def _sentences(anomalies: Sequence[OpenAnomalies]) -> list[str]:
    said = [f"{odd.backup.name}: {one.sentence}" for odd in anomalies for one in odd.found]
    more = len(said) - _MOST_ANOMALIES
    return [*said[:_MOST_ANOMALIES], *([f"and {more} more"] if more > 0 else [])]


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
        yield facts.observed(lambda part: _overdue(part.newest, schedules, now))
        yield of_anomalies(facts, now)
        if facts.lags or any(part.lags for part in facts.parts.values()):
            yield facts.observed(lambda part: of_copies(part, now))
    if "restore-drill" in flows:
        yield from of_drills(facts)
        if unproven_after:
            yield _unproven_in(facts, (known or {}).get(Subject.UNPROVEN), unproven_after, now)


def unproven_limit(plan: Plan, facts: Facts, given_s: int | None, now: datetime) -> timedelta:
    """Return how long nothing may be proven, or of a whole server no database; zero for as long as you like."""
    in_turn = plan.databases is not None and plan.databases.drilled == "turn"
    turns = max(1, len(facts.parts)) if in_turn else 1
    if plan.drill.destination == "turn":
        turns *= len(plan.destinations)
    return 2 * turns * plan.schedules.drills.gap(now) if given_s is None else timedelta(seconds=given_s)


def reminded(flows: Collection[str]) -> list[Subject]:
    """Return what to remind of those who answer for flows, though no look sees it."""
    return [subject for flow in flows for subject in _REMINDED.get(flow, ())]


def of_anomalies(facts: Facts, now: datetime) -> Observation:
    """Return what is odd about backups, until it is acknowledged or confirmed."""
    return facts.observed(lambda part: _anomalies(part, now))


def _anomalies(facts: Facts, now: datetime) -> Observation:
    return Observation(
        Subject.ANOMALY, now, bool(facts.anomalies), "; ".join(facts.anomalies), severity="warning", lasting=True,
        parts=facts.odd, hint="if this is as it should be: pg-roundtrip acknowledge BACKUP",
    )  # fmt: skip


def of_copies(facts: Facts, now: datetime) -> Observation:
    """Return which places lack backups for too long; one that doesn't answer, or is new, has as long from now on."""
    late = {name: lag for name, lag in facts.lags.items() if lag.late and not lag.new}
    doubtful = {name: lag for name, lag in facts.lags.items() if lag.fault or (lag.late and lag.new)}
    bad = late or doubtful
    return Observation(
        Subject.COPIES, now, bool(bad), "; ".join(_said_of(name, lag, now) for name, lag in bad.items()),
        severity="warning", lasting=True, grace=GRACE if late else timedelta(seconds=facts.behind_after_s),
        parts=frozenset(late), hint="pg-roundtrip copy says what is wrong, and copies what it can",
    )  # fmt: skip


def _said_of(name: str, lag: Lag, now: datetime) -> str:
    if lag.fault:
        return f"{name} can't be read: {lag.fault}"
    oldest = f", the oldest of {human_age(now - lag.since)} ago" if lag.since else ""
    return f"{name} lacks {counted(lag.count, 'backup')}{oldest}"


def of_drill(drill: Drill | DrillReport) -> Observation:
    """Return what a drill shows."""
    return Observation(
        Subject.DRILL, drill.started_at, drill.verdict is not Verdict.PROVEN,
        f"{drill.backup or 'The drill'} is {drill.verdict.value}: {drill.cause}", drill.code,
        severity="error" if drill.verdict is Verdict.FAILED else "warning",
        backup="" if drill.verdict is Verdict.INCONCLUSIVE else drill.backup,
    )  # fmt: skip


def of_drills(facts: Facts) -> list[Observation]:
    """Return what drills show; what those of a database or a place show stays while others are drilled.

    While a place can't be read, nobody knows that all is good.
    """
    apart = facts.drilled_apart
    if not apart:
        return [of_drill(facts.drill)] if facts.drill else []
    seen = {n: replace(of_drill(p.failed or p.drill), at=p.drill.started_at) for n, p in apart.items() if p.drill}
    found = [combined(seen)] if seen else []
    away = any(lag.fault for part in (facts, *facts.parts.values()) for lag in part.lags.values())
    return [one for one in found if one.bad or not away]


def _unproven_in(facts: Facts, known: Incident | None, limit: timedelta, now: datetime) -> Observation:
    """What was told of a proof doesn't say of which database or place: it counts only if the bucket has no reports."""
    apart = _proven_apart(facts)
    if any(part.drill for part in apart.values()):
        return combined({name: _unproven(part.proved_at, limit, now) for name, part in apart.items()})
    return _unproven(_proved_at(facts, known, now), limit, now)


def _proven_apart(facts: Facts) -> dict[str, Facts]:
    """Return what is to be proven by itself: places that take turns, and databases unless one of them is enough."""
    if facts.proves_places or (facts.proves_each and any(part.proves_places for part in facts.parts.values())):
        return facts.drilled_apart
    return dict(facts.parts) if facts.proves_each else {}


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
    return Observation(Subject.OVERDUE, now, late, said if late else "", lasting=True, grace=GRACE)


def _unproven(proved_at: datetime | None, limit: timedelta, now: datetime) -> Observation:
    if proved_at is None:
        said, late = "No drill has proven a backup", True
    else:
        said, late = f"No drill has proven a backup for {human_age(now - proved_at)}", now - proved_at > limit
    grace = GRACE if proved_at else limit
    return Observation(Subject.UNPROVEN, now, late, said if late else "", lasting=True, grace=grace)
