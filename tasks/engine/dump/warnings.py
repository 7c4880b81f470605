"""Keep the warnings of a successful pg_dump: if something is missing from a backup, nothing else says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Nobody reads more than this; a server can send any number of warnings, of any length.
_MOST, _LONGEST = 50, 500
_PLAIN_NEWS = re.compile(r"(?:NOTICE|INFO|LOG|DEBUG):\s")
_ADDED = re.compile(r"(?:pg_dump: )?(?:detail|hint|DETAIL|HINT):\s+(.*)")
_PREFIX = re.compile(r"(?:pg_dump: )?(?:warning|WARNING):\s+")
# About a file of ours, not about what was dumped.
_NOT_OF_THE_DUMP = re.compile(r"WARNING: password file ")


def warnings_in(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the warnings in pg_dump's stderr, each with its detail and hint.

    A line of an unknown kind counts as a warning: better one too many than a silent loss.
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
    """Return as many distinct warnings as a person reads, cleaned for terminals and reports; the rest is counted."""
    clean = list(dict.fromkeys(_cleaned(text) for text in warnings))
    rest = max(0, len(clean) - _MOST) + unseen
    return (*clean[:_MOST], *([f"… and {rest:,} more"] if rest else []))


def _cleaned(text: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST])
    plain = " ".join(plain.split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
