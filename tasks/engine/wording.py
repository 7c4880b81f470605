"""Format sizes and times for people, and escape untrusted names so that they can't control a terminal."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from importlib.metadata import version

# Characters that move the cursor, change text direction or are invisible: C0 with ESC, DEL and C1; soft hyphen;
# bidirectional controls; zero width; line and paragraph separators; annotations; lone surrogates; tags.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
    # Other characters that render as nothing: joiners and fillers, number signs, the blank Braille cell, variation
    # selectors except those for emoji.
    r"\u034f\u0600-\u0605\u06dd\u070f\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0\ufff0-\ufff8"
)
_LINE, _LINES = re.compile(f"[{_UNSEEN}]"), re.compile(f"(?!\n)[{_UNSEEN}]")


def visible(text: str, *, lines: bool = False) -> str:
    r"""Make text safe for a log, a terminal or a page: escape invisible characters as `\x1b`, `\u202e`, `\n`.

    `lines` keeps line feeds, for text whose line breaks are our own. The function is idempotent.
    """
    return (_LINES if lines else _LINE).sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(document: str) -> str:
    """Write the same characters as JSON escapes, so that a parser still gets the original names."""
    return _LINES.sub(lambda found: json.dumps(found[0])[1:-1] if ord(found[0]) != 0x7F else r"\u007f", document)


def human_bytes(size_bytes: float) -> str:
    """Return `524M`, as in the specification's log: units of 1024, at least two digits."""
    for unit in ("B", "K", "M", "G", "T"):
        if size_bytes < 1024 or unit == "T":
            break
        size_bytes /= 1024
    return f"{size_bytes:.1f}{unit}" if size_bytes < 10 and unit != "B" else f"{size_bytes:.0f}{unit}"


def human_age(age: timedelta) -> str:
    """Return an age such as `3 days`, `5 h` or `12 min`."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes >= 2 * 24 * 60:
        return f"{minutes // (24 * 60)} days"
    return f"{minutes // 60} h" if minutes >= 120 else f"{minutes} min"


def iso(moment: datetime) -> str:
    """Return a UTC moment as `2024-02-07T14:30:22Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def tool_version() -> str:
    """Return the installed version of this project."""
    return version("pg-roundtrip")


def human_seconds(seconds: float) -> str:
    """Return `4.2 s`, `12 min 5 s` or `3 h 20 min`: only as precise as is useful."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_LEAST_SHOWN_PERCENT = 0.1


def change(now: float, before: float) -> str:
    """Return `+4.2 %` with an arrow that shows the direction at a glance."""
    if now == before:
        return "→ same"
    if not before:
        return "↗ new"
    percent = 100 * (now - before) / before
    arrow = "↗" if now > before else "↘"
    if abs(percent) < _LEAST_SHOWN_PERCENT:
        return f"{arrow} under {_LEAST_SHOWN_PERCENT} %"
    return f"{arrow} {percent:+,.1f} %"
