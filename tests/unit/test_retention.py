"""Retention never takes the last good thing, whatever the catalog and the clock look like."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.catalog import Backup, name_at
from tasks.engine.retention import Decision, Plan, Policy, decide

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEEK = Policy(retention_days=7, interval_s=3600)


def backup(age: timedelta, *, manifest: bool = True) -> Backup:
    """A backup taken so long before NOW."""
    name = name_at(NOW - age)
    return Backup(name, NOW - age, f"backups/{name}.sql.gz", 1000, manifest, has_report=False)


AGES = st.one_of(
    st.timedeltas(timedelta(days=-400), timedelta(days=4000)),
    st.timedeltas(timedelta(days=-1), timedelta(days=10)),
    st.sampled_from([timedelta(0), timedelta(days=7), timedelta(days=7, seconds=1), timedelta(hours=2)]),
).map(lambda age: timedelta(seconds=int(age.total_seconds())))
CATALOGS = st.lists(st.builds(backup, AGES, manifest=st.booleans()), max_size=30, unique_by=lambda b: b.name)
POLICIES = st.builds(Policy, retention_days=st.integers(1, 4000), interval_s=st.integers(60, 40 * 86400))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Backup], Backup | None, Policy]:
    """A catalog in any order, perhaps with a PROVEN backup, and a policy."""
    backups = draw(CATALOGS)
    proven = draw(st.sampled_from([None, *backups]))
    return backups, proven, draw(POLICIES)


def kept(plan: Plan) -> set[str]:
    return {d.backup.name for d in plan.decisions if d.keep}


@given(cases())
def test_what_is_never_removed(case: tuple[list[Backup], Backup | None, Policy]) -> None:
    """The newest backup, the newest PROVEN one, those of the retention time and of the future stay."""
    backups, proven, policy = case
    plan = decide(backups, proven, policy, NOW)
    safe = {b.name for b in backups if NOW - b.taken_at <= timedelta(days=policy.retention_days)}
    safe |= {max(backups, key=lambda b: b.taken_at).name} if backups else set()
    safe |= (
        {max((b for b in backups if b.taken_at <= NOW), key=lambda b: b.taken_at, default=backups[0]).name}
        if backups
        else set()
    )
    safe |= {proven.name} if proven else set()
    assert safe <= kept(plan)


@given(cases())
def test_nothing_goes_when_backups_have_stopped(case: tuple[list[Backup], Backup | None, Policy]) -> None:
    """Without a backup of the last two intervals nothing is removed; a name from the future is no recent backup."""
    backups, proven, policy = case
    plan = decide(backups, proven, policy, NOW)
    recent = any(timedelta(0) <= NOW - b.taken_at <= timedelta(seconds=2 * policy.interval_s) for b in backups)
    if not recent:
        assert plan.removals == []
    if plan.warning:
        assert plan.removals == []
        assert any(d.reason == "no recent backup exists" for d in plan.decisions)


@given(cases())
def test_old_backups_do_go(case: tuple[list[Backup], Backup | None, Policy]) -> None:
    """What nothing protects is removed: a policy that keeps everything would be none."""
    backups, proven, policy = case
    fresh = backup(timedelta(seconds=1))
    plan = decide([*(b for b in backups if b.name != fresh.name), fresh], proven, policy, NOW)
    old = {b.name for b in backups if NOW - b.taken_at > timedelta(days=policy.retention_days)}
    assert {b.name for b in plan.removals} == old - ({proven.name} if proven else set())
    assert plan.warning == ""


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_catalog_does_not_matter(
    case: tuple[list[Backup], Backup | None, Policy], shuffle: random.Random
) -> None:
    """The same backups give the same plan, in any order."""
    backups, proven, policy = case
    mixed = shuffle.sample(backups, len(backups))
    assert decide(mixed, proven, policy, NOW) == decide(backups, proven, policy, NOW)


@given(cases())
def test_every_backup_has_one_decision_with_a_reason(case: tuple[list[Backup], Backup | None, Policy]) -> None:
    """Nothing is left out or decided twice, oldest first, and people read why."""
    backups, proven, policy = case
    plan = decide(backups, proven, policy, NOW)
    assert [d.backup for d in plan.decisions] == sorted(backups, key=lambda b: b.taken_at)
    assert all(d.reason for d in plan.decisions)
    assert plan.removals == [d.backup for d in plan.decisions if not d.keep]


@given(cases())
def test_to_decide_again_removes_nothing_more(case: tuple[list[Backup], Backup | None, Policy]) -> None:
    """After a prune the same policy finds nothing else to remove."""
    backups, proven, policy = case
    left = [d.backup for d in decide(backups, proven, policy, NOW).decisions if d.keep]
    assert decide(left, proven, policy, NOW).removals == []


def test_a_usual_week() -> None:
    """The golden example: daily backups, one week, the last PROVEN one older than that."""
    backups = [backup(timedelta(days=n)) for n in (0, 1, 6, 7, 8, 9, 10)]
    plan = decide(backups, backups[5], WEEK, NOW)
    assert [(d.backup.name, d.keep, d.reason) for d in plan.decisions] == [
        ("backup_20261111_120000", False, "10 days old, limit 7"),
        ("backup_20261112_120000", True, "the newest PROVEN backup"),
        ("backup_20261113_120000", False, "8 days old, limit 7"),
        ("backup_20261114_120000", True, "within 7 days"),
        ("backup_20261115_120000", True, "within 7 days"),
        ("backup_20261120_120000", True, "within 7 days"),
        ("backup_20261121_120000", True, "the newest backup"),
    ]
    assert plan.warning == ""


def test_backups_that_stopped() -> None:
    """The golden example: nothing new for three hours at hourly backups, so the old ones stay, with a warning."""
    plan = decide([backup(timedelta(hours=3)), backup(timedelta(days=30))], None, WEEK, NOW)
    assert [d.reason for d in plan.decisions] == ["no recent backup exists", "the newest backup"]
    assert plan.warning == "the newest backup is 3 h old, more than two intervals: nothing is removed"


def test_two_intervals_are_still_recent() -> None:
    """The border: at two intervals the newest backup still counts, a second later it does not."""
    old = backup(timedelta(days=30))
    assert decide([old, backup(timedelta(hours=2))], None, WEEK, NOW).removals == [old]
    assert decide([old, backup(timedelta(hours=2, seconds=1))], None, WEEK, NOW).removals == []


def test_a_clock_that_was_wrong_protects_nothing() -> None:
    """A backup that is named for next year does not hide that backups have stopped."""
    backups = [backup(timedelta(days=-365)), backup(timedelta(days=40)), backup(timedelta(days=50))]
    plan = decide(backups, None, WEEK, NOW)
    assert plan.removals == []
    assert plan.warning.startswith("the newest backup is 960 h old")


def test_nothing_to_decide() -> None:
    """An empty catalog is no fault, and one old backup is the newest one."""
    assert decide([], None, WEEK, NOW) == Plan(())
    only = backup(timedelta(days=1000))
    assert decide([only], None, WEEK, NOW) == Plan((Decision(only, keep=True, reason="the newest backup"),))


@pytest.mark.parametrize("days", [0, -1])
def test_a_policy_that_keeps_nothing_is_refused(days: int) -> None:
    """No retention time at all is a mistake, never an order."""
    with pytest.raises(ValueError, match="at least one day"):
        decide([backup(timedelta(days=1))], None, Policy(days, 3600), NOW)
