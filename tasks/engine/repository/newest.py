"""Define which backup is the newest, in one place: never one that a wrong clock dated in the future."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tasks.engine.repository.catalog import Backup

# Unsynchronized clocks differ by minutes; a backup made a moment ago must not count as one from the future.
CLOCKS_DIFFER = timedelta(minutes=10)
WHEN_FUTURE = "correct the clock; a backup from the future is never the newest, and stays until you remove it by hand"


def is_future(moment: datetime, now: datetime) -> bool:
    """Whether a moment can only come from a wrong clock."""
    return moment > now + CLOCKS_DIFFER


def from_future(backups: Iterable[Backup], now: datetime) -> list[Backup]:
    """Return the backups dated in the future."""
    return [b for b in backups if is_future(b.taken_at, now)]


def of_the_past(backups: Iterable[Backup], now: datetime) -> list[Backup]:
    """Return the others, oldest first: only they can show how backups are doing."""
    return sorted((b for b in backups if not is_future(b.taken_at, now)), key=_age)


def in_reach(backups: Sequence[Backup], now: datetime) -> list[Backup]:
    """Return the restorable backups, oldest first: those of the past, or all if a wrong clock dated every one."""
    return of_the_past(backups, now) or sorted(backups, key=_age)


def newest(backups: Sequence[Backup], now: datetime) -> Backup | None:
    """Return the newest backup; one from the future only if there is no other, because it is better than none."""
    return next(iter(in_reach(backups, now)[-1:]), None)


def newest_whole(backups: Sequence[Backup], now: datetime) -> Backup | None:
    """Return the newest backup that shows that backups still run; None if all are from the future, which show nothing.

    A backup without a manifest may be incomplete, so it counts only if there are no others.
    """
    past = of_the_past(backups, now)
    return next(iter(([b for b in past if not b.foreign] or past)[-1:]), None)


def of_selection(backups: Iterable[Backup], selection: str) -> list[Backup]:
    """Return the backups that leave out the same, by a selection's fingerprint; nothing else can be compared."""
    return [b for b in backups if (b.origin.selection if b.origin else "") == selection]


def last_drilled(backups: Iterable[Backup], now: datetime) -> Backup | None:
    """Return the backup that was drilled last; by a drill from the future only if there is no other."""
    drilled = [(found.moment, _age(b), b) for b in backups if (found := b.newest_report)]
    past = [each for each in drilled if not is_future(each[0], now)]
    return max(past or drilled, key=lambda each: each[:2])[2] if drilled else None


def told_of_future(backups: Sequence[Backup], now: datetime) -> str:
    """Return a sentence about backups dated in the future; empty if there are none."""
    ahead = from_future(backups, now)
    if not ahead:
        return ""
    if len(ahead) == len(backups):
        return "every backup here is dated in the future: this machine's clock is behind, or another one was ahead"
    which = f"{len(ahead)} of {len(backups)} backups"
    return f"{which} are dated in the future: a clock was ahead, or this machine's is behind"


def _age(backup: Backup) -> tuple[datetime, str]:
    return backup.taken_at, backup.name
