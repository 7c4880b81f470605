"""One sentence in one of three colours: silence, bad drills and missing proofs are never fine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.config.schedule import Schedule
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Verdict
from tasks.status.judgement import RETIRED, Colour, Facts, judge, late_by_rhythm, worst
from tests.status_facts import DAILY, HOURLY, NOW, backup_of, facts_of

PROVEN, FAILED, INCONCLUSIVE = Verdict.PROVEN, Verdict.FAILED, Verdict.INCONCLUSIVE
GOOD = facts_of([0.4, 1.4, 6.4], {6.4: PROVEN})
AGES = st.lists(st.integers(0, 4000).map(lambda n: n / 4), min_size=1, max_size=30, unique=True)
VERDICTS = st.dictionaries(st.integers(0, 4000).map(lambda n: n / 4), st.sampled_from(list(Verdict)), max_size=10)


def said(facts: Facts) -> tuple[str, str]:
    found = judge(facts, NOW)
    assert found.sentence.startswith(f"{found.colour.capitalize()}: ")
    return found.colour.value, found.sentence.partition(": ")[2]


def test_fine() -> None:
    """The sentence says the three things that one wants to know."""
    assert said(GOOD) == ("fine", "last backup 24 min ago, PROVEN 6 h ago, restore takes 41 s")


@pytest.mark.parametrize(("facts", "colour", "sentence"), [
    (facts_of([]), "bad", "there is no backup"),
    (facts_of([2.1, 6.4], {6.4: PROVEN}), "bad", "the newest backup is 2 h old, and one is due every 60 min, PROVEN 6 h ago, restore takes 41 s"),
    (facts_of([0.4, 1.4, 9], {1.4: FAILED, 9: PROVEN}), "bad", "the newest drill FAILED: the backup of 30 Nov 12:43 is not what was dumped, PROVEN 8 h ago, restore takes 41 s"),
    (facts_of([0.4, 1.4, 9], {1.4: INCONCLUSIVE, 9: PROVEN}), "attention", "the newest drill was INCONCLUSIVE: it says nothing about its backup, PROVEN 8 h ago, restore takes 41 s"),
    (facts_of([0.4]), "attention", "no backup is PROVEN yet"),
    (facts_of([0.4, 60], {60: PROVEN}), "attention", "nothing was PROVEN for 2 days, and a drill is due every 24 h, PROVEN 2 days ago, restore takes 41 s"),
    (facts_of([0.4, 6, -5], {6: PROVEN}), "attention", "1 of 3 backups are dated in the future: a clock was ahead, or this machine's is behind, PROVEN 5 h ago, restore takes 41 s"),
    (facts_of([-5, -6]), "bad", "every backup here is dated in the future: this machine's clock is behind, or another one was ahead"),
    (replace(GOOD, shared=("b/f keeps 1 backup of another database: x", "h")), "attention", "b/f keeps 1 backup of another database: x, PROVEN 6 h ago, restore takes 41 s"),
])  # fmt: skip
def test_what_is_not_fine(facts: Facts, colour: str, sentence: str) -> None:
    """Each rule of docs/status.md, in its words; every reason but a plain one says what to do."""
    assert said(facts) == (colour, sentence)
    assert all(reason.hint for reason in judge(facts, NOW).reasons)


def test_a_drill_that_failed_for_age_alone() -> None:
    """The contents hold, so the backup counts as proven; the age is worth a look."""
    old = facts_of([0.4, 6.4], {6.4: FAILED})
    drilled = {name: replace(found, contents_hold=True) for name, found in old.drilled.items()}
    colour, sentence = said(replace(old, drilled=drilled))
    assert (colour, sentence) == (
        "attention",
        "the newest drill FAILED: its backup was too old, PROVEN 6 h ago, restore takes 41 s",
    )


def test_a_report_of_another_backup_proves_nothing() -> None:
    """A report that was copied beside a backup is not about it."""
    found = {name: replace(drill, backup="backup_20200101_000000") for name, drill in GOOD.drilled.items()}
    assert said(replace(GOOD, drilled=found)) == ("attention", "no backup is PROVEN yet")


def test_half_a_backup_does_not_hide_silence() -> None:
    """An object without a manifest is no evidence that backups run, while others have one."""
    half = backup_of(0.1, has_manifest=False)
    assert judge(replace(GOOD, backups=[*facts_of([5, 6.4]).backups, half]), NOW).colour is Colour.BAD


def test_weekly_backups_are_not_overdue_at_the_weekend() -> None:
    """Overdue is by the schedule's slots, as in /health."""
    workdays = Schedule(60, "0 3 * * 1-5")
    friday = facts_of([83], {83: PROVEN}, due=workdays, drills_due=Schedule(60, "0 4 * * 5"))
    assert judge(friday, NOW).colour is Colour.FINE


