"""Define which set is the newest, in one place: never one that a wrong clock dated in the future. All of it is pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.names import set_taken_at
from tasks.engine.repository.newest import is_future


def sets_from_future(names: Iterable[str], now: datetime) -> list[str]:
    """Return the sets dated in the future."""
    return [name for name in names if (at := set_taken_at(name)) and is_future(at, now)]


def newest_first(names: Sequence[str], now: datetime) -> list[str]:
    """Return sets, the newest first; those from the future only if there are no others."""
    ahead = set(sets_from_future(names, now))
    return sorted([name for name in names if name not in ahead] or names, reverse=True)


def perhaps_forgotten(names: Sequence[str], backups: Mapping[str, Sequence[Backup]]) -> list[str]:
    """Return the sets that must be read to know whether anything of them is left.

    A set's backups begin after it, and before the next set, unless two runs met: most sets need not be read.
    """
    taken = sorted(backup.taken_at for here in backups.values() for backup in here)
    moments = sorted((at, name) for name in names if (at := set_taken_at(name)))
    ends = [*(at for at, _ in moments[1:]), None]
    return [
        name
        for (at, name), end in zip(moments, ends, strict=False)  # of no sets, an end is left
        if bisect_left(taken, at) == (len(taken) if end is None else bisect_left(taken, end))
    ]


def told_of_future_sets(names: Sequence[str], now: datetime) -> str:
    """Return a sentence about sets dated in the future; empty if there are none."""
    ahead = sets_from_future(names, now)
    if not ahead:
        return ""
    said = "1 set is" if len(ahead) == 1 else f"{len(ahead)} sets are"
    return f"{said} dated in the future ({min(ahead)}): a clock was ahead, or this machine's is behind"
