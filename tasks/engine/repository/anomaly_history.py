"""Choose the backups that a new one is compared with, and read what their manifests say."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from tasks.engine.repository.anomaly_facts import BackupFacts, facts_of, totals_of
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import manifest_facts, whole_facts
from tasks.engine.repository.newest import of_the_past
from tasks.engine.repository.repository import Repository

# The newest backups, one for each day before, one for each week before: so that daily and weekly rhythms are known.
_NEWEST, _DAYS, _WEEKS, _APART = 8, 14, 8, timedelta(hours=12)
# And those with anomalies: what was lost is usual if somebody acknowledged it, and must not pass for usual otherwise.
_ODD = 8
# A month of manifests of 500 KB; larger ones are read as far back as this goes.
_READ_BYTES = 16 << 20
_AT_ONCE = 8


def history_of(backups: Iterable[Backup], moment: datetime) -> list[Backup]:
    """Return the backups to compare one of this moment with, oldest first: at most 38, and few if manifests are large.

    One of this very second, or of the next ones, was taken before: a name that is taken moves to the next second.
    """
    past = of_the_past((b for b in backups if b.has_manifest), moment)
    moments, wanted = [b.taken_at for b in past], {b.name: b for b in reversed(past[-_NEWEST:])}
    for age in (timedelta(days=n) for n in (*range(1, _DAYS + 1), *range(21, 7 * _WEEKS + 1, 7))):
        place = bisect_left(moments, moment - age)
        around = [b for b in past[max(0, place - 1) : place + 1] if abs(moment - age - b.taken_at) <= _APART]
        for nearest in sorted(around, key=lambda b: abs(moment - age - b.taken_at))[:1]:
            wanted.setdefault(nearest.name, nearest)
    odd = [b for b in past if b.origin and b.origin.anomalous]
    wanted |= {b.name: b for b in odd[-_ODD:] if moment - b.taken_at <= timedelta(weeks=_WEEKS)}
    chosen, size_bytes = [], 0
    for backup in wanted.values():
        size_bytes += backup.manifest_bytes
        if size_bytes <= _READ_BYTES:
            chosen.append(backup)
    return sorted(chosen, key=lambda b: (b.taken_at, b.name))


def read_facts(repository: Repository, backups: Sequence[Backup]) -> list[BackupFacts]:
    """Read the manifests of some backups; those that are unreadable, or gone by now, are left out.

    Raises KeyMissing if one is sealed for others.
    """
    return _read(
        backups, lambda b: whole_facts(repository, b, lambda made: facts_of(made, acknowledged=b.acknowledged))
    )


def read_totals(repository: Repository, backups: Sequence[Backup]) -> list[BackupFacts]:
    """Read what these manifests say in the open: totals, for whoever has no key."""
    return _read(backups, lambda b: manifest_facts(repository, b, totals_of))


def _read(backups: Sequence[Backup], read: Callable[[Backup], BackupFacts | None]) -> list[BackupFacts]:
    with ThreadPoolExecutor(_AT_ONCE, "history") as pool:
        return [facts for facts in pool.map(read, backups) if facts]
