"""The report on a month says what is known, and nothing that a name or a database could put into it."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.config.evidence import Targets
from tasks.engine.evidence.certificate import BackupSeen, Certificate, CheckSeen, Drill, GlobalsSeen, Listed, Restore
from tasks.engine.evidence.chain import Chain, Link
from tasks.engine.evidence.month import Month, Outage, Period, explained, period_of, report_on
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import GLOBALS
from tasks.engine.repository.manifest import Check, DrillReport, Verdict
from tasks.engine.repository.names import certificate_file, name_at
from tasks.reports.evidence import as_csv, as_html, summary
from tests.unit.test_catalog import report

NOW = datetime(2027, 1, 15, tzinfo=UTC)
START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TARGETS, NOVEMBER = Targets(3600, 60), period_of("2026-11", NOW)
HOSTILE = "<script>alert(1)</script>\"'&=cmd\x1b[2J\u202e"


def at(hours: float) -> datetime:
    """A moment in the month, in hours from its beginning."""
    return START + timedelta(hours=hours)


def backups(*hours: float) -> list[Backup]:
    return [Backup(name_at(at(h)), at(h), "k", 1000, has_manifest=True, has_report=False) for h in hours]


def certificate(hours: float, listed: Iterable[float] = (), **fields: object) -> Certificate:
    told: dict[str, object] = {
        "backup": BackupSeen(name=name_at(at(hours)), object_bytes=1000), "started_at": at(hours), "ended_at": at(hours),
        "backups": tuple(Listed(name=name_at(at(h)), object_bytes=1000) for h in listed),
    }  # fmt: skip
    if "restore" not in fields:
        told["drill"] = Drill(verdict=Verdict.PROVEN, restore_ms=41_000)
    return Certificate(tool_version="1", plan="default", **(told | fields))


def month(
    there: list[Backup], certificates: Iterable[Certificate] = (), reports: Iterable[tuple[str, DrillReport]] = (),
    targets: Targets = TARGETS, period: Period = NOVEMBER, faults: tuple[str, ...] = (),
) -> Month:  # fmt: skip
    """The report on November 2026."""
    links = []
    for number, made in enumerate(certificates, 1):
        sha256 = hashlib.sha256(made.encode()).hexdigest()
        links.append(Link(certificate_file(number, sha256), sha256, made))
    chain = Chain(tuple(links), faults, verified=True)
    return report_on("2026-11", "default", period, targets, chain=chain, backups=there, reports=dict(reports))


def test_a_month_has_an_end() -> None:
    """A month that isn't over ends now; one that hasn't begun, or is none, is refused."""
    assert period_of("2026-12", NOW) == Period(datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert period_of("2027-01", NOW) == Period(datetime(2027, 1, 1, tzinfo=UTC), NOW)
    for text in ("2027-02", "9999-12", "0000-01", "2026-13", "2026", "november", "", "2026-11-01"):
        with pytest.raises(ValueError):
            period_of(text, NOW)


def test_every_hour_meets_an_hour() -> None:
    """A backup an hour meets an RPO of an hour, and one that is missing does not."""
    full = [float(h) for h in range(-1, 24 * 30)]
    whole = month(backups(*full))
    assert (whole.rpo, whole.gaps, len(whole.backups), whole.longest_gap) == ("met", (), 24 * 30, HOUR)
    full.remove(100)
    gapped = month(backups(*full))
    assert (gapped.rpo, gapped.longest_gap) == ("not met", 2 * HOUR)
    assert [(g.after, g.before, g.length) for g in gapped.gaps] == [(name_at(at(99)), name_at(at(101)), 2 * HOUR)]
    assert [b.rpo for b in gapped.backups if b.at == at(101)] == ["not met"]


def test_gaps_at_both_ends() -> None:
    """A gap that began before the month counts whole; one that lasts is counted to the end; so is a month without any."""
    seen = month(backups(-50, 10, 10.5))
    assert [(g.start, g.end) for g in seen.gaps] == [(at(-50), at(10)), (at(10.5), at(720))]
    assert month(backups(-5)).longest_gap == timedelta(hours=725)
    assert month([]).longest_gap == timedelta(days=30)
    assert (month([]).rpo, month([], targets=Targets()).rpo) == ("not met", "")


def test_a_gap_is_explained() -> None:
    """A gap says when backups failed, how often and why, or that nobody was told; a failure outside explains nothing."""
    outages = [
        Outage(at(-9), at(-8), 1, "before"), Outage(at(3), at(7), 12, f"no route {HOSTILE}"), Outage(at(9), None, 2, "down")
    ]  # fmt: skip
    found = report_on(
        "2026-11", "default", replace(NOVEMBER, end=at(11)), TARGETS, chain=Chain((), (), verified=True),
        backups=backups(0, 1, 2, 8, 8.5), reports={},
    )  # fmt: skip
    found = explained(found, outages)
    assert [[told.failures for told in gap.outages] for gap in found.gaps] == [[12], [2]]
    assert "12 failed: no route" in as_html(found)
    assert "<script>" not in as_html(found)
    assert [row["seconds"] for row in csv.DictReader(StringIO(as_csv(found))) if row["kind"] == "outage"] == [
        "14400",
        "",
    ]
    assert "not on record" in as_html(month(backups(0, 5)))


def test_backups_that_are_gone_are_known() -> None:
    """A backup that retention has removed is listed from the certificates, and leaves no gap."""
    seen = month(backups(1, 3), [certificate(3, listed=(0, 1, 2, 3))])
    assert [(b.name, b.kept) for b in seen.backups] == [(name_at(at(h)), h in (1, 3)) for h in range(4)]
    assert seen.longest_gap == at(720) - at(3)


FLAWS: dict[str, dict[str, Any]] = {
    "unfinished": {"unfinished": True, "has_manifest": False}, "empty": {"object_bytes": 0},
    "FAILED": {"verdict": Verdict.FAILED}, "no manifest": {"has_manifest": False},
}  # fmt: skip


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_cannot_be_restored_meets_no_target(flaw: str) -> None:
    """It is shown as what it is, and the time between the backups around it is the gap."""
    first, odd = backups(1, 2)
    seen = month([first, replace(odd, **FLAWS[flaw])], period=Period(START, at(3)))
    assert [(b.flaw, b.gap) for b in seen.backups] == [("", None), (flaw, None)]
    assert (seen.rpo, [(g.after, g.end) for g in seen.gaps]) == ("not met", [(first.name, at(3))])
    assert f"1, and what does not count: 1 {flaw}" in summary(seen)["backups"]
    assert flaw in Tags(as_html(seen)).text
    assert [row["detail"] for row in csv.DictReader(StringIO(as_csv(seen))) if row["backup"] == odd.name] == [flaw]


def test_what_a_drill_proved_counts_without_a_manifest() -> None:
    """Another tool's backup that was restored is a backup; so is one of which only the age was wrong."""
    (foreign,) = backups(1)
    seen = month([replace(foreign, has_manifest=False, verdict=Verdict.PROVEN)])
    assert [b.flaw for b in seen.backups] == [""]
    old = Drill(verdict=Verdict.FAILED, checks=(CheckSeen(name="backup age", result="failed"),))
    assert [b.flaw for b in month([], [certificate(1, listed=(1,), drill=old)]).backups] == [""]


