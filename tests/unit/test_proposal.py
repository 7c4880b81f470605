"""What is proposed to a newcomer fits the database's size, is valid, and costs what the estimate says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.load import load_settings
from blocks.config.plan import Plan
from blocks.sql.server import Server
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.names import name_at
from tasks.engine.repository.proposal import (
    DAY_S,
    Span,
    cost,
    estimate,
    guessed_object,
    kept_in_the_long_run,
    on_railway,
    propose,
    variables,
)
from tasks.engine.repository.retention import Policy, decide
from tasks.status.proposal import what_it_costs, what_it_does

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SIZES = st.one_of(st.integers(0, 1 << 50), st.integers(0, 20).map(lambda n: 1 << (2 * n)))
HOUR_S = 3600
DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
POLICIES = st.builds(
    Policy, retention_days=st.integers(1, 10), interval_s=st.sampled_from([HOUR_S, 6 * HOUR_S, DAY_S, 2 * DAY_S, 7 * DAY_S]),
    keep_last=st.one_of(st.none(), st.integers(1, 20)), keep_daily=st.one_of(st.none(), st.integers(1, 20)),
    keep_weekly=st.one_of(st.none(), st.integers(1, 8)), keep_monthly=st.one_of(st.none(), st.integers(1, 12)),
)  # fmt: skip


def plan_of(size_bytes: int, **given: str) -> Plan:
    """The plan that is proposed for a size."""
    storage = {
        "S3_ENDPOINT": "https://s3.example.com",
        "S3_BUCKET": "backups",
        "DATABASE_URL": "postgresql://me:pw@db.rlwy.net/shop",
    }
    values = {**storage, **given}
    return Plan.from_settings(load_settings(frozenset(), {**values, **variables(propose(size_bytes), values)}))


@given(SIZES, SIZES)
def test_a_larger_database_is_backed_up_no_more_often(one: int, other: int) -> None:
    """Neither backups nor drills nor what is kept grow with the database."""
    small, large = (propose(size) for size in sorted((one, other)))
    assert small.interval_s <= large.interval_s
    assert small.drill_interval_s <= large.drill_interval_s
    kept = [
        kept_in_the_long_run(Policy(p.days, p.interval_s, None, p.daily, p.weekly, p.monthly)) for p in (small, large)
    ]
    assert kept[0] >= kept[1]


@given(SIZES)
def test_every_proposal_is_valid_and_keeps_enough(size: int) -> None:
    """At least two backups are kept, there is one of a month ago, and a backup is drilled before retention removes it."""
    plan = plan_of(size)
    assert plan.retention.days * DAY_S >= 2 * plan.schedules.backups.interval_s
    assert plan.retention.keep["weekly"] * 7 >= 28
    assert plan.retention.keep["monthly"] >= 2
    assert plan.schedules.backups.interval_s <= plan.schedules.drills.interval_s <= 7 * DAY_S


@settings(max_examples=60)
@given(POLICIES)
def test_the_estimate_is_what_retention_keeps(policy: Policy) -> None:
    """The number of backups is that of the real policy on a full catalog, or a few more."""
    step, old = timedelta(seconds=policy.interval_s), timedelta(seconds=max(policy.interval_s, DAY_S))
    recent = max(timedelta(days=policy.retention_days + 2), step * 25)
    ages = [step * n for n in range(int(recent / step))]
    ages += [ages[-1] + old * n for n in range(1, int(timedelta(days=500) / old))]
    catalog = [Backup(name_at(NOW - age), NOW - age, "key", 1000, True, False, NOW - age) for age in ages]
    kept = sum(d.keep for d in decide(catalog, policy, NOW).decisions)
    assert kept <= kept_in_the_long_run(policy) + 1
    assert kept_in_the_long_run(policy) <= kept + 5


def test_the_table_of_proposals_is_current() -> None:
    """docs/configuration.md shows what is proposed for which size."""
    rows = re.findall(
        r"^\| (up to .*? GiB|larger) \| (.*?) \| (.*?) \| all of (\d+) days, (\d+) daily, (\d+) weekly, (\d+) monthly \| (\d+) \|$",
        DOCUMENT.read_text(),
        re.MULTILINE,
    )
    assert len(rows) == 4
    for size, backups, drills, *numbers in rows:
        limit = int(size.split()[2]) << 30 if size != "larger" else 1 << 50
        found, plan = propose(limit), plan_of(limit)
        said = what_it_does(plan)
        assert said["backups"] == f"{backups.split(',')[0]}, level {found.level}"
        assert ("at level 1" in backups) == (found.level == 1)
        assert said["drills"] == drills
        kept = kept_in_the_long_run(
            Policy(found.days, found.interval_s, None, found.daily, found.weekly, found.monthly)
        )
        assert [*map(int, numbers)] == [found.days, found.daily, found.weekly, found.monthly, kept]
        assert size == "larger" or propose(limit + 1) != found


def test_the_estimate_agrees_with_the_documentation() -> None:
    """docs/retention.md counts the backups of the default policy."""
    assert kept_in_the_long_run(Policy(retention_days=7, interval_s=HOUR_S)) == 169


@given(SIZES, st.floats(0, 10))
def test_storage_and_cost_follow_from_the_size(size: int, price: float) -> None:
    """The range holds: its ends are those of one backup, times the number of backups, times the price."""
    policy = Policy(7, DAY_S)
    found = estimate(policy, guessed_object(size))
    assert found.object.least <= found.object.greatest <= size
    assert found.stored == found.object.times(8)
    least, greatest = cost(found.stored, price)
    assert 0 <= least <= greatest


def test_what_the_environment_decides_is_not_proposed() -> None:
    """A part that is set is left alone as a whole: two policies in one would keep what neither meant."""
    proposed = variables(
        propose(0), {"BACKUP_SCHEDULE": "0 3 * * *", "BACKUP_KEEP_DAILY": "3", "COMPRESSION_LEVEL": "9"}
    )
    assert set(proposed) == {"VERIFY_INTERVAL"}
    plan = plan_of(0, BACKUP_SCHEDULE="0 3 * * *", BACKUP_RETENTION_DAYS="5")
    assert what_it_does(plan)["backups"] == "at 0 3 * * * (UTC), level 6"
    assert what_it_does(plan)["kept"] == "all of 5 days: about 6 backups in the long run"


def test_the_words() -> None:
    """Ranges, prices and where they are from are said; Railway's egress only for its databases."""
    plan = plan_of(50 << 30)
    said = what_it_costs(plan, guessed_object(50 << 30), None)
    assert said["size of a backup"] == "5.0G to 25G, a guess from the database's size"
    assert "$0.023 per GB, an example (Amazon S3 Standard, November 2026)" in said["cost of storage"]
    assert "Railway's egress at $0.05 per GB" in said["uploads"]
    said = what_it_costs(plan, Span(10**9, 10**9), 0.006)
    assert said["cost of storage"] == "$0.08 a month at $0.006 per GB"
    assert on_railway("shop.proxy.rlwy.net")
    assert not on_railway("rlwy.net.example.com")
    assert Server(SecretStr("postgresql://me@h/d")).host == "h"
