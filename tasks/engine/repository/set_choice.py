"""Define which set is the newest, in one place: never one that a wrong clock dated in the future. All of it is pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from tasks.engine.repository.names import set_taken_at
from tasks.engine.repository.newest import is_future


def sets_from_future(names: Iterable[str], now: datetime) -> list[str]:
    """Return the sets dated in the future."""
    return [name for name in names if (at := set_taken_at(name)) and is_future(at, now)]


def newest_first(names: Sequence[str], now: datetime) -> list[str]:
    """Return sets, the newest first; those from the future only if there are no others."""
    ahead = set(sets_from_future(names, now))
    return sorted([name for name in names if name not in ahead] or names, reverse=True)


def told_of_future_sets(names: Sequence[str], now: datetime) -> str:
    """Return a sentence about sets dated in the future; empty if there are none."""
    ahead = sets_from_future(names, now)
    if not ahead:
        return ""
    said = "1 set is" if len(ahead) == 1 else f"{len(ahead)} sets are"
    return f"{said} dated in the future ({min(ahead)}): a clock was ahead, or this machine's is behind"
