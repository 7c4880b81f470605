"""Retention never removes the last good backup, whatever the catalog, the policy and the clock look like."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.config.destinations import KEEP_RULES
from blocks.config.load import load_settings
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.identity import Origin
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import name_at
from tasks.engine.repository.newest import CLOCKS_DIFFER
from tasks.engine.repository.retention import UNFINISHED, Decision, Policy, PrunePlan, decide, have_stopped
from tests.histories import SHOP

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEEK = Policy(retention_days=7, interval_s=3600)
SECOND = timedelta(seconds=1)
DOCUMENT = Path(__file__).parents[2] / "docs" / "retention.md"
GOLDEN = Path(__file__).parents[1] / "data" / "a_year_of_hourly_backups.txt"


def backup(age: timedelta, *, manifest: bool = True, verdict: Verdict | None = None, unfinished: bool = False,
           stored: timedelta | None = None, object_bytes: int = 1000, selection: str | None = None) -> Backup:  # fmt: skip
    """Return a backup taken so long before NOW, and stored at that time too unless given otherwise."""
    name, stored_at = name_at(NOW - age), NOW - (age if stored is None else stored)
    return Backup(name, NOW - age, f"b/{name}.sql.gz", object_bytes, manifest and not unfinished, verdict is not None,
                  stored_at, verdict, unfinished, Origin("p", SHOP, selection=selection) if selection is not None else None)  # fmt: skip


AGES = st.one_of(
    st.timedeltas(timedelta(days=-400), timedelta(days=4000)),
    st.timedeltas(timedelta(days=-1), timedelta(days=10)),
    st.sampled_from([timedelta(0), timedelta(days=7), timedelta(days=7, seconds=1), timedelta(hours=2)]),
).map(lambda age: timedelta(seconds=int(age.total_seconds())))
BACKUPS = st.builds(
    backup, AGES, manifest=st.booleans(), verdict=st.sampled_from([None, *Verdict]), unfinished=st.sampled_from([False] * 4 + [True]),
    stored=st.one_of(st.none(), AGES), object_bytes=st.sampled_from([0, 20, 21, 1000]),
)  # fmt: skip
SELECTED = st.builds(
    backup, AGES, verdict=st.sampled_from([None, *Verdict]), selection=st.sampled_from(["", "", "a", "b"]), object_bytes=st.sampled_from([20, 1000]),
)  # fmt: skip
SELECTIONS = st.lists(SELECTED, max_size=30, unique_by=lambda b: b.name)
CATALOGS = st.lists(BACKUPS, max_size=30, unique_by=lambda b: b.name)
RULES = st.one_of(st.none(), st.integers(1, 12))
POLICIES = st.builds(
    Policy, retention_days=st.integers(1, 4000), interval_s=st.integers(60, 40 * 86400), keep_last=RULES, keep_daily=RULES,
    keep_weekly=RULES, keep_monthly=RULES, keep_yearly=RULES, even_if_stale=st.booleans(),
)  # fmt: skip


def kept(plan: PrunePlan) -> set[str]:
    return {d.backup.name for d in plan.decisions if d.keep}


def newest(backups: list[Backup]) -> set[str]:
    """Return the name of the newest of some backups, if there is one."""
    return {max(backups, key=lambda b: b.taken_at).name} if backups else set()


def sound(backup: Backup) -> bool:
    """Return whether a backup is a sign that backups work: no drill failed it, and it isn't gzip's empty output."""
    return backup.verdict is not Verdict.FAILED and backup.object_bytes > 20


@given(CATALOGS, POLICIES)
def test_what_is_never_removed(backups: list[Backup], policy: Policy) -> None:
    """The newest, the newest sound one with a manifest, the newest PROVEN, the recent and the future ones stay."""
    finished = [b for b in backups if not b.unfinished]
    past = [b for b in finished if b.taken_at <= NOW + CLOCKS_DIFFER]
    safe = {b.name for b in finished if NOW - b.taken_at <= timedelta(days=policy.retention_days)}
    safe |= {b.name for b in backups if b.taken_at > NOW}
    safe |= newest(past or finished)
    safe |= newest([b for b in backups if b.verdict is Verdict.PROVEN and b.taken_at <= NOW + CLOCKS_DIFFER])
    safe |= newest([b for b in past if b.has_manifest and sound(b)])
    assert safe <= kept(decide(backups, policy, NOW))


@given(CATALOGS, POLICIES)
def test_nothing_goes_when_backups_have_stopped(backups: list[Backup], policy: Policy) -> None:
    """Without a sound backup in the last two intervals nothing is removed, unless that is explicitly requested."""
    plan = decide(backups, policy, NOW)
    finished = [b for b in backups if sound(b) and not b.unfinished]
    recent = any(-CLOCKS_DIFFER <= NOW - b.taken_at <= policy.recent for b in finished)
    assert not (policy.even_if_stale and have_stopped(backups, policy, NOW))
    if not recent and not policy.even_if_stale:
        assert have_stopped(backups, policy, NOW)
        assert plan.removals == []
    if plan.warning:
        assert plan.removals == []
        assert have_stopped(backups, policy, NOW)
        assert any(d.reason == "no recent backup exists" for d in plan.decisions)
        assert "--even-if-stale" in plan.warning


@given(CATALOGS, POLICIES)
def test_old_backups_do_go(backups: list[Backup], policy: Policy) -> None:
    """What nothing protects is removed: a policy that keeps everything would be useless."""
    fresh = backup(SECOND)
    policy = replace(policy, keep_last=None, keep_daily=None, keep_weekly=None, keep_monthly=None, keep_yearly=None)
    finished = [b for b in backups if b.name != fresh.name and not b.unfinished]
    catalog = [*(replace(b, stored_at=b.taken_at) for b in finished), fresh]  # no clock was wrong
    plan = decide(catalog, policy, NOW)
    old = {b.name for b in catalog if NOW - b.taken_at > timedelta(days=policy.retention_days)}
    proven = newest([b for b in catalog if b.verdict is Verdict.PROVEN and b.taken_at <= NOW + CLOCKS_DIFFER])
    assert {b.name for b in plan.removals} == old - proven - newest(
        [b for b in catalog if b.taken_at <= NOW + CLOCKS_DIFFER]
    )
    assert plan.warning == ""


@given(CATALOGS, POLICIES)
def test_a_rule_keeps_one_for_each_of_its_periods(backups: list[Backup], policy: Policy) -> None:
    """The last sound backup of each of the newest days, weeks, months and years stays; rules don't compete."""
    names = kept(decide(backups, policy, NOW))
    ours = [b for b in backups if b.taken_at <= NOW + CLOCKS_DIFFER and b.has_manifest and sound(b)]
    ours.sort(key=lambda b: b.taken_at, reverse=True)
    assert {b.name for b in ours[: policy.keep_last or 0]} <= names
    for count, period in (
        (policy.keep_daily, lambda t: t.date()),
        (policy.keep_weekly, lambda t: t.isocalendar()[:2]),
        (policy.keep_monthly, lambda t: (t.year, t.month)),
        (policy.keep_yearly, lambda t: t.year),
    ):
        periods = list(dict.fromkeys(period(b.taken_at) for b in ours))[: count or 0]
        for wanted in periods:
            assert next(b for b in ours if period(b.taken_at) == wanted).name in names


