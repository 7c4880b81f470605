"""Decide which backups to remove, from dates and verdicts only: this module never touches a bucket or a clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from tasks.engine.repository.catalog import Backup, in_order
from tasks.engine.repository.checks import counted
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.newest import from_future, in_reach, of_the_past
from tasks.engine.repository.unsettled import unsettled

# Also the longest an upload may take: a run that has not finished by then is given up on.
UNFINISHED = timedelta(days=1)
# The storage's clock and ours differ by seconds; if it is more, one of them is wrong.
_SKEW = timedelta(hours=1)
# The size of gzip's output for empty input: in another tool's pipe, the dump before gzip had died.
_EMPTY_GZIP_BYTES = 20
_STOPPED = "no recent backup exists"
# How each grandfather-father-son rule names the period that one backup represents, in UTC; weeks are ISO weeks.
_PERIODS: dict[str, Callable[[datetime], str]] = {
    "daily": lambda moment: f"{moment:%Y-%m-%d}",
    "weekly": lambda moment: "{}-W{:02}".format(*moment.isocalendar()),
    "monthly": lambda moment: f"{moment:%Y-%m}",
    "yearly": lambda moment: f"{moment:%Y}",
}


@dataclass(frozen=True)
class Policy:
    """What to keep: every backup of some days, and one for each of some periods; a rule that is None keeps nothing.

    `interval_s` is the time between two backups. `even_if_stale` removes backups even though new ones have stopped.
    Raises ValueError for a number below one: keeping nothing is never intended.
    """

    retention_days: int
    interval_s: int
    keep_last: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    even_if_stale: bool = False

    def __post_init__(self) -> None:
        if min(self.retention_days, *(n for n in (self.keep_last, *self.periods.values()) if n is not None), 1) < 1:
            raise ValueError("retention must be at least one day, and a rule must keep at least one backup")

    @property
    def periods(self) -> dict[str, int | None]:
        """For how many days, weeks, months and years one backup each is kept."""
        return {name: getattr(self, f"keep_{name}") for name in _PERIODS}

    @property
    def recent(self) -> timedelta:
        """The maximum age at which the newest backup still shows that backups work."""
        return timedelta(seconds=2 * self.interval_s)


@dataclass(frozen=True)
class Decision:
    """Whether one backup is kept or removed, and why, in words for people.

    `matters` is whether the decision on another one could rest on it: one that is only kept for its age displaces none.
    `due` is one that retention no longer keeps, but that stays for now.
    """

    backup: Backup
    keep: bool
    reasons: tuple[str, ...]
    matters: bool = False
    due: bool = False

    @property
    def reason(self) -> str:
        """All reasons on one line."""
        return ", ".join(self.reasons)


@dataclass(frozen=True)
class PrunePlan:
    """The decision on every backup, oldest first, and a warning if the policy was not applied.

    `failed` is how many could not be deleted though they should have been; `spared` is how many of the kept ones belong
    to others. `orphans` are the names of backups of which only roles and settings are left.
    """

    decisions: tuple[Decision, ...]
    warning: str = ""
    failed: int = 0
    spared: int = 0
    orphans: tuple[str, ...] = ()

    @property
    def removals(self) -> list[Backup]:
        """The backups to remove, oldest first."""
        return [d.backup for d in self.decisions if not d.keep]

    @property
    def due(self) -> list[Backup]:
        """The backups that are no longer kept, but can't be removed now, oldest first."""
        return [d.backup for d in self.decisions if d.due]

    @property
    def grounds(self) -> list[Backup]:
        """The backups to remove and those that removing them rests on; none if nothing is removed."""
        return [d.backup for d in self.decisions if d.matters] if self.removals else []

    def remaining(self, *, dry_run: bool = False) -> list[Backup]:
        """Return the backups that remain once the plan is carried out, oldest first; all of them in a dry run."""
        return [d.backup for d in self.decisions if d.keep or dry_run]


