"""The status page draws what is known, and nothing in a bucket can make it say or do anything else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Verdict
from tasks.status.charts import charts, grid
from tasks.status.judgement import Colour
from tasks.status.page import policy, render
from tasks.status.series import MOST_POINTS, NEWEST, DayState, calendar, points, sampled
from tasks.status.summary import Status, summarize, unreadable
from tests.markdown import ROOT
from tests.status_facts import DAILY, NOW, backup_of, facts_of, surveyed_of

PROVEN, FAILED, INCONCLUSIVE = Verdict.PROVEN, Verdict.FAILED, Verdict.INCONCLUSIVE
SHOP = surveyed_of(facts_of([0.4, 24, 48, 120], {24: PROVEN, 48: FAILED, 120: INCONCLUSIVE}))
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u202e{{ 7*7 }}" + "W" * 999
NAMES = st.text(max_size=300) | st.sampled_from([HOSTILE, "&amp;", "<!--", "]]>", "\x00\x1b[31m"])


class Read(HTMLParser):
    """What a browser makes of a page: its tags with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_sentence_comes_first() -> None:
    """Title and heading are the answer, and the newest backups and commands follow."""
    status = summarize([surveyed_of(facts_of([0.4, 1.4], {1.4: PROVEN}))], NOW)
    read = Read(render(status, {"History (Prefect)": "/dashboard"}))
    assert status.judgement.sentence == "Fine: last backup 24 min ago, PROVEN 79 min ago, restore takes 41 s"
    assert read.text.strip().startswith(status.judgement.sentence)
    assert "last backup 24 min ago" in read.text.partition("Day by day")[0]
    for text in (
        "30 Nov 13:43",
        "286M",
        "2,000,001",
        "pg-roundtrip restore backup_20261130_134300 --to",
        "Nothing within a day",
    ):
        assert text in read.text
    assert ("href", "/dashboard") in read.attributes


def test_the_newest_is_the_same_everywhere() -> None:
    """The command restores the backup that the sentence speaks of: none from the future, none that may be incomplete."""
    whole, ahead = backup_of(0.4), backup_of(-48)
    half = replace(backup_of(0.1), has_manifest=False, has_report=False)
    found = summarize([surveyed_of(facts_of([], backups=[whole, half, ahead]))], NOW)
    assert [command for what, command in found.plans[0].commands if what == "The newest backup"] == [
        f'pg-roundtrip restore {whole.name} --to "$TARGET_URL"'
    ]
    assert f"Newest (UTC){whole.taken_at:%-d %b %H:%M}" in Read(render(found)).text
    only = summarize([surveyed_of(facts_of([], backups=[ahead]))], NOW)
    assert ahead.name in only.plans[0].commands[0][1]
    assert "Newest (UTC)" not in Read(render(only)).text


@settings(max_examples=20)
@given(NAMES, NAMES, NAMES)
def test_hostile_names_are_text(folder: str, database: str, warning: str) -> None:
    """Names are shown, cut and visible, and neither make tags or attributes, nor control a terminal."""
    facts = replace(SHOP.facts, shared=(warning or "x", warning))
    status = summarize([surveyed_of(facts, folder, database)], NOW, warning)
    plain = summarize([surveyed_of(replace(facts, shared=("x", "x")), "f", "d")], NOW, "x")
    read, expected = Read(render(status)), Read(render(plain))
    assert {*read.tags} <= {*expected.tags} | {"p"}
    assert {name for name, _ in read.attributes} <= {name for name, _ in expected.attributes}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u200b]", render(status))
    assert len(render(status)) < 60_000
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u200b]", status.judgement.sentence)


def test_nothing_is_loaded_or_run() -> None:
    """The page has no script, no address of anything to load, and no inline style that its policy would refuse."""
    page = render(summarize([SHOP], NOW), refresh_s=60)
    read = Read(page)
    assert not {"script", "iframe", "img", "object", "form"} & {*read.tags}
    assert not {name for name, _ in read.attributes if name.startswith("on") or name in ("style", "src")}
    assert [
        value for name, value in read.attributes if name == "href" and not str(value).startswith(("#", "data:"))
    ] == []
    assert ("content", policy()) in read.attributes
    assert "unsafe" not in policy()


def test_the_calendar_s_days() -> None:
    """Verdicts on contents come first, and a day is missed only where a backup should still be there."""
    facts = facts_of([0.4, 24, 25, 48, 73, 120, 500], {24: PROVEN, 48: FAILED, 73: INCONCLUSIVE}, due=DAILY)
    days = calendar(facts, NOW, 7)
    assert (days[0].date.weekday(), days[-1].date) == (0, NOW.date())
    states = {day.date.day: (day.state, day.backups) for day in days[-8:]}
    assert states == {
        30: (DayState.KEPT, 1), 29: (DayState.PROVEN, 2), 28: (DayState.FAILED, 1), 27: (DayState.INCONCLUSIVE, 1),
        26: (DayState.MISSED, 0), 25: (DayState.KEPT, 1), 24: (DayState.MISSED, 0), 23: (DayState.NONE, 0),
    }  # fmt: skip
    assert {day.state for day in calendar(replace(facts, backups_due=None), NOW, 7)} & {DayState.MISSED} == set()
    assert {day.state for day in calendar(facts_of([]), NOW, 7)} == {DayState.NONE}


