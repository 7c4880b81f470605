"""From a drill's observations to its report: every check, a verdict that isn't guessed, and its cause."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks import errors
from blocks.config.plan import DrillOptions
from blocks.errors import BackupDamaged, DrillTimedOut, EmptyBackup, PgRoundtripError, RestoreError, RestoreFailed
from tasks.engine.drill.rehearsal import DrillJob, Rehearsal
from tasks.engine.drill.report import report_on
from tasks.engine.drill.verdict import blame, judge
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import completed, failed, not_possible, passed, timed, warned
from tasks.engine.repository.manifest import Check, DrillReport
from tests.unit.test_catalog import FIRST, NOW
from tests.unit.test_place import backup, plan

Result = Literal["passed", "failed", "warning", "not possible"]
ORDER = ["failed", "warning", "not possible", "passed"]
RESULTS = st.sampled_from(ORDER)
CHECKS = st.builds(
    Check, name=st.sampled_from([*checklist.ALL, "query: a", "query: b"]), result=RESULTS, evidence=st.text(max_size=5),
    seconds=st.floats(0, 9),
)  # fmt: skip
DAMAGED = BackupDamaged("cut short", check=checklist.COMPLETE)
REFUSED = RestoreFailed("duplicate key value", sqlstate="23505")


# --- the rows ---------------------------------------------------------------------------------------------------------


@given(st.lists(CHECKS, max_size=12))
def test_a_report_has_a_row_for_every_check(made: list[Check]) -> None:
    """Each check appears once, in reading order, with the user's own last; one that wasn't made says why."""
    rows = completed(made, "because")
    names = [row.name for row in rows]
    assert tuple(names[: len(checklist.ALL)]) == checklist.ALL
    assert names[len(checklist.ALL) :] == list(dict.fromkeys(c.name for c in made if c.name not in checklist.ALL))
    for row in rows:
        found = [c for c in made if c.name == row.name]
        worst = min((c.result for c in found), key=ORDER.index, default="not possible")
        assert row.result == worst
        if not found:
            assert row == not_possible(row.name, "because")
        elif len(found) == 1:
            assert row == found[0]


@pytest.mark.parametrize(("results", "result", "evidence"), [
    (["passed", "passed"], "passed", "0; 1"), (["passed", "failed"], "failed", "1"), (["failed", "passed"], "failed", "0"),
    (["failed", "failed"], "failed", "0; 1"), (["not possible", "passed"], "not possible", "0"), (["passed", "warning"], "warning", "1"),
    (["not possible", "failed"], "failed", "1"), (["failed", "warning", "failed"], "failed", "0; 2"),
])  # fmt: skip
def test_what_was_found_in_several_ways(results: list[Result], result: str, evidence: str) -> None:
    """Several findings of one check merge into the worst result with its evidence, and the total time."""
    made = [Check(name=checklist.ROWS, result=r, evidence=str(n), seconds=1.5) for n, r in enumerate(results)]
    row = next(c for c in completed(made, "") if c.name == checklist.ROWS)
    assert (row.result, row.evidence, row.seconds) == (result, evidence, 1.5 * len(results))


def test_checks_of_one_pass_share_its_time() -> None:
    """Checks of one pass share its time, rounded to a useful precision."""
    assert {c.seconds for c in timed([passed("a", ""), failed("b", "")], 1.23456)} == {1.235}


# --- the verdict ------------------------------------------------------------------------------------------------------


@given(st.lists(CHECKS, max_size=12))
def test_a_failed_check_is_a_failed_backup(made: list[Check]) -> None:
    """Warnings and checks that weren't possible are reported, but don't fail the backup."""
    assert judge(made) == ("FAILED" if any(c.result == "failed" for c in made) else "PROVEN")


@pytest.mark.parametrize(("error", "verdict"), [
    (DAMAGED, "FAILED"), (EmptyBackup(), "FAILED"), (RestoreFailed("duplicate key", sqlstate="23505"), "FAILED"),
    (RestoreFailed("syntax error", sqlstate="42601"), "FAILED"), (RestoreFailed('relation "t" does not exist', sqlstate="42P01"), "FAILED"),
    (RestoreFailed("a check failed", sqlstate="P0001"), "FAILED"), (RestoreFailed('type "t" does not exist', sqlstate="42704"), "FAILED"),
    (RestoreFailed("invalid byte sequence", sqlstate="22021"), "FAILED"), (RestoreFailed("it ended early"), "INCONCLUSIVE"),
    (RestoreFailed('role "app" does not exist', sqlstate="42704"), "INCONCLUSIVE"),
    (RestoreFailed('tablespace "fast" does not exist', sqlstate="42704"), "INCONCLUSIVE"),
    (RestoreFailed('extension "postgis" is not available', sqlstate="0A000"), "INCONCLUSIVE"),
    (RestoreFailed("permission denied", sqlstate="42501"), "INCONCLUSIVE"), (RestoreFailed("out of memory", sqlstate="53200"), "INCONCLUSIVE"),
    (RestoreFailed("canceling statement", sqlstate="57014"), "INCONCLUSIVE"), (RestoreFailed("I/O error", sqlstate="58030"), "INCONCLUSIVE"),
    (RestoreError("no pg_dump"), "INCONCLUSIVE"), (DrillTimedOut(), "INCONCLUSIVE"),
])  # fmt: skip
def test_who_is_to_blame_for_an_error(error: PgRoundtripError, verdict: str) -> None:
    """What a server couldn't attempt says nothing about a backup; what it refuses of a whole one does."""
    assert blame(error) == verdict


