"""The one place that asks what time it is."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, in UTC, to the second: names of backups have no finer time."""
    return datetime.now(UTC).replace(microsecond=0)