def test_a_drill_that_proved_roles_and_settings_says_so() -> None:
    """With a certificate or only a report; what was warned of, or not tried, is not proven."""
    around = GlobalsSeen(
        result="passed", file="f", sha256="a" * 64, statements=3, roles=1, memberships=0, tablespaces=0, settings=2
    )
    seen = BackupSeen(name=name_at(at(1)), object_bytes=9, without="2 tables")
    drills = [
        certificate(1, drill=Drill(verdict=Verdict.PROVEN, globals=around)),
        certificate(2, drill=Drill(verdict=Verdict.PROVEN, globals=around), backup=seen),
        certificate(3, drill=Drill(verdict=Verdict.PROVEN, globals=around.model_copy(update={"result": "warning"}))),
    ]
    told = report(name_at(at(4))).model_copy(
        update={"started_at": at(4), "checks": (Check(name=GLOBALS, result="passed"),)}
    )
    assert [d.cause for d in month([], drills, reports=[("x", told)]).drills] == [
        "with its roles and settings", "with its roles and settings, without 2 tables", "", "with its roles and settings",
    ]  # fmt: skip


def test_what_was_certified_as_failed_counts_for_nothing_after_its_removal() -> None:
    """The last conclusive drill decides, and an INCONCLUSIVE one says nothing; so does the backup's own report."""
    found = [Drill(verdict=v) for v in (Verdict.PROVEN, Verdict.FAILED, Verdict.INCONCLUSIVE)]
    certificates = [
        certificate(1, listed=(1,)),
        *(certificate(1, started_at=at(2 + n), drill=d) for n, d in enumerate(found)),
    ]
    assert [b.flaw for b in month([], certificates).backups] == ["FAILED"]
    assert [b.flaw for b in month(backups(1), certificates).backups] == ["FAILED"]
    proven_since = [replace(b, verdict=Verdict.PROVEN) for b in backups(1)]
    assert [b.flaw for b in month(proven_since, certificates).backups] == [""]


