"""Say sizes and times the way people read them, and show names that others chose without doing what they tell a terminal."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from importlib.metadata import version

# What moves a cursor, turns the direction of text, or cannot be seen: C0 with ESC, DEL and C1; soft hyphen; bidirectional
# controls; zero width; line and paragraph separators; annotations; halves of pairs; tags.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
    # What else Unicode has shown as nothing: joiners and fillers, signs of numbers, an empty cell of Braille, variations but those of pictures.
    r"\u034f\u0600-\u0605\u06dd\u070f\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0\ufff0-\ufff8"
)
_LINE, _LINES = re.compile(f"[{_UNSEEN}]"), re.compile(f"(?!\n)[{_UNSEEN}]")


def visible(text: str, *, lines: bool = False) -> str:
    r"""Text as it may stand in a log, at a terminal or on a page: what cannot be seen is shown as `\x1b`, `\u202e`, `\n`.

    `lines` keeps line feeds, for text whose lines are our own. Doing it twice changes nothing.
    """
    return (_LINES if lines else _LINE).sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(document: str) -> str:
    """A JSON document with the same characters as its own escapes: whoever reads it gets the names as they are."""
    return _LINES.sub(lambda found: json.dumps(found[0])[1:-1] if ord(found[0]) != 0x7F else r"\u007f", document)


def human_bytes(size_bytes: float) -> str:
    """`524M`, as the specification's log has it: units of 1024, two digits at least."""
    for unit in ("B", "K", "M", "G", "T"):
        if size_bytes < 1024 or unit == "T":
            break
        size_bytes /= 1024
    return f"{size_bytes:.1f}{unit}" if size_bytes < 10 and unit != "B" else f"{size_bytes:.0f}{unit}"


def human_age(age: timedelta) -> str:
    """`3 days`, `5 h`, `12 min`."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes >= 2 * 24 * 60:
        return f"{minutes // (24 * 60)} days"
    return f"{minutes // 60} h" if minutes >= 120 else f"{minutes} min"


def iso(moment: datetime) -> str:
    """`2024-02-07T14:30:22Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def tool_version() -> str:
    """The version of this project, as it was installed."""
    return version("pg-roundtrip")


def human_seconds(seconds: float) -> str:
    """`4.2 s`, `12 min 5 s`, `3 h 20 min`: as exact as matters."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def change(now: float, before: float) -> str:
    """`+4.2 %` with an arrow that shows the way at a glance."""
    if now == before:
        return "→ same"
    if not before:
        return "↗ new"
    percent = 100 * (now - before) / before
    arrow = "↗" if now > before else "↘"
    return f"{arrow} {percent:+,.1f} %"
