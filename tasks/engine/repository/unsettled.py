"""Find the backups whose anomalies are open: neither acknowledged by a person nor confirmed by later backups; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime

from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.newest import of_the_past

# Of hourly backups three are over before anybody is awake, so each must be of another day.
CONFIRMING_DAYS = 3


def unsettled(backups: Sequence[Backup], now: datetime) -> list[Backup]:
    """Return the backups of one database with open anomalies, oldest first.

    A backup confirms the anomalies before it if it was compared and has none itself: the database stayed as it was then.
    One that failed its drill confirms nothing, and neither does one that leaves out something else.
    """
    found, days_of = list[Backup](), defaultdict[str, set[date]](set)
    for backup in reversed(of_the_past(backups, now)):
        origin, day = backup.origin, backup.taken_at.date()
        days = days_of[origin.selection if origin else ""]
        if origin and not origin.anomalous:
            days |= {day} if origin.compared and backup.verdict is not Verdict.FAILED else set()
        elif origin and not backup.acknowledged and len(days - {day}) < CONFIRMING_DAYS:
            found.append(backup)
    return found[::-1]
