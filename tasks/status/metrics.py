"""Prometheus metrics of backups and drills, read from the bucket each time, so that a restart loses nothing.

Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from tasks.clock import utc_now
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import drills, newest_proven
from tasks.engine.repository.key_check import KeyCheck, remembered
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.members import newest_members
from tasks.engine.repository.newest import from_future, is_future, last_drilled, newest_whole, of_the_past
from tasks.engine.repository.of_plan import from_nearest
from tasks.engine.repository.open_anomalies import open_anomalies
from tasks.engine.repository.places import Lag, Places, read_members, read_places
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import folder_of
from tasks.engine.wording import tool_version
from tasks.keys import repository_of
from tasks.status.figures import BackupFigures, DrillFigures, backup_figures, drill_figures

# Each drilled backup costs a request, the first time it is looked at.
_LOOKED_AT = 100
_AT_ONCE = 16
_NEVER = datetime.min.replace(tzinfo=UTC)
Failures = Mapping[tuple[str, str], int]  # (flow, cause) → how many runs


@dataclass(frozen=True)
class Stock:
    """What the bucket contains: every backup, the newest manifest and report, open anomalies; `readable` if it could be read.

    `intervals_s` is how far apart the slots of each flow are at most, as far as this service knows its schedule. `keys` is what
    private keys at hand open, None if there are none. With copies, `places` is what each of them contains, and `behind_limit_s`
    how far behind it may be.
    """

    readable: bool
    backups: tuple[Backup, ...] = ()
    newest: Backup | None = None
    manifest: BackupFigures | None = None
    report: DrillFigures | None = None
    proven: Backup | None = None
    proven_at: datetime | None = None
    intervals_s: Mapping[str, float] = field(default_factory=dict)
    anomalies: int = 0
    members: Mapping[str, Stock] = field(default_factory=dict)
    failed: int = 0
    lags: Mapping[str, Lag] = field(default_factory=dict)
    keys: KeyCheck | None = None
    places: Mapping[str, Stock] = field(default_factory=dict)
    behind_limit_s: float = 0.0


def read_stock(plan: Plan) -> Stock:
    """Read the bucket; one that does not answer is reported as unreadable, not as empty. With copies, one is enough."""
    if plan.databases:
        return _read_server(plan)
    if plan.copies:
        try:
            return _read_places(plan, read_places(plan, utc_now()))
        except PgRoundtripError:
            return Stock(readable=False)
    repository = repository_of(plan)
    return _read(plan, lambda: folder_of(plan, backups=repository.backups()).own)


def _read_places(plan: Plan, places: Places, turns: int = 1) -> Stock:
    """Put together what the places show: drills take them in turn, so none shows them all.

    Of a whole server, each database has its drill in so many `turns`; none is sure to have one if there are 0.
    """
    plans = {place.name: plan.at(place) for place in plan.destinations}
    every_s = _drills_apart_s(plan, turns, utc_now())
    found = {
        name: replace(_read(plans[name], partial(list, folder.own)), intervals_s=every_s.get(name, {}))
        for name, folder in places.folders.items()
    }
    read = [stock for stock in found.values() if stock.readable]
    if not read:
        return Stock(readable=False, lags=places.lags(plan, utc_now()))
    reports = [stock.report for stock in read if stock.report]
    proven = max((s for s in read if s.proven), key=lambda s: _taken_at(s.proven), default=Stock(readable=True))
    return replace(
        max(read, key=lambda stock: _taken_at(stock.newest)),
        report=max(reports, key=lambda report: report.started_at, default=None),
        proven=proven.proven, proven_at=proven.proven_at, intervals_s=_intervals_s(plan, utc_now()), lags=places.lags(plan, utc_now()),
        places=found, behind_limit_s=plan.copying.behind_after_s,
    )  # fmt: skip


def _drills_apart_s(plan: Plan, turns: int, now: datetime) -> dict[str, dict[str, float]]:
    """Return how far apart the drills of each place are: it has its turn, or is the one to be drilled, or is never drilled."""
    where, places = plan.drill.destination, [place.name for place in plan.destinations]
    drilled = [name for name in places if where in ("turn", name) and turns]
    every_s = plan.schedules.drills.gap(now).total_seconds() * turns * len(drilled)
    return {name: {"restore-drill": every_s} for name in drilled}


def _taken_at(backup: Backup | None) -> datetime:
    return backup.taken_at if backup else _NEVER


def _read_server(plan: Plan) -> Stock:
    """Read the bucket of a whole server, each of whose databases has metrics like a plan's."""
    try:
        members, newest = from_nearest(plan, lambda place: newest_members(place, utc_now()))
        places = read_members(plan, utc_now()) if plan.copies else []
    except PgRoundtripError:
        return Stock(readable=False)
    with ThreadPoolExecutor(_AT_ONCE, "stock") as pool:
        if plan.copies:
            turns = {"all": 1, "turn": len(places)}.get(plan.databases.drilled if plan.databases else "", 0)
            stocks = list(pool.map(lambda one: _read_places(one[0], one[1], turns), places))
            read = {own.name: stock for (own, _), stock in zip(places, stocks, strict=True)}
        else:
            stocks = list(pool.map(lambda member: _read(member.plan, partial(list, member.backups)), members))
            read = {member.plan.name: stock for member, stock in zip(members, stocks, strict=True)}
    return Stock(
        readable=True, backups=tuple(b for m in members for b in m.backups), intervals_s=_intervals_s(plan, utc_now()),
        members=read, failed=len(newest.failed) if newest else 0,
    )  # fmt: skip


