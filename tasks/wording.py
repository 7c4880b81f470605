"""Say sizes and times the way people read them."""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib.metadata import version


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