def decide(backups: Sequence[Backup], policy: Policy, now: datetime) -> PrunePlan:
    """Apply the retention policy to backups in any order; a backup that any rule keeps is kept.

    Whatever the policy, keep the newest backup, the newest PROVEN one and those from the future; and remove nothing
    while the newest backup is older than two intervals: once backups have stopped, the old ones are all there is.
    A backup that failed a drill and an object that may be incomplete fill no period, and are not evidence that backups
    work.
    """
    ordered = sorted(backups, key=lambda b: (b.taken_at, b.name))
    reasons: dict[str, list[str]] = {backup.name: [] for backup in ordered}
    for backup, why in (*_protected(ordered, now), *_kept_by_policy(ordered, policy, now)):
        if why not in reasons[backup.name]:
            reasons[backup.name].append(why)
    warning = "" if policy.even_if_stale else _stopped(_evidence(ordered, now), policy, now)
    decisions = []
    for backup in ordered:
        why_kept = reasons[backup.name] or ([_STOPPED] if warning else [])
        reason = tuple(why_kept or [_why_removed(backup, policy, now)])
        decisions.append(Decision(backup, bool(why_kept), reason, matters=why_kept != [_within(policy)]))
    return PrunePlan(tuple(decisions), warning if any(d.reasons == (_STOPPED,) for d in decisions) else "")


def decide_apart(groups: Iterable[Sequence[Backup]], policy: Policy, now: datetime) -> PrunePlan:
    """Decide for each database separately: the backups of another make no difference."""
    plans = [decide(group, policy, now) for group in groups]
    decisions = sorted((d for p in plans for d in p.decisions), key=lambda d: (d.backup.taken_at, d.backup.name))
    return PrunePlan(tuple(decisions), next((p.warning for p in plans if p.warning), ""))


def _protected(ordered: Sequence[Backup], now: datetime) -> Iterator[tuple[Backup, str]]:
    """Yield the backups that no policy removes, each with the reason; `ordered` is oldest first."""
    finished = [b for b in ordered if not b.unfinished]
    newest = in_reach(finished, now)[-1:]
    yield from ((b, "the newest backup") for b in newest)
    ours = in_reach([b for b in finished if not b.foreign], now)[-1:]
    yield from ((b, "the newest backup with a manifest") for b in ours if b not in newest)
    if (shown := _evidence(ordered, now)) and shown not in (*newest, *ours):
        yield shown, "the newest sound backup"
    yield from _proofs(ordered, now)
    yield from _odd(ordered, now)
    yield from ((b, "from the future: a clock was wrong") for b in from_future(ordered, now))
    yield from ((b, "may be unfinished") for b in ordered if b.unfinished and _fresh(b, now))


def _proofs(ordered: Sequence[Backup], now: datetime) -> Iterator[tuple[Backup, str]]:
    """Yield the newest PROVEN backup of what is backed up now and, while there is none, what proved or held more before.

    A backup never stands in for one of another selection. One from the future is kept anyway, and would remain the newest
    until the date it was given.
    """
    by_selection = defaultdict[str | None, list[Backup]](list)
    for backup in reversed([b for b in of_the_past(ordered, now) if not b.unfinished and not b.foreign]):
        by_selection[_selection(backup)].append(backup)
    proven = [b for b in reversed(of_the_past(ordered, now)) if b.proven]
    current = next(iter(by_selection), None)
    if newest := [b for b in proven if b.foreign or _selection(b) == current][:1]:
        yield newest[0], "the newest PROVEN backup"
    since = max((b.taken_at for s, kept in by_selection.items() if s != current for b in kept), default=None)
    if any(_selection(b) == current and (since is None or b.taken_at > since) for b in proven):
        return
    for selection, backups in by_selection.items():
        shown = next((b for b in backups if b.proven), None) or next(filter(_sound, backups), None)
        if shown and selection != current:
            yield shown, "the newest of another selection, until one of the present one is PROVEN"


def _selection(backup: Backup) -> str | None:
    """Return what tells the selection of a backup; None if its manifest does not say."""
    return backup.origin.selection if backup.origin else None


