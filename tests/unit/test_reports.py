"""People read a drill's report: the important parts come first, and no database name breaks its layout."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.repository import checks as checklist
from tasks.engine.repository.checks import completed, failed, not_possible, passed, warned
from tasks.engine.repository.manifest import Check, DrillReport, Verdict
from tasks.reports import coverage, drill_markdown, timings

DIFF = "printed by pg_dump 16.4 and 16.4:\n--- stored\n+++ restored\n-CREATE INDEX i ON t (a);"


def report(verdict: Verdict = Verdict.PROVEN, *checks: Check, cause: str = "") -> DrillReport:
    return DrillReport(
        tool_version="1", backup="backup_20240207_143022", verdict=verdict, cause=cause, place="sandbox",
        checks=completed(checks or [passed(name, "fine") for name in checklist.ALL], "the drill ended before"),
        target_version="16.4", started_at=datetime(2024, 2, 7, 15, tzinfo=UTC), age_seconds=1800, tables=3, rows=1234567,
        raw_bytes=5 << 20, restore_seconds=4.25, compare_seconds=1.5, seconds=6.0,
    )  # fmt: skip


def test_the_verdict_is_first_then_what_it_covers_then_the_timings() -> None:
    """The first lines say what counts; a drill without findings has no such heading."""
    text = drill_markdown(report())
    places = [text.index(part) for part in ("PROVEN", "1,234,567 rows of 3 tables", "Restore time (RTO) | Backup age (RPO)",
                                            "| 4.2 s | 30 min |", "| check |")]  # fmt: skip
    assert places == sorted(places)
    assert text.startswith("# ✅ PROVEN: backup_20240207_143022")
    assert "Findings" not in text


@pytest.mark.parametrize("verdict", Verdict)
def test_every_check_has_a_row(verdict: Verdict) -> None:
    """Made or not, every check is in the table, once."""
    text = drill_markdown(report(verdict, passed(checklist.OBJECT, "here"), cause="why"))
    table = text[text.index("## Every check") :]
    assert [table.count(f"| {name} |") for name in checklist.ALL] == [1] * len(checklist.ALL)
    assert "the drill ended before" in table


def test_findings_stand_before_the_table_with_their_diff() -> None:
    """Failures and warnings are shown in full; the table has one line for each."""
    checks = [failed(checklist.SCHEMA, DIFF), warned(checklist.SEQUENCES, "s is at 1"), passed(checklist.ROWS, "7")]
    text = drill_markdown(report(Verdict.FAILED, *checks, cause="schema"))
    findings, table = text.split("## Timings")
    assert f"```diff\n{DIFF}\n```" in findings
    assert "s is at 1" in findings
    assert "row counts" not in findings
    assert "CREATE INDEX" not in table


def test_a_proof_names_the_checks_that_were_not_possible() -> None:
    """A foreign backup is proven with fewer checks, and its report says so at once."""
    checks = [passed(name, "fine") for name in checklist.ALL if name != checklist.SIZE]
    assert "not possible: size and SHA-256." in coverage(
        report(Verdict.PROVEN, *checks, not_possible(checklist.SIZE, "no"))
    )


def test_without_a_verdict_nothing_is_said_of_the_backup() -> None:
    """INCONCLUSIVE says why, and claims neither a restore nor a comparison."""
    undecided = report(Verdict.INCONCLUSIVE, cause="Cannot connect to database").model_copy(
        update={"restore_seconds": 0.0, "compare_seconds": 0.0}
    )
    assert coverage(undecided).endswith("it says nothing about the backup: Cannot connect to database")
    assert "What to do" not in drill_markdown(undecided)
    assert timings(undecided)["Restore time (RTO)"] == "not restored"


def test_what_to_do_stands_before_the_findings() -> None:
    """A verdict other than PROVEN says what to do about its cause at once, and a hint can't add Markdown."""
    hinted = report(Verdict.INCONCLUSIVE, cause="no room").model_copy(update={"hint": "free some space, *then* again"})
    top = drill_markdown(hinted).partition("## ")[0]
    assert top.endswith("no room\n\n**What to do:** free some space, \\*then\\* again\n\n")


@given(st.text(max_size=60))
def test_no_name_breaks_the_report(name: str) -> None:
    """A table name can contain Markdown: the table's rows keep their four cells, and no fence is closed early."""
    checks = [
        failed(checklist.ROWS, f"{name}: 3 rows"),
        *(passed(n, "fine") for n in checklist.ALL if n != checklist.ROWS),
    ]
    text = drill_markdown(report(Verdict.FAILED, *checks, cause="rows"))
    rows = [line for line in text[text.index("## Every check") :].split("\n") if line.startswith("|")]
    assert len(rows) == len(checklist.ALL) + 2
    unescaped = [row.replace("\\\\", "").replace("\\|", "").count("|") for row in rows]
    assert unescaped == [5] * len(rows)
    fence = next(line for line in text.split("\n") if line.startswith("```")).rstrip("dif")
    assert fence not in name
