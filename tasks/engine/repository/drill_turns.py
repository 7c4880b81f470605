"""Decide whose turn it is to be drilled, so that each gets one, even where no drill leaves a report.

A key for drills may not be able to write, a drill may die before it reports, and retention removes reports with their
backups. What is remembered can't decide alone: one that never leaves anything would be first for ever. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from blocks.config.schedule import Schedule


def whose_turn(last: Sequence[datetime | None], due: Schedule, now: datetime) -> int:
    """Return the position of the one to drill, of some of which the last drill is known, or not.

    One of which nothing is known, or nothing since all have had their turn, waits for its own slot. In the others, and in
    that slot if it was drilled, the one whose last drill is longest ago has its turn.
    """
    many, gap_s = len(last), due.gap(now).total_seconds()
    slot_at = (due.before(now) if due.cron else now).timestamp()
    slot = int(slot_at // gap_s)
    # Moves on by one each time round: runs that are started at every other slot meet all of them, too.
    around = [(slot + slot // many + step) % many for step in range(many)]
    known = {n: at for n, at in enumerate(last) if at and (now - at).total_seconds() < (many + 0.5) * gap_s}
    waiting = [n for n in around if n not in known]
    if around[0] in waiting:
        return around[0]
    longest = min(known, key=lambda n: known[n])
    drilled_now = known[longest].timestamp() >= slot * gap_s
    return waiting[0] if waiting and drilled_now else longest
