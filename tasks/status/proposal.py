"""Say in words what a schedule and a retention policy mean: how many backups, how much storage, and what it costs."""

from __future__ import annotations

from blocks.config.plan import Plan
from blocks.config.schedule import Schedule
from tasks.clock import utc_now
from tasks.engine.repository.checks import counted
from tasks.engine.repository.own_retention import policy_of
from tasks.engine.repository.proposal import (
    EXAMPLE_PRICE,
    RAILWAY_EGRESS_PRICE,
    Estimate,
    Span,
    cost,
    estimate,
    kept_in_the_long_run,
    on_railway,
)
from tasks.engine.wording import human_bytes

_UNITS = ((7 * 86400, "week"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def what_it_does(plan: Plan) -> dict[str, str]:
    """Return when a plan makes backups and drills, and what it keeps."""
    kept = kept_in_the_long_run(policy_of(plan, utc_now()))
    return {
        "backups": f"{_often(plan.schedules.backups)}, level {plan.dump.compression_level}",
        "drills": _often(plan.schedules.drills),
        "kept": f"{_rules(plan)}: about {counted(kept, 'backup')} in the long run",
    }


def what_it_costs(plan: Plan, size: Span, price: float | None) -> dict[str, str]:
    """Return what backups of this size come to in the long run; a price of None is the example's."""
    found = estimate(policy_of(plan, utc_now()), size)
    guess = "" if size.least == size.greatest else ", a guess from the database's size"
    return {
        "size of a backup": f"{_bytes(found.object)}{guess}",
        "storage": f"{_bytes(found.stored)} for {counted(found.backups, 'backup')}",
        "cost of storage": f"{_money(found.stored, EXAMPLE_PRICE if price is None else price)}{_price(price)}",
        "uploads": f"{_bytes(found.uploaded_a_month)} a month{_egress(plan, found)}",
    }


def _often(schedule: Schedule) -> str:
    if schedule.cron:
        return f"at {schedule}"
    unit_s, unit = next(found for found in _UNITS if schedule.interval_s % found[0] == 0)
    number = schedule.interval_s // unit_s
    return f"every {unit}" if number == 1 else f"every {counted(number, unit)}"


def _rules(plan: Plan) -> str:
    ones = {"last": "the last {}", "daily": "one a day for {} days", "weekly": "one a week for {} weeks",
            "monthly": "one a month for {} months", "yearly": "one a year for {} years"}  # fmt: skip
    rules = [ones[rule].format(count) for rule, count in plan.retention.keep.items()]
    return ", ".join([f"all of {counted(plan.retention.days, 'day')}", *rules])


def _bytes(span: Span) -> str:
    least, greatest = human_bytes(span.least), human_bytes(span.greatest)
    return least if least == greatest else f"{least} to {greatest}"


def _money(span: Span, price: float) -> str:
    least, greatest = (f"${amount:,.2f}" for amount in cost(span, price))
    return f"{least if least == greatest else f'{least} to {greatest}'} a month"


def _price(price: float | None) -> str:
    if price is None:
        return f" at ${EXAMPLE_PRICE} per GB, an example (Amazon S3 Standard, November 2026); --price-per-gb-month takes yours"
    return f" at ${price:g} per GB"


def _egress(plan: Plan, found: Estimate) -> str:
    if not on_railway(plan.source.host):
        return ""
    return f", {_money(found.uploaded_a_month, RAILWAY_EGRESS_PRICE)} of Railway's egress at ${RAILWAY_EGRESS_PRICE} per GB (November 2026)"