def test_a_backup_around_midnight_is_not_missed() -> None:
    """A daily backup that is made a little before midnight, and then a little after, was made every day."""
    facts = facts_of([10.1, 37.9, 62.2, 86, 110], due=DAILY)
    assert [day.state for day in calendar(facts, NOW, 30)[-6:]].count(DayState.MISSED) == 0
    assert [day.state for day in calendar(facts_of([10.1, 86], due=DAILY), NOW, 30)].count(DayState.MISSED) == 2


@settings(max_examples=20)
@given(st.lists(st.integers(0, 9000), max_size=600, unique=True))
def test_few_are_drawn_of_many(ages_h: list[int]) -> None:
    """However many backups there are, few manifests are read: the newest, and each part of the time."""
    facts = facts_of([float(age) for age in ages_h])
    chosen = sampled(facts)
    assert len(chosen) <= MOST_POINTS
    assert chosen == sorted(chosen, key=lambda b: b.taken_at)
    assert chosen[-NEWEST:] == list(facts.backups[-NEWEST:])
    assert chosen[:1] == list(facts.backups[:1]) or chosen[0].taken_at - facts.backups[0].taken_at < timedelta(days=28)


def test_what_was_drawn_is_drawn_again() -> None:
    """A new backup makes hardly any manifest be read again that was not read before."""
    before = {b.name for b in sampled(facts_of([float(age) for age in range(1, 2000)]))}
    after = {b.name for b in sampled(facts_of([float(age) for age in range(2000)]))}
    assert len(after - before) <= 2


def test_charts_and_calendars_stay_in_their_frames() -> None:
    """One backup, equal moments, empty objects, and figures that are not known."""
    cases: list[Sequence[Backup]] = [
        [backup_of(1)],
        [backup_of(1, object_bytes=0)],
        [backup_of(2), backup_of(1)],
        [backup_of(1), backup_of(1)],
    ]
    for backups in cases:
        facts = facts_of([], backups=backups)
        drawn = charts(points(facts, backups, {}))
        assert [chart.title for chart in drawn] == ["Size"]
        numbers = [float(n) for n in re.findall(r"[\d.]+", drawn[0].line)]
        assert all(0 <= n <= 300 for n in numbers)
    found = grid(calendar(SHOP.facts, NOW, 7))
    assert all(cell.x + 14 <= found.width and cell.y + 14 <= found.height for cell in found.cells)
    assert "1 PROVEN" in found.summary


def test_several_databases_make_one_sentence() -> None:
    """The worst is named, and how many others are fine; whoever gave up a folder is not nagged."""
    fine = surveyed_of(facts_of([0.4, 1.4], {1.4: PROVEN}))
    crm = surveyed_of(facts_of([0.4, 1.4], {0.4: FAILED, 1.4: PROVEN}, due=None), "production/crm", "crm")
    old = surveyed_of(facts_of([9000, 9024], {9000: PROVEN}, due=None), "production/old", "old")
    found = summarize([fine, crm, old], NOW)
    assert found.judgement.colour is Colour.BAD
    assert found.judgement.sentence.startswith("Bad: crm: the newest drill FAILED: ")
    assert found.judgement.sentence.endswith("; 1 of 1 other database fine")
    assert summarize([fine, old], NOW).judgement == summarize([fine], NOW).judgement
    assert summarize([old], NOW).fine
    assert "BACKUP_PREFIX=production/crm pg-roundtrip restore backup_" in Read(render(found)).text


def test_what_is_known_to_be_bad_is_not_offered() -> None:
    """The commands restore the newest PROVEN backup, not the newest one if its drill FAILED."""
    (plan,) = summarize([surveyed_of(facts_of([0.4, 1.4], {0.4: FAILED, 1.4: PROVEN}))], NOW).plans
    assert [what for what, _ in plan.commands] == ["The newest PROVEN backup"]


def test_an_unreadable_bucket_is_bad() -> None:
    """What cannot be read cannot be restored."""
    found = unreadable("Cannot connect to S3", "check S3_ENDPOINT", NOW)
    assert (found.judgement.colour, found.fine) == (Colour.BAD, False)
    assert "the bucket cannot be read: Cannot connect to S3" in Read(render(found)).text


@pytest.mark.parametrize("status", [summarize([SHOP], NOW), summarize([], NOW), unreadable("x", "", NOW)])
def test_the_document(status: Status) -> None:
    """JSON for scripts has the sentence, the colour, and what they rest on."""
    document = json.loads(json.dumps(status.document()))
    assert document["status"] in ("fine", "attention", "bad")
    assert document["sentence"] == status.judgement.sentence
    for plan in document["plans"]:
        assert plan["days"][-1]["date"] == "2026-11-30"
        assert plan["points"][-1]["taken_at"] == "2026-11-30T13:43:00Z"
        assert plan["newest_proven"] == backup_of(24).name


def test_an_installed_wheel_has_the_template(tmp_path: Path) -> None:
    """The page's template is no Python, and comes along all the same."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert "tasks/status/page.html.j2" in zipfile.ZipFile(wheel).namelist()