def _read(plan: Plan, own: Callable[[], list[Backup]]) -> Stock:
    now, repository = utc_now(), repository_of(plan)
    try:
        backups = own()
        past, newest = of_the_past(backups, now), newest_whole(backups, now)
        figures, drilled = backup_figures(repository, newest) if newest else None, last_drilled(past, now)
        if newest and newest.has_manifest and not figures:
            return Stock(readable=False)  # its manifest is there, and can't be read
        proven = newest_proven(repository, [b for b in past if b.has_report][-_LOOKED_AT:])
        return Stock(
            readable=True,
            backups=tuple(backups),
            newest=newest,
            manifest=figures,
            report=drill_figures(repository, drilled) if drilled else None,
            proven=proven,
            proven_at=drills(repository, [proven])[proven.name].began_at if proven else None,
            intervals_s=_intervals_s(plan, now),
            anomalies=sum(len(odd.found) for odd in open_anomalies(repository, backups, now)),
            keys=_opened(repository, backups),
        )
    except PgRoundtripError:
        return Stock(readable=False)


def _opened(repository: Repository, backups: Sequence[Backup]) -> KeyCheck | None:
    """Try the private keys at hand; None if there are none, or if objects can't be read here."""
    if not repository.keys.at_hand or not any(backup.encrypted for backup in backups):
        return None
    try:
        return remembered(repository, backups, repository.keys.identities())
    except PgRoundtripError:
        return None


def _intervals_s(plan: Plan, now: datetime) -> dict[str, float]:
    """Return how far apart slots are; a container for drills doesn't know when backups are due."""
    due = {**({"backup": plan.schedules.backups} if plan.server else {}), "restore-drill": plan.schedules.drills}
    return {flow: schedule.gap(now).total_seconds() for flow, schedule in due.items()}