@given(CATALOGS, POLICIES, st.sampled_from(["last", "daily", "weekly", "monthly", "yearly"]), st.integers(1, 20))
def test_another_rule_removes_nothing_more(backups: list[Backup], policy: Policy, rule: str, count: int) -> None:
    """Adding a rule, or raising its count, never removes more."""
    before = getattr(policy, f"keep_{rule}") or 0
    larger = replace(policy, **{f"keep_{rule}": before + count})  # type: ignore[arg-type]
    assert kept(decide(backups, policy, NOW)) <= kept(decide(backups, larger, NOW))


@given(CATALOGS, POLICIES, BACKUPS)
def test_another_tools_objects_take_no_place(backups: list[Backup], policy: Policy, stranger: Backup) -> None:
    """Objects without a manifest, however many, never displace our backups; nor do those that a drill failed."""
    other = replace(stranger, has_manifest=False, verdict=None)
    if other.name in {b.name for b in backups}:
        return
    ours = {b.name for b in backups if b.has_manifest}
    assert kept(decide(backups, policy, NOW)) & ours <= kept(decide([*backups, other], policy, NOW)) | newest(backups)


@given(CATALOGS, POLICIES, st.randoms(use_true_random=False))
def test_the_order_of_the_catalog_does_not_matter(
    backups: list[Backup], policy: Policy, shuffle: random.Random
) -> None:
    """The same backups give the same plan, in any order."""
    mixed = shuffle.sample(backups, len(backups))
    assert decide(mixed, policy, NOW) == decide(backups, policy, NOW)


