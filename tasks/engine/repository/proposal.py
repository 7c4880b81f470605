"""Propose a schedule and a retention policy from a database's size, and estimate what they store, upload and cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.engine.repository.retention import Policy

HOUR_S, DAY_S = 3600, 86400
GIB, GB = 1 << 30, 10**9
MONTH_S = 30 * DAY_S
_PERIODS_S = {"daily": DAY_S, "weekly": 7 * DAY_S, "monthly": MONTH_S, "yearly": 365 * DAY_S}
# The object's share of the database's size on disk. Indexes are not dumped, and text compresses well; media does not.
_LEAST_SHARE, _GREATEST_SHARE = 0.1, 0.5
# Amazon S3 Standard in us-east-1, as an example: USD per GB and month, as of November 2026.
EXAMPLE_PRICE = 0.023
# What Railway charges for what leaves its network, uploads included: USD per GB, as of November 2026.
RAILWAY_EGRESS_PRICE = 0.05


@dataclass(frozen=True)
class Proposal:
    """What suits databases up to a size: the larger, the rarer its backups and drills, and the fewer are kept."""

    interval_s: int
    drill_interval_s: int
    level: int
    days: int
    daily: int
    weekly: int
    monthly: int


_PROPOSALS = (
    (1 * GIB, Proposal(1 * HOUR_S, DAY_S, 6, days=2, daily=14, weekly=8, monthly=12)),
    (10 * GIB, Proposal(6 * HOUR_S, DAY_S, 6, days=3, daily=14, weekly=8, monthly=6)),
    (100 * GIB, Proposal(DAY_S, DAY_S, 6, days=7, daily=7, weekly=4, monthly=3)),
)
# Above, a dump takes hours: the fastest level halves that for an eighth more storage.
_LARGEST = Proposal(DAY_S, 7 * DAY_S, 1, days=3, daily=3, weekly=4, monthly=2)


def propose(size_bytes: int) -> Proposal:
    """Return what suits a database of this size."""
    return next((proposal for limit, proposal in _PROPOSALS if size_bytes <= limit), _LARGEST)


@dataclass(frozen=True)
class Span:
    """A range of bytes; both ends are equal once a backup was measured."""

    least: int
    greatest: int

    def times(self, factor: float) -> Span:
        """The range for several."""
        return Span(round(self.least * factor), round(self.greatest * factor))


@dataclass(frozen=True)
class Estimate:
    """What a policy comes to in the long run, while the database keeps its size."""

    backups: int
    object: Span
    stored: Span
    uploaded_a_month: Span


def guessed_object(database_bytes: int) -> Span:
    """The size of a backup that no backup tells yet."""
    return Span(round(database_bytes * _LEAST_SHARE), round(database_bytes * _GREATEST_SHARE))


def estimate(policy: Policy, size: Span) -> Estimate:
    """Estimate what backups of this size come to under a policy."""
    kept = kept_in_the_long_run(policy)
    return Estimate(kept, size, size.times(kept), size.times(max(1, MONTH_S / policy.interval_s)))


def kept_in_the_long_run(policy: Policy) -> int:
    """How many backups a policy keeps once all its periods are full; at most a few more than that."""
    kept = max(policy.retention_days * DAY_S // policy.interval_s + 1, policy.keep_last or 0)
    covered_s = max(policy.retention_days * DAY_S, (kept - 1) * policy.interval_s)
    for rule, length_s in _PERIODS_S.items():
        # Where backups are rarer than a rule's periods, each one fills a period.
        period_s = max(length_s, policy.interval_s)
        wanted = policy.periods[rule] or 0
        kept += max(0, wanted - covered_s // period_s)
        covered_s = max(covered_s, wanted * period_s)
    return kept


def cost(stored: Span, price_per_gb: float) -> tuple[float, float]:
    """The price of so many bytes, in the currency of the price."""
    return stored.least / GB * price_per_gb, stored.greatest / GB * price_per_gb


def on_railway(host: str) -> bool:
    """Whether a database is on Railway, whose egress has a price."""
    return host.lower().rstrip(".").endswith((".railway.internal", ".rlwy.net", ".railway.app"))


def variables(proposal: Proposal, given: Mapping[str, str]) -> dict[str, str]:
    """The settings of a proposal, without the parts that the environment has decided already."""
    parts = (
        (("BACKUP_SCHEDULE",), {"BACKUP_INTERVAL": proposal.interval_s}),
        (("VERIFY_SCHEDULE",), {"VERIFY_INTERVAL": proposal.drill_interval_s}),
        ((), {"COMPRESSION_LEVEL": proposal.level}),
        (("BACKUP_KEEP_LAST", "BACKUP_KEEP_YEARLY"), {
            "BACKUP_RETENTION_DAYS": proposal.days, "BACKUP_KEEP_DAILY": proposal.daily,
            "BACKUP_KEEP_WEEKLY": proposal.weekly, "BACKUP_KEEP_MONTHLY": proposal.monthly,
        }),
    )  # fmt: skip
    undecided = (part for others, part in parts if not any(name in given for name in (*others, *part)))
    return {name: str(value) for part in undecided for name, value in part.items()}