def exposition(
    plan: str,
    stock: Stock,
    failures: Failures,
    next_runs: Mapping[str, datetime],
    now: datetime,
    *,
    failed_logins: int | None = None,
    untold: Iterable[str] = (),
) -> bytes:
    """Write what is known in Prometheus's text format; what is not known has no line."""
    page = _Page(plan)
    page.put("catalog_readable", "Whether the bucket could be listed.", float(stock.readable))
    page.put("build_info", "The version of pg-roundtrip.", 1, version=tool_version())
    if stock.readable:
        _about_backups(page, stock, now)
    for flow, interval_s in stock.intervals_s.items():
        what = "The longest time between two slots of a flow around now."
        page.put("schedule_interval_seconds", what, interval_s, flow=flow)
    if stock.report:
        _about_drills(page, stock.report, stock, now)
    _about_places(page, stock, now)
    if stock.members:
        page.put("databases", "Databases in the newest set.", len(stock.members))
        page.put("databases_failed", "Databases that the newest set has no backup of.", stock.failed)
    for name, member in stock.members.items():
        _about_member(page.of(name), member, now)
    for (flow, cause), count in sorted(failures.items()):
        page.put("failed_runs", "Failed runs in Prefect's history.", count, flow=flow, cause=cause)
    for flow, at in sorted(next_runs.items()):
        page.put("next_run_timestamp_seconds", "When a flow runs next.", at.timestamp(), flow=flow)
    if failed_logins is not None:
        page.count("failed_logins_total", "Failed logins since the service started.", failed_logins)
    for channel in untold:
        page.put("notifications_failed", "Channels that lack a message, tried ever more seldom.", 1, channel=channel)
    return page.text()


def _about_places(page: _Page, stock: Stock, now: datetime) -> None:
    """Write which places answer and how far each is behind; nothing without copies."""
    for place, lag in stock.lags.items():
        page.put("place_readable", "Whether a place could be listed.", float(not lag.fault), place=place)
        if lag.fault:
            continue
        page.put("place_missing_backups", "Backups that a place lacks and another has.", lag.count, place=place)
        behind_s = max(0.0, (now - lag.since).total_seconds()) if lag.since else 0.0
        what = "How long ago the oldest backup was taken that a place should have by now and lacks; 0 if it has all."
        page.put("place_behind_seconds", what, behind_s, place=place)
        what = "How far behind a place may be before anybody is told."
        page.put("place_behind_limit_seconds", what, stock.behind_limit_s, place=place)
    for place, there in stock.places.items():
        _about_drills_of(page, place, there, now)


def _about_drills_of(page: _Page, place: str, there: Stock, now: datetime) -> None:
    """Write what drills say of one place: what is proven in another says nothing of it."""
    for verdict in Verdict if there.report else ():
        what = "The verdict of the newest drill in a place: 1 for the actual one, 0 for the others."
        is_it = float(there.report is not None and there.report.verdict is verdict)
        page.put("place_drill_verdict", what, is_it, place=place, verdict=verdict.value)
    for every_s in there.intervals_s.values():
        what = "The longest time between two drills of a place, which may take turns with others."
        page.put("place_drill_interval_seconds", what, every_s, place=place)
        if there.proven_at and not is_future(there.proven_at, now):
            what = "When the drill began that proved the newest backup that is PROVEN in a place."
            page.put("place_newest_proof_timestamp_seconds", what, there.proven_at.timestamp(), place=place)


def _about_member(page: _Page, stock: Stock, now: datetime) -> None:
    """Write what is known of one of a server's databases, under the name of its plan."""
    _about_places(page, stock, now)
    page.put("catalog_readable", "Whether the bucket could be listed.", float(stock.readable))
    if stock.readable:
        _about_backups(page, stock, now)
    if stock.report:
        _about_drills(page, stock.report, stock, now)


