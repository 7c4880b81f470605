"""Answer for everybody which backup is the newest: one that a wrong clock named for the future never is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tasks.engine.repository.catalog import Backup

# The clocks of two machines differ by minutes where nobody keeps them right; a backup made a moment ago is no future one.
CLOCKS_DIFFER = timedelta(minutes=10)
WHEN_FUTURE = "correct the clock; one from the future is never the newest, and stays until you remove it by hand"


def is_future(moment: datetime, now: datetime) -> bool:
    """Whether only a wrong clock can have said this."""
    return moment > now + CLOCKS_DIFFER


def from_future(backups: Iterable[Backup], now: datetime) -> list[Backup]:
    """The backups that are named for the future."""
    return [b for b in backups if is_future(b.taken_at, now)]


def of_the_past(backups: Iterable[Backup], now: datetime) -> list[Backup]:
    """The others, oldest first: all that may say how backups are doing."""
    return sorted((b for b in backups if not is_future(b.taken_at, now)), key=_age)


def in_reach(backups: Sequence[Backup], now: datetime) -> list[Backup]:
    """What may be restored, oldest first: those of the past, or, where a wrong clock named all, every one."""
    return of_the_past(backups, now) or sorted(backups, key=_age)


def newest(backups: Sequence[Backup], now: datetime) -> Backup | None:
    """The newest backup; one from the future only when there is no other, for then it is better than none."""
    return next(iter(in_reach(backups, now)[-1:]), None)


def newest_whole(backups: Sequence[Backup], now: datetime) -> Backup | None:
    """The newest backup that shows that backups go on; None when all are from the future, for they show nothing of today.

    One without a manifest may be half a backup, and counts where there are only such.
    """
    past = of_the_past(backups, now)
    return next(iter(([b for b in past if not b.foreign] or past)[-1:]), None)


def told_of_future(backups: Sequence[Backup], now: datetime) -> str:
    """A sentence on backups that are named for the future; empty when there are none."""
    ahead = from_future(backups, now)
    if not ahead:
        return ""
    if len(ahead) == len(backups):
        return "every backup here is named for the future: this machine's clock is behind, or another one was ahead"
    return f"{len(ahead)} of {len(backups)} backups are named for the future: a clock was ahead, or this machine's is behind"


def _age(backup: Backup) -> tuple[datetime, str]:
    return backup.taken_at, backup.name