def _odd(ordered: Sequence[Backup], now: datetime) -> Iterator[tuple[Backup, str]]:
    """Yield the backups with open anomalies, and of each the last one before: it may be the only one with everything."""
    sound = [b for b in ordered if not b.foreign and not b.unfinished and _sound(b)]
    for odd in unsettled(ordered, now):
        yield odd, "its anomalies are not acknowledged"
        before = [b for b in sound if b.taken_at < odd.taken_at and _selection(b) == _selection(odd)][-1:]
        yield from ((b, f"the last one before the anomalies of {odd.name}") for b in before)


def _evidence(ordered: Sequence[Backup], now: datetime) -> Backup | None:
    """Return the newest backup that shows that backups work; a foreign one only if none has a manifest.

    A backup dated in the future got its name from a wrong clock, and shows nothing about today.
    """
    past = [b for b in of_the_past(ordered, now) if not b.unfinished]
    ours = [b for b in past if not b.foreign]
    return next((b for b in reversed(ours or past) if _sound(b)), None)


def _sound(backup: Backup) -> bool:
    """Whether nothing is known to be wrong with it."""
    return backup.verdict is not Verdict.FAILED and backup.object_bytes > _EMPTY_GZIP_BYTES


def have_stopped(backups: Sequence[Backup], policy: Policy, now: datetime) -> bool:
    """Whether nothing at all may be removed, because no recent backup shows that backups still work."""
    return not policy.even_if_stale and bool(_stopped(_evidence(in_order(backups), now), policy, now))


def _stopped(shown: Backup | None, policy: Policy, now: datetime) -> str:
    """Return a warning that backups have stopped; empty while they still run."""
    what = "no sound backup exists"
    if shown:
        # If our clock is ahead, every backup but the one just made looks old; the storage's clock gives that away.
        wrong = shown.stored_at is not None and shown.taken_at - shown.stored_at > _SKEW
        age = now - (shown.stored_at if wrong and shown.stored_at else shown.taken_at)
        if age <= policy.recent:
            return ""
        what = f"the newest backup is {age.total_seconds() / 3600:.0f} h old, more than two intervals"
    return f"{what}: nothing is removed; `pg-roundtrip prune --even-if-stale` removes backups anyway"


def _kept_by_policy(ordered: Sequence[Backup], policy: Policy, now: datetime) -> Iterator[tuple[Backup, str]]:
    limit = timedelta(days=policy.retention_days)
    finished = [b for b in ordered if not b.unfinished]
    yield from ((b, _within(policy)) for b in finished if now - b.taken_at <= limit)
    sound = [b for b in reversed(of_the_past(finished, now)) if _sound(b)]
    # Separately: an incomplete backup, one by choice or one that has lost its marks, must not take the place of another.
    groups = defaultdict[tuple[bool, str | None], list[Backup]](list)
    for backup in sound:
        groups[backup.foreign, _selection(backup)].append(backup)
    for group in groups.values():
        yield from ((b, f"one of the last {policy.keep_last}") for b in group[: policy.keep_last or 0])
        for rule, count in policy.periods.items():
            newest: dict[str, Backup] = {}
            for backup in group:
                newest.setdefault(_PERIODS[rule](backup.taken_at), backup)
            yield from ((b, f"{rule} {period}") for period, b in islice(newest.items(), count or 0))


def _within(policy: Policy) -> str:
    return f"within {counted(policy.retention_days, 'day')}"


def _why_removed(backup: Backup, policy: Policy, now: datetime) -> str:
    if backup.unfinished:
        return "unfinished: its manifest was never written"
    return f"{(now - backup.taken_at).days} days old, limit {policy.retention_days}"


def _fresh(backup: Backup, now: datetime) -> bool:
    """Whether its run may still be going: a dump can take a day, so what counts is when the object was stored."""
    return now - max(backup.taken_at, backup.stored_at or backup.taken_at) <= UNFINISHED
