"""Make one observation of those of a server's databases: it is as well as the worst, and each that goes wrong is news."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from tasks.engine.notify.incidents import Observation
from tasks.engine.repository.checks import counted

# After a start, what was missed is caught up first; this much lateness is nobody's business.
GRACE = timedelta(minutes=15)
_MOST_SAID = 5
# A document of more of them would be too large to be read again.
MOST_MARKS = 1000


def combined(seen: Mapping[str, Observation]) -> Observation:
    """Return what is seen of a whole server, of a subject that each of its databases was seen by; by their plans' names.

    A database that has more grace than after a start is bad, too, but no news beside others.
    """
    newest = max(seen.values(), key=lambda one: one.at)
    bad = sorted(
        ((n, one) for n, one in seen.items() if one.bad), key=lambda pair: (pair[1].severity != "error", pair[0])
    )
    if not bad:
        return replace(newest, backup=max(one.backup for one in seen.values()))
    marks = {mark for name, one in bad if one.grace <= GRACE for mark in _marks(name, one)}
    return replace(
        bad[0][1], at=newest.at, sentence=_said(bad), grace=min(one.grace for _, one in bad), backup="",
        parts=frozenset(sorted(marks)[:MOST_MARKS]), counts=newest.bad,
    )  # fmt: skip


def _said(bad: list[tuple[str, Observation]]) -> str:
    said = [f"{name}: {one.sentence}" for name, one in bad[:_MOST_SAID]]
    more = len(bad) - _MOST_SAID
    return "; ".join([*said, *([f"and {counted(more, 'more database')}"] if more > 0 else [])])


def _marks(name: str, one: Observation) -> Iterator[str]:
    """An error is a warning, too: one that becomes a warning is no news."""
    for severity in ("warning", "error")[: 1 + (one.severity == "error")]:
        yield from (mark(name, severity, part) for part in one.parts or ("",))


def mark(*what: str) -> str:
    """Return what tells one thing that is wrong from others, and doesn't say what it is."""
    return hashlib.sha256(" ".join(what).encode(errors="surrogatepass")).hexdigest()[:12]