@pytest.mark.parametrize("name", [
    "DatabaseUnreachable", "DatabaseRefused", "DatabaseTimeout", "CreateDatabaseDenied", "ClientMissing", "StorageUnreachable",
    "StorageTimeout", "StorageDenied", "BucketMissing", "ObjectMissing", "NoSpaceLeft", "DumpFailed", "TargetNotEmpty",
])  # fmt: skip
def test_faults_of_ours_and_of_the_network_blame_no_backup(name: str) -> None:
    """None of these errors says anything about the backup."""
    assert blame(getattr(errors, name)()) == "INCONCLUSIVE"


# --- the report -------------------------------------------------------------------------------------------------------

YOUNG, OLD = timedelta(minutes=5), timedelta(days=3)
WHOLE = (
    passed(checklist.OBJECT, "there"),
    passed(checklist.RESTORED, "on PostgreSQL 16"),
    passed(checklist.ROWS, "20 rows"),
)
DIFFERENT = failed(checklist.DIGESTS, "public.books differs\n- one\n+ other")


def reported(
    checks: Sequence[Check] = (), error: PgRoundtripError | None = None, age: timedelta = YOUNG, **seen: Any
) -> DrillReport:
    the_backup = Backup(FIRST, NOW - age, f"b/{FIRST}.sql.gz", 1, has_manifest=True, has_report=False)
    return report_on(the_backup, Rehearsal(checks=list(checks), error=error, **seen), NOW, 9.87654, 3600)


@pytest.mark.parametrize(("checks", "error", "age", "verdict", "cause", "holds"), [
    (WHOLE, None, YOUNG, "PROVEN", "", True),
    ((*WHOLE, warned("query: a", "no such table"), not_possible(checklist.MANIFEST, "foreign")), None, YOUNG, "PROVEN", "", True),
    ((*WHOLE, DIFFERENT), None, YOUNG, "FAILED", "row digests: public.books differs", False),
    ((*WHOLE, failed(checklist.SCHEMA, "")), None, YOUNG, "FAILED", "schema: ", False),
    (WHOLE, None, OLD, "FAILED", "backup age: 3 days old, the limit is 60 min", True),
    ((*WHOLE, DIFFERENT), None, OLD, "FAILED", "row digests: public.books differs; backup age: 3 days old, the limit is 60 min", False),
    ((), DAMAGED, YOUNG, "FAILED", DAMAGED.sentence, False), ((), DAMAGED, OLD, "FAILED", DAMAGED.sentence, False),
    (WHOLE[:1], REFUSED, OLD, "FAILED", REFUSED.sentence, False),
    # A late backup whose drill didn't complete is not known to be good.
    ((), DrillTimedOut(), YOUNG, "INCONCLUSIVE", DrillTimedOut.message, False),
    ((), DrillTimedOut(), OLD, "INCONCLUSIVE", DrillTimedOut.message, False),
    (WHOLE, DrillTimedOut(), OLD, "INCONCLUSIVE", DrillTimedOut.message, False),
    # A difference that was found counts, however the drill ended afterwards.
    ((*WHOLE, DIFFERENT), DrillTimedOut(), OLD, "FAILED", "row digests: public.books differs", False),
])  # fmt: skip
def test_the_verdict_and_its_cause(
    checks: Sequence[Check], error: PgRoundtripError | None, age: timedelta, verdict: str, cause: str, holds: bool
) -> None:
    """Findings decide; an error decides only if nothing was found before it; the backup's age never hides either."""
    report = reported(checks, error, age)
    assert (report.verdict, report.cause, report.contents_hold) == (verdict, cause, holds)
    assert {c.name for c in report.checks} >= set(checklist.ALL)
    assert bool(report.hint) == bool(report.code) == (verdict != "PROVEN")