def _about_backups(page: _Page, stock: Stock, now: datetime) -> None:
    page.put("backups", "Backups in the bucket.", len(stock.backups))
    page.put(
        "stored_bytes", "Size of all backups together.", sum(b.object_bytes + b.globals_bytes for b in stock.backups)
    )
    ahead = len(from_future(stock.backups, now))
    page.put("backups_from_future", "Backups that a wrong clock dated in the future.", ahead)
    if stock.keys:
        page.put("key_check_backups", "Encrypted backups that the keys were tried on.", len(stock.keys.opened))
        opened = len(stock.keys.opened) - len(stock.keys.locked)
        page.put("key_check_opened", "Those of them that a private key at hand opens.", opened)
    if stock.manifest is None or stock.newest is None:
        return
    newest = stock.manifest
    began, ended = _times(stock.newest, newest, now)
    took = max(0.0, (newest.ended_at - newest.started_at).total_seconds())
    page.put("backup_last_success_timestamp_seconds", "When the newest backup was finished.", ended.timestamp())
    page.put("backup_age_seconds", "Age of the newest backup's contents.", max(0.0, (now - began).total_seconds()))
    page.put("backup_duration_seconds", "How long the newest backup took.", took)
    page.put("backup_size_bytes", "Size of the newest backup.", newest.object_bytes)
    page.put("backup_raw_bytes", "Size of the newest backup's SQL.", newest.raw_bytes)
    page.put("backup_rows", "Rows in the newest backup.", newest.rows)
    page.put("backup_warnings", "Warnings of the newest backup.", newest.warnings)
    what = "Anomalies that are neither acknowledged nor confirmed by later backups."
    page.put("backup_anomalies", what, stock.anomalies)
    page.put("backup_tables", "Tables in the newest backup.", newest.tables)


def _times(newest: Backup, made: BackupFigures, now: datetime) -> tuple[datetime, datetime]:
    """When it began and ended: from its manifest, or from its name if the manifest's times are in the future."""
    if is_future(made.started_at, now) or is_future(made.ended_at, now):
        return newest.taken_at, newest.taken_at
    return made.started_at, made.ended_at


def _about_drills(page: _Page, report: DrillFigures, stock: Stock, now: datetime) -> None:
    for verdict in Verdict:
        what = "The newest drill's verdict: 1 for the actual one, 0 for the others."
        page.put("drill_verdict", what, float(report.verdict is verdict), verdict=verdict.value)
    if not is_future(report.started_at, now):
        page.put("drill_timestamp_seconds", "When the newest drill began.", report.started_at.timestamp())
    page.put("drill_duration_seconds", "How long the newest drill took.", report.seconds)
    page.put("drill_restore_seconds", "How long its restore took.", report.restore_seconds)
    if stock.proven:
        what = "When the newest PROVEN backup was taken."
        page.put("newest_proven_timestamp_seconds", what, stock.proven.taken_at.timestamp())
    if stock.proven_at and not is_future(stock.proven_at, now):
        what = "When the drill began that proved the newest PROVEN backup."
        page.put("newest_proof_timestamp_seconds", what, stock.proven_at.timestamp())


class _Counted(Collector):
    """A counter whose value is kept elsewhere."""

    def __init__(self, found: CounterMetricFamily) -> None:
        self._found = found

    def collect(self) -> Iterable[CounterMetricFamily]:
        return [self._found]


class _Page:
    """The metrics of one plan; each gauge is created when it is first set."""

    def __init__(self, plan: str) -> None:
        self._plan, self._registry, self._gauges = plan, CollectorRegistry(), dict[str, Gauge]()

    def of(self, plan: str) -> _Page:
        """Return the same page for the metrics of another plan."""
        other = _Page(plan)
        other._registry, other._gauges = self._registry, self._gauges
        return other

    def put(self, name: str, what: str, value: float, **labels: str) -> None:
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"pg_roundtrip_{name}", what, ["plan", *labels], registry=self._registry)
        self._gauges[name].labels(self._plan, *labels.values()).set(value)

    def count(self, name: str, what: str, value: int) -> None:
        found = CounterMetricFamily(f"pg_roundtrip_{name}", what, labels=["plan"])
        found.add_metric([self._plan], value)
        self._registry.register(_Counted(found))

    def text(self) -> bytes:
        return generate_latest(self._registry)


def count_failures(causes: list[tuple[str, str]]) -> Failures:
    """Count runs by flow and cause."""
    return Counter(causes)