@given(CATALOGS, POLICIES)
def test_every_backup_has_one_decision_with_a_reason(backups: list[Backup], policy: Policy) -> None:
    """Nothing is left out or decided twice, oldest first, each with a readable reason."""
    plan = decide(backups, policy, NOW)
    assert [d.backup for d in plan.decisions] == sorted(backups, key=lambda b: b.taken_at)
    assert all(d.reasons and all(d.reasons) for d in plan.decisions)
    assert plan.removals == [d.backup for d in plan.decisions if not d.keep]


@given(CATALOGS, POLICIES)
def test_to_decide_again_removes_nothing_more(backups: list[Backup], policy: Policy) -> None:
    """After a prune the same policy finds nothing else to remove."""
    left = [d.backup for d in decide(backups, policy, NOW).decisions if d.keep]
    assert decide(left, policy, NOW).removals == []


@given(CATALOGS, POLICIES, st.integers(0, 30))
def test_a_prune_that_was_interrupted_goes_on(backups: list[Backup], policy: Policy, done: int) -> None:
    """However many removals were made, oldest first, the next prune removes the rest and nothing else."""
    wanted = decide(backups, policy, NOW)
    gone = {b.name for b in wanted.removals[:done]}
    after = decide([b for b in backups if b.name not in gone], policy, NOW)
    assert kept(after) == kept(wanted)


def test_a_usual_week() -> None:
    """The golden example: daily backups, one week, the last PROVEN one older than that."""
    backups = [backup(timedelta(days=n)) for n in (0, 1, 6, 7, 8, 9, 10)]
    backups[5] = replace(backups[5], verdict=Verdict.PROVEN)
    plan = decide(backups, WEEK, NOW)
    assert [(d.backup.name, d.keep, d.reason) for d in plan.decisions] == [
        ("backup_20261111_120000", False, "10 days old, limit 7"),
        ("backup_20261112_120000", True, "the newest PROVEN backup"),
        ("backup_20261113_120000", False, "8 days old, limit 7"),
        ("backup_20261114_120000", True, "within 7 days"),
        ("backup_20261115_120000", True, "within 7 days"),
        ("backup_20261120_120000", True, "within 7 days"),
        ("backup_20261121_120000", True, "the newest backup, within 7 days"),
    ]
    assert plan.warning == ""


def test_a_year_of_hourly_backups() -> None:
    """The golden table: what a usual grandfather-father-son policy leaves of 8,760 backups, and why each."""
    policy = Policy(1, 3600, keep_last=3, keep_daily=7, keep_weekly=5, keep_monthly=12, keep_yearly=2)
    plan = decide([backup(timedelta(hours=n)) for n in range(24 * 365)], policy, NOW)
    table = [f"{d.backup.name}  {d.reason}\n" for d in reversed(plan.decisions) if d.keep]
    assert "".join(table) == GOLDEN.read_text()


