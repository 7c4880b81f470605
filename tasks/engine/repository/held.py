"""Say of backups that retention no longer keeps why they stay: a lock holds them, or others remove them; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from blocks.s3.terms import Hold
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.retention import Decision, PrunePlan

_ELSEWHERE = "due, and left to the rules of the bucket (PRUNE=elsewhere)"
_NAMED = 3
# A rule of the bucket removes things once a day, and not at an hour that is known.
_SOON = timedelta(days=1)


def in_words(hold: Hold) -> str:
    """Say until when a lock holds."""
    if hold.legal:
        return "under a legal hold, which has no end"
    mode = f" ({hold.mode})" if hold.mode else ""
    return f"locked until {hold.until:%Y-%m-%d %H:%M} UTC{mode}" if hold.until else "locked"


def keeping_held(decided: PrunePlan, now: datetime) -> PrunePlan:
    """Keep what a lock holds for as long as it does: deleting it would only hide it, and leave it to be paid for."""
    return replace(decided, decisions=tuple(_held(d, now) for d in decided.decisions))


def _held(decision: Decision, now: datetime) -> Decision:
    hold = decision.backup.hold
    if decision.keep or hold is None or not hold.holds(now):
        return decision
    return staying(decision, f"due, but {in_words(hold)}")


def left_to_others(decided: PrunePlan) -> PrunePlan:
    """Keep everything that would be removed: keys that may not delete leave that to the rules of the bucket."""
    decisions = tuple(d if d.keep else staying(d, _ELSEWHERE) for d in decided.decisions)
    return replace(decided, decisions=decisions, orphans=())


def staying(decision: Decision, why: str) -> Decision:
    """Return the decision to remove a backup as one that can't be carried out now."""
    return replace(decision, keep=True, due=True, reasons=(why,))


def told_of_due(decided: PrunePlan) -> str:
    """Say how many backups are due and stay, and when the first of them can go; empty if there are none."""
    parts = list(_told(decided))
    return "; ".join(parts)


def _told(decided: PrunePlan) -> Iterator[str]:
    due = decided.due
    held = [b for b in due if b.hold]
    ends = sorted(b.hold.until for b in held if b.hold and b.hold.until and not b.hold.legal)
    if held:
        first = f", the first until {ends[0]:%Y-%m-%d %H:%M} UTC" if ends else ", under a legal hold"
        yield f"{len(held)} {_are(held)} due, but locked{first}"
    if others := [b for b in due if not b.hold]:
        yield f"{len(others)} {_are(others)} due, and not removed here"


def _are(backups: list[Backup]) -> str:
    return "is" if len(backups) == 1 else "are"


def what_rules_break(decided: PrunePlan, now: datetime, days: int, *, known: bool) -> str:
    """Warn of backups that retention keeps and a rule of the bucket removes, because it knows ages only; empty if none.

    `days` is the rule's, or where nobody may read it the number that the plan keeps everything for.
    """
    limit = now - timedelta(days=days) + _SOON
    kept = [d for d in decided.decisions if d.keep and not d.due and d.backup.taken_at <= limit]
    if not kept:
        return ""
    whose = (
        f"the bucket's rule of {days} days removes" if known else f"a rule of the bucket of {days} days would remove"
    )
    named = "; ".join(f"{d.backup.name} ({d.reason})" for d in reversed(kept[-_NAMED:]))
    return f"{whose} what retention keeps: {len(kept)} of {len(decided.decisions)} backups, {named}"