def test_drills_are_told_once() -> None:
    """A drill is told from its certificate, or else from its report, and the RTO counts where a restore was proven."""
    named = Drill(verdict=Verdict.PROVEN, restore_ms=61_000, report="a.json")
    slow, twice = certificate(1, drill=named), certificate(2, drill=named)
    broken = certificate(4, drill=Drill(verdict=Verdict.INCONCLUSIVE, cause="no disk", restore_ms=99_000))
    unsigned = report(name_at(at(5)), Verdict.FAILED).model_copy(update={"started_at": at(6)})
    long_ago = unsigned.model_copy(update={"started_at": at(-6)})
    seen = month([], [slow, twice, broken], [("a.json", unsigned), ("b.json", unsigned), ("c.json", long_ago)])
    assert [(d.at, d.verdict.value, d.rto, bool(d.certificate)) for d in seen.drills] == [
        (at(1), "PROVEN", "not met", True), (at(4), "INCONCLUSIVE", "", True), (at(6), "FAILED", "", False),
    ]  # fmt: skip
    assert seen.rto == "not met"
    assert month([], [broken]).rto == ""
    assert month([], [certificate(1)]).rto == "met"


def test_restores_are_told_once() -> None:
    """A restore that was signed twice is one line; another one to the same place is another."""
    done = Restore(target="host/db", compared=True, restore_ms=1)
    seen = month([], [certificate(hours, restore=done) for hours in (1, 1, 2)])
    assert [r.at for r in seen.restores] == [at(1), at(2)]


def test_a_certificate_with_a_fault_is_not_relied_on() -> None:
    """What a changed certificate says is not in the report, only that it was changed."""
    sound = month(backups(0), [certificate(1, listed=(0, 0.5))])
    bad = replace(sound.chain, links=(replace(sound.chain.links[0], fault="changed"),), faults=("changed",))
    seen = report_on("2026-11", "default", sound.period, Targets(), chain=bad, backups=backups(0), reports={})
    assert (len(seen.backups), seen.drills) == (1, ())
    assert "1 fault in the chain" in summary(seen)["certificates"]


@given(st.lists(st.floats(-100, 900), max_size=12, unique=True), st.integers(60, 10**6))
def test_the_rpo_is_met_exactly_without_gaps(hours: list[float], target_s: int) -> None:
    """Gaps are those longer than the target; the target is met if there is none; every backup of the month is a line."""
    seen = month(backups(*hours), targets=Targets(target_s, None))
    assert (seen.rpo == "met") == (not seen.gaps)
    assert all(gap.length.total_seconds() > target_s and gap.end > seen.period.start for gap in seen.gaps)
    assert {b.name for b in seen.backups} == {b.name for b in backups(*hours) if b.taken_at.replace(microsecond=0) in seen.period}  # fmt: skip


class Tags(HTMLParser):
    """Collect a page's tags and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.text = set[str](), ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, value in attrs if name in ("src", "href") or name.startswith("on")]
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile() -> Month:
    """A month in which every text that others wrote is hostile."""
    drill = Drill(verdict=Verdict.FAILED, cause=HOSTILE)
    restore = Restore(target=f"={HOSTILE}", compared=True, restore_ms=1)
    seen = month(backups(1, 9), [certificate(3, drill=drill), certificate(2, restore=restore)], faults=(HOSTILE,))
    return replace(seen, plan=HOSTILE)


def test_the_page_holds_no_foreign_markup() -> None:
    """Names, causes and targets are text, whatever they contain; the page needs no script and no other file."""
    page = as_html(hostile())
    seen = Tags(page)
    assert not seen.tags & {"script", "img", "iframe", "link", "object", "a"}
    assert "<script>alert(1)</script>" in seen.text
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "8 h 0 min, 7 h 0 min longer than RPO_TARGET" in " ".join(seen.text.split())


def test_the_table_holds_no_formula() -> None:
    """Every row has all columns, in the order of time, and no cell begins as a formula does."""
    text = as_csv(hostile())
    rows = list(csv.reader(StringIO(text)))
    assert {len(row) for row in rows} == {9}
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert [row[0] for row in rows[1:]].count("backup") == 2
    assert [row[1] for row in rows[1:]] == sorted(row[1] for row in rows[1:])
    assert "\x1b" not in text
    ((restored,),) = [[row for row in rows if row[0] == "restore"]]
    assert restored[8].startswith("'=<script>")


def test_an_empty_month_can_be_shown() -> None:
    """Without backups, drills, targets or certificates, the report says so."""
    seen = month([], targets=Targets())
    text = Tags(as_html(seen)).text
    for words in ("There was none.", "None was certified", "None is known of.", "No RPO_TARGET is set"):
        assert words in text
    assert as_csv(seen).count("\n") == 1
    assert summary(seen)["certificates"] == "none: what follows is not signed"
