"""Keep what pg_dump warned of though it ended well: that something is missing from a backup is said there or nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# More than this nobody reads; a server can send as many as it likes, of any length.
_MOST, _LONGEST = 50, 500
_PLAIN_NEWS = re.compile(r"(?:NOTICE|INFO|LOG|DEBUG):\s")
_ADDED = re.compile(r"(?:pg_dump: )?(?:detail|hint|DETAIL|HINT):\s+(.*)")
_PREFIX = re.compile(r"(?:pg_dump: )?(?:warning|WARNING):\s+")
# About a file of ours, not about what was dumped.
_NOT_OF_THE_DUMP = re.compile(r"WARNING: password file ")


def warnings_in(lines: Iterable[str]) -> tuple[str, ...]:
    """The warnings in what pg_dump wrote to stderr, each with its detail and hint.

    A line of an unknown kind counts as a warning: better one too many than a loss that nobody hears of.
    """
    found: list[str] = []
    after_news = False
    for line in lines:
        added = _ADDED.match(line)
        if _PLAIN_NEWS.match(line) or _NOT_OF_THE_DUMP.match(line) or (added and after_news):
            after_news = True
        elif added and found:
            found[-1] = f"{found[-1]} ({added[1]})"
        elif line.strip():
            after_news = False
            found.append(_PREFIX.sub("", line, count=1))
    return bounded(found)


def bounded(warnings: Sequence[str], unseen: int = 0) -> tuple[str, ...]:
    """As many as a person reads, without repetition and in characters that a terminal and a report bear; the rest is counted."""
    clean = list(dict.fromkeys(_cleaned(text) for text in warnings))
    rest = max(0, len(clean) - _MOST) + unseen
    return (*clean[:_MOST], *([f"… and {rest:,} more"] if rest else []))


def _cleaned(text: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST])
    plain = " ".join(plain.split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