def test_a_verdict_has_a_hint_even_if_its_error_has_none() -> None:
    """Whoever reads of a cause that hints at nothing finds it explained."""
    assert reported((), RestoreError("no pg_dump")).hint == "docs/troubleshooting.md explains PGR-RESTORE-IMPOSSIBLE"


@pytest.mark.parametrize(("checks", "error", "row"), [
    ((), DAMAGED, failed(checklist.COMPLETE, DAMAGED.sentence)), ((), REFUSED, failed(checklist.RESTORED, REFUSED.sentence)),
    ((), EmptyBackup("no bytes"), failed(checklist.OBJECT, EmptyBackup("no bytes").sentence)),
    ((), DrillTimedOut(), not_possible(checklist.RESTORED, DrillTimedOut.message)),
    (WHOLE, DrillTimedOut(), WHOLE[1]),
    (WHOLE, DrillTimedOut(), not_possible(checklist.SCHEMA, "the drill ended before")),
])  # fmt: skip
def test_the_row_of_an_error(checks: Sequence[Check], error: PgRoundtripError, row: Check) -> None:
    """An error is attached to the check it belongs to; one after the restore doesn't undo the restore's result."""
    assert row in reported(checks, error).checks


def test_the_figures_of_a_report() -> None:
    """A report says what was restored, where, how old it was and how long it took."""
    summary = DumpSummary(raw_bytes=1234)
    report = reported(
        WHOLE,
        None,
        OLD,
        summary=summary,
        place="sandbox",
        target_version="16.4",
        restore_seconds=1.5,
        compare_seconds=2.5,
    )
    assert (report.backup, report.place, report.target_version, report.started_at) == (FIRST, "sandbox", "16.4", NOW)
    assert (report.tables, report.rows, report.raw_bytes) == (0, 0, 1234)
    assert (report.restore_seconds, report.compare_seconds, report.seconds) == (1.5, 2.5, 9.877)
    assert report.age_seconds == OLD.total_seconds()
    ahead = reported(WHOLE, None, -OLD)  # a clock that is wrong
    assert (ahead.verdict, ahead.age_seconds) == ("PROVEN", 0)


@pytest.mark.parametrize(("max_age_s", "age_s", "result"), [
    (None, 10**9, "passed"), (3600, 3600, "passed"), (3600, 3601, "failed"), (60, 0, "passed"),
])  # fmt: skip
def test_the_limit_of_the_age(max_age_s: int | None, age_s: int, result: str) -> None:
    """A backup can be as old as VERIFY_MAX_AGE, but no older; without a limit any age will do."""
    the_backup = Backup(FIRST, NOW - timedelta(seconds=age_s), "b", 1, has_manifest=True, has_report=False)
    report = report_on(the_backup, Rehearsal(checks=list(WHOLE)), NOW, 1.0, max_age_s)
    assert [c.result for c in report.checks if c.name == checklist.AGE] == [result]


def test_the_time_that_is_left() -> None:
    """The limit counts from the drill's start, whichever attempt this is; when it is over, nothing more is started."""
    the_plan = dataclasses.replace(plan(), drill=DrillOptions(timeout_s=600))
    task: Any = {
        "plan": the_plan,
        "repository": None,
        "backup": backup(foreign=True),
        "place": None,
        "queries": (),
        "logger": None,
        "now": NOW,
    }
    assert 599 < DrillJob(**task).remaining_s() <= 600
    assert 0 < DrillJob(**task, begun=time.monotonic() - 599).remaining_s() <= 1
    with pytest.raises(DrillTimedOut):
        DrillJob(**task, begun=time.monotonic() - 600).remaining_s()
