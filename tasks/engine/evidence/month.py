"""Work out what a month shows: every backup, drill and restore, and whether the targets were met; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

from blocks.config.evidence import Targets
from tasks.engine.evidence.certificate import Certificate
from tasks.engine.evidence.chain import Chain
from tasks.engine.evidence.sound import certified_flaws, flaw_of
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import globals_proven
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.names import taken_at

Met = Literal["met", "not met", ""]


@dataclass(frozen=True)
class Period:
    """From the first moment of a month to its end, or to now if that comes first."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


@dataclass(frozen=True)
class BackupLine:
    """One backup: whether it is still there, and how long after the one before it was taken.

    One with a flaw counts for no target.
    """

    at: datetime
    name: str
    object_bytes: int
    kept: bool
    flaw: str = ""
    gap: timedelta | None = None
    rpo: Met = ""


@dataclass(frozen=True)
class DrillLine:
    """One drill; without a certificate, only the report beside the backup tells of it.

    `cause` is why it proved nothing or, if it did, whether roles and settings were, too, and what the backup was taken without.
    """

    at: datetime
    backup: str
    verdict: Verdict
    cause: str
    restore_s: float
    rto: Met
    certificate: str = ""


@dataclass(frozen=True)
class RestoreLine:
    """One restore that was certified."""

    at: datetime
    backup: str
    target: str
    compared: bool
    restore_s: float
    rto: Met
    certificate: str


@dataclass(frozen=True)
class Outage:
    """Why there was no backup for a while, as far as people were told; until None if it lasts."""

    since: datetime
    until: datetime | None
    failures: int
    reason: str


@dataclass(frozen=True)
class Gap:
    """A time without a backup that is longer than the target allows, and the outages in it, which explain it."""

    after: str
    start: datetime
    end: datetime
    before: str
    outages: tuple[Outage, ...] = ()

    @property
    def length(self) -> timedelta:
        """How long it was."""
        return self.end - self.start


@dataclass(frozen=True)
class Month:
    """All that the report shows."""

    name: str
    plan: str
    period: Period
    targets: Targets
    backups: tuple[BackupLine, ...]
    drills: tuple[DrillLine, ...]
    restores: tuple[RestoreLine, ...]
    gaps: tuple[Gap, ...]
    longest_gap: timedelta | None
    chain: Chain

    @property
    def rpo(self) -> Met:
        """Whether no gap was longer than the target."""
        return _met(self.targets.rpo_s, self.longest_gap.total_seconds()) if self.longest_gap else ""

    @property
    def rto(self) -> Met:
        """Whether a restore was proven, and each took no longer than the target."""
        times = [d.rto for d in self.drills if d.rto] + [r.rto for r in self.restores]
        return ("not met" if "not met" in times else "met") if any(times) else ""


def period_of(month: str, now: datetime) -> Period:
    """Return the period of a month given as `2026-11`; raises ValueError for anything else, and for the future."""
    start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    if start >= now:
        raise ValueError("the month has not begun")
    end = (start + timedelta(days=32)).replace(day=1)
    return Period(start, min(end, now))


def report_on(
    name: str, plan: str, period: Period, targets: Targets, *, chain: Chain, backups: Sequence[Backup],
    reports: Mapping[str, DrillReport],
) -> Month:  # fmt: skip
    """Report on a month from the certificates, the backups that are there now, looked into, and their reports by file."""
    certified = [(link.file, certificate) for link, certificate in chain.certificates]
    known = _known(backups, [certificate for _, certificate in certified])
    gaps = list(_gaps([b for b in known if not b.flaw], period))
    too_long = [gap for gap in gaps if _met(targets.rpo_s, gap.length.total_seconds()) == "not met"]
    return Month(
        name, plan, period, targets,
        backups=tuple(_in_period(known, period, targets)),
        drills=tuple(sorted(_drills(certified, reports, period, targets), key=lambda d: (d.at, d.backup))),
        restores=tuple(sorted(_restores(certified, period, targets), key=lambda r: (r.at, r.backup))),
        gaps=tuple(too_long), longest_gap=max((gap.length for gap in gaps), default=None), chain=chain,
    )  # fmt: skip