def recommended() -> list[tuple[str, str]]:
    """Return the policies of docs/retention.md: their settings, and how many backups they eventually keep."""
    rows = [row.split("|") for row in DOCUMENT.read_text().splitlines() if re.fullmatch(r"\|.*\|.*\| [0-9,]+ \|", row)]
    return [(row[2].strip(), row[3].strip()) for row in rows]


@pytest.mark.parametrize(("set_to", "number"), recommended())
def test_the_policies_that_are_recommended(set_to: str, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each documented policy is a valid configuration, and eventually keeps as many backups as the table says."""
    for name, value in re.findall(r"([A-Z_]+)=(\d+)", set_to):
        monkeypatch.setenv(name, value)
    settings = load_settings(frozenset())
    rules = {f"keep_{rule}": getattr(settings, f"backup_keep_{rule}") for rule in KEEP_RULES}
    policy = Policy(settings.backup_retention_days, settings.backup_interval_s, **rules)
    interval = timedelta(seconds=policy.interval_s)
    longest = timedelta(days=366 * (1 + (policy.keep_yearly or 0)))
    plan = decide([backup(n * interval) for n in range(longest // interval)], policy, NOW)
    assert f"{len(kept(plan)):,}" == number


def test_the_table_of_policies_is_read() -> None:
    """A rule that checks no rows would always pass."""
    assert len(recommended()) == 3


def test_a_year_of_pruning_leaves_the_same() -> None:
    """Pruning after every backup eventually keeps the same backups as pruning once a year."""
    policy = Policy(1, 3600, keep_last=3, keep_daily=7, keep_weekly=5, keep_monthly=12, keep_yearly=2)
    everything = [backup(timedelta(hours=n)) for n in reversed(range(24 * 365))]
    left: list[Backup] = []
    for taken in everything:
        left = [d.backup for d in decide([*left, taken], policy, taken.taken_at).decisions if d.keep]
    assert {b.name for b in left} == kept(decide(everything, policy, NOW))


def test_weeks_are_those_of_the_calendar() -> None:
    """A week begins on Monday, and early January can belong to the previous year's last week, in UTC."""
    now = datetime(2027, 1, 5, tzinfo=UTC)
    taken = [
        datetime(2026, 12, 27, 23, tzinfo=UTC),
        datetime(2026, 12, 31, tzinfo=UTC),
        datetime(2027, 1, 3, 23, tzinfo=UTC),
        now,
    ]
    backups = [backup(NOW - moment) for moment in taken]
    plan = decide(backups, Policy(1, 3600, keep_weekly=3), now)
    assert [d.reasons[-1] for d in plan.decisions] == [
        "weekly 2026-W52", "5 days old, limit 1", "weekly 2026-W53", "weekly 2027-W01"]  # fmt: skip


def test_what_a_drill_failed_stands_for_nothing() -> None:
    """A known bad backup isn't kept as its day's backup, doesn't count as recent, and is removed when it is old."""
    bad = backup(timedelta(days=9), verdict=Verdict.FAILED)
    good = backup(timedelta(days=9, hours=1))
    plan = decide([bad, good, backup(SECOND)], replace(WEEK, keep_daily=7), NOW)
    assert [(d.keep, d.reason) for d in plan.decisions[:2]] == [
        (True, "daily 2026-11-12"),
        (False, "9 days old, limit 7"),
    ]
    stopped = decide([good, backup(timedelta(hours=3)), backup(SECOND, verdict=Verdict.FAILED)], WEEK, NOW)
    assert stopped.removals == []
    assert stopped.warning.startswith("the newest backup is 3 h old")


def test_what_gzip_makes_of_nothing_is_no_backup() -> None:
    """A pipe whose dump dies keeps storing 20 bytes a day: that is no sign of working backups, and displaces none."""
    empty = [backup(timedelta(days=n), manifest=False, object_bytes=20) for n in range(40)]
    last = backup(timedelta(days=40), manifest=False)
    plan = decide([*empty, last, backup(timedelta(days=41), manifest=False)], replace(WEEK, keep_last=1), NOW)
    assert plan.removals == []
    assert plan.warning.startswith("the newest backup is 960 h old")
    plan = decide([*empty, last, backup(timedelta(days=41))], replace(WEEK, keep_last=1, even_if_stale=True), NOW)
    assert {last.name, name_at(NOW - timedelta(days=41))} <= kept(plan)


def test_what_was_proven_when_the_clock_was_ahead() -> None:
    """A PROVEN backup named for next year doesn't displace a real one."""
    ahead, proven = (backup(timedelta(days=n), verdict=Verdict.PROVEN) for n in (-365, 30))
    plan = decide([ahead, proven, backup(timedelta(days=20)), backup(SECOND)], WEEK, NOW)
    assert [(d.keep, d.reason) for d in plan.decisions[:2]] == [
        (True, "the newest PROVEN backup"),
        (False, "20 days old, limit 7"),
    ]


def test_an_object_whose_manifest_never_came() -> None:
    """Half a backup is removed a day after it was stored, and no rule takes it as a sign that backups work."""
    rules = replace(WEEK, keep_last=1, keep_daily=7)
    fresh, whole = backup(timedelta(days=3), unfinished=True, stored=UNFINISHED), backup(timedelta(hours=1))
    stale = backup(timedelta(days=3, hours=1), unfinished=True, stored=UNFINISHED + SECOND)
    plan = decide([stale, fresh, whole], rules, NOW)
    assert [d.reason for d in plan.decisions[:2]] == ["unfinished: its manifest was never written", "may be unfinished"]
    assert [d.keep for d in plan.decisions] == [False, True, True]
    alone = decide([stale, backup(timedelta(days=30))], rules, NOW)
    assert alone.removals == []
    assert decide([stale], rules, NOW).removals == []


def test_backups_that_stopped() -> None:
    """The golden example: hourly backups stopped three hours ago, so the old ones stay, with a warning."""
    backups = [backup(timedelta(hours=3)), backup(timedelta(days=30))]
    plan = decide(backups, WEEK, NOW)
    assert [d.reason for d in plan.decisions] == ["no recent backup exists", "the newest backup, within 7 days"]
    assert plan.warning == (
        "the newest backup is 3 h old, more than two intervals: nothing is removed; "
        "`pg-roundtrip prune --even-if-stale` removes backups anyway"
    )
    assert decide(backups, replace(WEEK, even_if_stale=True), NOW).removals == [backups[1]]


def test_two_intervals_are_still_recent() -> None:
    """The boundary: at two intervals the newest backup still counts, a second later it doesn't."""
    old = backup(timedelta(days=30))
    assert decide([old, backup(timedelta(hours=2))], WEEK, NOW).removals == [old]
    assert decide([old, backup(timedelta(hours=2, seconds=1))], WEEK, NOW).removals == []


def test_a_clock_that_was_wrong_protects_nothing() -> None:
    """A backup named for next year stays, but doesn't hide that backups have stopped."""
    backups = [backup(timedelta(days=-365)), backup(timedelta(days=40)), backup(timedelta(days=50))]
    plan = decide(backups, WEEK, NOW)
    assert plan.removals == []
    assert plan.warning.startswith("the newest backup is 960 h old")
    assert plan.decisions[-1].reason == "from the future: a clock was wrong, within 7 days"


def test_a_clock_that_is_ahead_removes_nothing() -> None:
    """If our clock jumps ten years ahead, all but the newest backup look old; the storage's clock corrects that."""
    ahead = timedelta(days=3650)
    backups = [backup(ahead + timedelta(hours=n)) for n in (1, 2, 3)]
    just_made = backup(SECOND, stored=ahead)
    plan = decide([*backups, just_made], WEEK, NOW)
    assert plan.removals == []
    assert plan.warning.startswith("the newest backup is 87600 h old")


def test_nothing_to_decide() -> None:
    """An empty catalog isn't an error, and a single old backup is the newest one."""
    assert decide([], WEEK, NOW) == PrunePlan(())
    only = backup(timedelta(days=1000))
    newest = Decision(only, keep=True, reasons=("the newest backup",), matters=True)
    assert decide([only], WEEK, NOW) == PrunePlan((newest,))


@pytest.mark.parametrize(
    "rule", ["retention_days", "keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"]
)
@pytest.mark.parametrize("count", [0, -1])
def test_a_policy_that_keeps_nothing_is_refused(rule: str, count: int) -> None:
    """Zero or less is a mistake, never an instruction."""
    with pytest.raises(ValueError, match="at least one"):
        replace(WEEK, **{rule: count})  # type: ignore[arg-type]


def of(backups: list[Backup], selection: str) -> list[Backup]:
    return [b for b in backups if b.origin and b.origin.selection == selection and b.taken_at <= NOW + CLOCKS_DIFFER]


@given(SELECTIONS, POLICIES)
def test_no_selection_stands_in_for_another(backups: list[Backup], policy: Policy) -> None:
    """Until the selection of the newest backup is PROVEN, the newest PROVEN one of each other stays, else its newest sound one."""
    names = kept(decide(backups, policy, NOW))
    past = [b for b in backups if b.taken_at <= NOW + CLOCKS_DIFFER]
    current = max(past, key=lambda b: b.taken_at).origin if past else None
    if current is None:
        return
    proven = {s: [b for b in of(backups, s) if b.proven] for s in ("", "a", "b")}
    assert newest(proven[current.selection]) <= names
    if proven[current.selection]:
        return
    for selection, found in proven.items():
        assert newest(found or [b for b in of(backups, selection) if sound(b)]) <= names


@given(SELECTIONS, POLICIES)
def test_each_selection_has_periods_of_its_own(backups: list[Backup], policy: Policy) -> None:
    """What a rule keeps of the backups of one selection, it keeps whatever others there are."""
    names = kept(decide(backups, policy, NOW))
    for selection in ("", "a", "b"):
        alone = sorted((b for b in of(backups, selection) if sound(b)), key=lambda b: b.taken_at, reverse=True)
        assert {b.name for b in alone[: policy.keep_last or 0]} <= names
        days = dict.fromkeys(f"{b.taken_at:%Y-%m-%d}" for b in alone)
        for day in list(days)[: policy.keep_daily or 0]:
            assert next(b.name for b in alone if f"{b.taken_at:%Y-%m-%d}" == day) in names


def test_a_selection_that_was_given_up() -> None:
    """Once the present selection is PROVEN, the others' backups go when the policy says so, also the PROVEN ones."""
    hour, day = timedelta(hours=1), timedelta(days=1)
    old = [
        backup(40 * day, verdict=Verdict.PROVEN, selection=""),
        backup(30 * day, verdict=Verdict.PROVEN, selection="a"),
    ]
    new = backup(hour, selection="b")
    before = decide([*old, new], WEEK, NOW)
    assert (before.removals, {d.reason for d in before.decisions if d.backup in old}) == (
        [], {"the newest of another selection, until one of the present one is PROVEN"},
    )  # fmt: skip
    assert decide([*old, replace(new, verdict=Verdict.PROVEN)], WEEK, NOW).removals == old
    # Back to the first one: that it was PROVEN once proves nothing of what it is now.
    again = backup(hour, selection="")
    assert decide([*old, again], WEEK, NOW).removals == []
    assert decide([*old, replace(again, verdict=Verdict.PROVEN)], WEEK, NOW).removals == old
