"""Decide which backups may go; it looks at dates and never at a bucket or a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.engine.catalog import Backup


@dataclass(frozen=True)
class Policy:
    """How long backups are kept, and how old the newest may be before nothing is removed at all."""

    retention_days: int
    interval_s: int

    @property
    def recent(self) -> timedelta:
        """The age up to which the newest backup shows that backups still work."""
        return timedelta(seconds=2 * self.interval_s)


@dataclass(frozen=True)
class Decision:
    """What becomes of one backup, and why, in words for people."""

    backup: Backup
    keep: bool
    reason: str


@dataclass(frozen=True)
class Plan:
    """The decision on every backup, oldest first, and a warning when the policy was not applied."""

    decisions: tuple[Decision, ...]
    warning: str = ""

    @property
    def removals(self) -> list[Backup]:
        """The backups to remove, oldest first."""
        return [d.backup for d in self.decisions if not d.keep]


def decide(backups: Sequence[Backup], proven: Backup | None, policy: Policy, now: datetime) -> Plan:
    """Apply the retention policy to a catalog (in any order); `proven` is the newest PROVEN backup.

    Never the newest backup, never the newest PROVEN one, and nothing at all while the newest backup is older than
    two intervals: when backups have stopped, old ones are all there is. The newest with a manifest is what counts
    there, and it is kept too, because an object without one may be unfinished. A backup from the future is kept.
    Raises ValueError for a policy that would keep nothing.
    """
    if policy.retention_days < 1:
        raise ValueError("retention must be at least one day")
    ordered = sorted(backups, key=lambda b: (b.taken_at, b.name))
    if not ordered:
        return Plan(())
    # A backup from the future was named by a wrong clock: it says nothing about whether backups work today.
    past = [b for b in ordered if b.taken_at <= now] or ordered
    newest = past[-1]
    # An object without a manifest may be half a backup; it counts where there are only such, of another tool.
    whole = next((b for b in reversed(past) if not b.foreign), newest)
    stale = now - whole.taken_at > policy.recent
    warning = ""
    if stale:
        hours = (now - whole.taken_at).total_seconds() / 3600
        warning = f"the newest backup is {hours:.0f} h old, more than two intervals: nothing is removed"
    decisions = []
    for backup in ordered:
        reason = _reason_to_keep(backup, newest, proven, policy, now)
        if not reason and backup == whole:
            reason = "the newest backup with a manifest"
        if not reason and stale:
            reason = "no recent backup exists"
        days = (now - backup.taken_at).days
        decisions.append(Decision(backup, bool(reason), reason or f"{days} days old, limit {policy.retention_days}"))
    return Plan(tuple(decisions), warning if any(d.reason == "no recent backup exists" for d in decisions) else "")


def _reason_to_keep(backup: Backup, newest: Backup, proven: Backup | None, policy: Policy, now: datetime) -> str:
    if backup == newest:
        return "the newest backup"
    if proven is not None and backup.name == proven.name:
        return "the newest PROVEN backup"
    if now - backup.taken_at <= timedelta(days=policy.retention_days):
        return f"within {policy.retention_days} days"
    return ""