def _known(backups: Iterable[Backup], certificates: Sequence[Certificate]) -> list[BackupLine]:
    """Return every backup that is there, or that a certificate lists, oldest first."""
    sizes = {listed.name: listed.object_bytes for made in certificates for listed in made.backups}
    there, flaws = {b.name: b for b in backups}, certified_flaws(certificates)
    flaws |= {b.name: flaw for b in there.values() if (flaw := flaw_of(b)) or b.verdict}
    sizes |= {b.name: b.object_bytes for b in there.values()}
    lines = [
        BackupLine(at, name, size, name in there, flaws.get(name, ""))
        for name, size in sizes.items()
        if (at := taken_at(name))
    ]
    return sorted(lines, key=lambda line: (line.at, line.name))


def _in_period(known: Iterable[BackupLine], period: Period, targets: Targets) -> Iterator[BackupLine]:
    """Yield the backups of the period, with the time since the one before that counts."""
    before: datetime | None = None
    for line in known:
        gap = line.at - before if before and not line.flaw else None
        if line.at in period:
            yield replace(line, gap=gap, rpo=_met(targets.rpo_s, gap.total_seconds()) if gap is not None else "")
        before = before if line.flaw else line.at


def _gaps(known: Iterable[BackupLine], period: Period) -> Iterator[Gap]:
    """Yield the times between backups that reach into the period, and the time from the last one to its end.

    Before the first backup that is known of, nothing was promised yet. If there is none at all, the period is a gap.
    """
    past = [(line.at, line.name) for line in known if line.at < period.end]
    if not past:
        yield Gap("", period.start, period.end, "")
    for (start, after), (end, before) in pairwise(past):
        if end > period.start:
            yield Gap(after, start, end, before)
    if past:
        yield Gap(past[-1][1], past[-1][0], period.end, "")


def explained(month: Month, outages: Sequence[Outage]) -> Month:
    """Return the report with the outages that explain its gaps."""
    return replace(month, gaps=tuple(replace(gap, outages=tuple(_within(gap, outages))) for gap in month.gaps))


def _within(gap: Gap, outages: Iterable[Outage]) -> Iterator[Outage]:
    return (told for told in outages if told.since < gap.end and (told.until is None or told.until > gap.start))


def _drills(
    certified: Iterable[tuple[str, Certificate]], reports: Mapping[str, DrillReport], period: Period, targets: Targets
) -> Iterator[DrillLine]:
    """Yield each drill once: from its certificate, or else from its report."""
    told = set()
    for file, made in certified:
        if made.drill and made.started_at in period and not (made.drill.report and made.drill.report in told):
            told.add(made.drill.report)
            said = made.drill.cause or _of_proof(made.backup.without, made.drill.globals_proven)
            seconds = made.drill.restore_ms / 1000
            yield _drill(made.started_at, made.backup.name, made.drill.verdict, said, seconds, targets, file)
    for file, report in reports.items():
        if file not in told and report.started_at in period:
            said = report.cause or _of_proof(report.without, globals_proven(report.checks))
            yield _drill(report.started_at, report.backup, report.verdict, said, report.restore_seconds, targets)


def _of_proof(without: str | None, around: bool) -> str:
    beside = "with its roles and settings" if around else ""
    return ", ".join(filter(None, (beside, f"without {without}" if without else "")))


def _drill(
    at: datetime, backup: str, verdict: Verdict, cause: str, restore_s: float, targets: Targets, file: str = ""
) -> DrillLine:
    rto: Met = _met(targets.rto_s, restore_s) if verdict is Verdict.PROVEN else ""
    return DrillLine(at, backup, verdict, cause, restore_s, rto, file)


def _restores(certified: Iterable[tuple[str, Certificate]], period: Period, targets: Targets) -> Iterator[RestoreLine]:
    """Yield each restore once, even if it was signed twice."""
    told = set()
    for file, made in certified:
        run = made.plan, made.backup.name, made.started_at, made.ended_at, made.restore
        if made.restore and made.started_at in period and run not in told:
            told.add(run)
            seconds = made.restore.restore_ms / 1000
            rto = _met(targets.rto_s, seconds)
            yield RestoreLine(
                made.started_at, made.backup.name, made.restore.target, made.restore.compared, seconds, rto, file
            )


def _met(target_s: int | None, seconds: float) -> Met:
    if target_s is None:
        return ""
    return "met" if seconds <= target_s else "not met"