RHYTHM = facts_of([1, 25, 49, 73], {1: PROVEN}, due=None)


def later(facts: Facts, by: timedelta) -> tuple[str, bool]:
    found = judge(facts, NOW + by)
    return found.colour.value, found.retired


def test_others_are_judged_by_their_own_rhythm() -> None:
    """A folder whose schedule is unknown is late after twice its longest gap, and retired after months."""
    assert later(RHYTHM, timedelta()) == ("fine", False)
    assert later(RHYTHM, timedelta(hours=46)) == ("fine", False)
    assert later(RHYTHM, timedelta(hours=48)) == ("attention", False)
    assert later(RHYTHM, RETIRED - timedelta(hours=2)) == ("attention", False)
    assert later(RHYTHM, RETIRED) == ("fine", True)
    assert judge(RHYTHM, NOW + RETIRED).sentence == "Retired: last backup 90 days ago"


def test_a_plan_s_own_backups_never_retire() -> None:
    """Not even where only the schedule of drills is known, in a container for drills."""
    assert later(replace(RHYTHM, drills_due=DAILY), 2 * RETIRED) == ("attention", False)
    assert later(replace(RHYTHM, drills_due=DAILY, backups_due=DAILY), 2 * RETIRED) == ("bad", False)


def test_what_others_made_and_nobody_drills() -> None:
    """Another tool's files in another folder need no proof; backups of ours without one do."""
    foreign = [replace(b, has_manifest=False, has_report=False) for b in RHYTHM.backups]
    assert said(Facts(foreign)) == ("fine", "last backup 60 min ago")
    assert said(Facts(RHYTHM.backups)) == ("attention", "no backup is PROVEN yet")


def test_one_backup_has_no_rhythm() -> None:
    """What never had a second cannot be late."""
    assert late_by_rhythm([NOW - timedelta(days=9)], NOW) is None
    assert late_by_rhythm([], NOW) is None


@given(AGES, VERDICTS)
def test_fine_means_recent_and_proven(ages_h: list[float], verdicts: dict[float, Verdict]) -> None:
    """Nothing is called fine without a backup of two slots and a proof of two drills, nor after a FAILED drill."""
    ages = sorted({*ages_h, *verdicts}, reverse=True)
    found = judge(facts_of(ages, verdicts), NOW)
    if found.colour is Colour.FINE:
        assert ages[-1] <= 2
        assert min(age for age, verdict in verdicts.items() if verdict is PROVEN) < 48.1
        assert verdicts[min(verdicts)] is PROVEN
        assert not found.reasons
    else:
        assert found.reasons
        assert found.colour is worst([reason.colour for reason in found.reasons])


def test_a_proof_from_the_future() -> None:
    """A clock was wrong when it was made: it shows nothing, and must not stay young for years."""
    newest = next(iter(GOOD.drilled.values()))
    ahead = {newest.backup: replace(newest, began_at=NOW + timedelta(days=900))}
    assert said(replace(GOOD, drilled=ahead)) == ("attention", "no backup is PROVEN yet")


@given(AGES, VERDICTS, st.integers(0, 1000))
def test_time_alone_never_heals(ages_h: list[float], verdicts: dict[float, Verdict], hours: int) -> None:
    """Without a new backup or drill, the colour gets no better."""
    order = [Colour.FINE, Colour.ATTENTION, Colour.BAD]
    facts = facts_of(sorted({*ages_h, *verdicts}), verdicts)
    now, then = judge(facts, NOW), judge(facts, NOW + timedelta(hours=hours))
    assert order.index(then.colour) >= order.index(now.colour)


@given(st.permutations(list(facts_of([0.4, 1.4, 6.4, 30, -8]).backups)))
def test_the_listing_s_order_does_not_matter(backups: list[Backup]) -> None:
    """The judgement is the same, whatever the order of the backups."""
    ordered = facts_of([0.4, 1.4, 6.4, 30, -8], {6.4: PROVEN})
    assert judge(replace(ordered, backups=backups), NOW) == judge(ordered, NOW)


def test_an_hourly_plan() -> None:
    """The histories here are what they seem."""
    assert (GOOD.backups_due, GOOD.drills_due) == (HOURLY, DAILY)
