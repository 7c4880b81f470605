"""The only place that reads the clock."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time in UTC, to the second: names of backups have no finer resolution."""
    return datetime.now(UTC).replace(microsecond=0)
