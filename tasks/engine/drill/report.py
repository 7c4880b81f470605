"""Turn a drill's findings into its report, with a verdict and a row for every check."""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.errors import BackupDamaged, EmptyBackup, PgRoundtripError, VerificationFailed
from tasks.engine.drill import verdict
from tasks.engine.drill.rehearsal import Rehearsal
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Check, DrillReport, Verdict
from tasks.engine.wording import human_age, tool_version

# If one of these fails, rows are missing or different.
_CONTENTS = {
    checklist.OBJECT, checklist.MANIFEST, checklist.SIZE, checklist.GZIP, checklist.COMPLETE, checklist.TABLES, checklist.ROWS,
    checklist.DIGESTS, checklist.LARGE_OBJECTS, checklist.SEQUENCES, checklist.TABLE_QUERY, checklist.ROW_QUERY,
}  # fmt: skip
_OTHER_SCHEMA = (
    "all rows came back, but into a schema that differs from the dumped one; the report lists the differences"
)

_OTHER_GLOBALS = (
    "the dump came back whole, but not the roles and settings beside it; take a new backup, and compare the two"
)


def report_on(
    backup: Backup, seen: Rehearsal, started: datetime, seconds: float, max_age_s: int | None = None
) -> DrillReport:
    """Build the report of a drill, with a verdict and a row for every check; pure."""
    checks, age = [*seen.checks, *_check_end(seen)], _check_age(started - backup.taken_at, max_age_s)
    judged, cause = _judge(checks, seen.error) if seen.error else _judge([*checks, age], None)
    summary = seen.summary
    report = DrillReport(
        tool_version=tool_version(), backup=backup.name, verdict=judged, cause=cause,
        checks=checklist.completed([*checks, age], "the drill ended before"), place=seen.place, target_version=seen.target_version,
        started_at=started, age_seconds=round(max(0.0, (started - backup.taken_at).total_seconds()), 3),
        tables=len(summary.tables) if summary else 0, rows=summary.rows if summary else 0,
        raw_bytes=summary.raw_bytes if summary else 0, restore_seconds=seen.restore_seconds,
        compare_seconds=seen.compare_seconds, seconds=round(seconds, 3), warnings=seen.warnings,
        without=bounded([seen.manifest.without])[0] if seen.manifest else "",
    )  # fmt: skip
    if not (complaint := error_of(report, seen.error)):
        return report
    hint = complaint.hint or f"docs/troubleshooting.md explains {complaint.code}"
    return report.model_copy(update={"code": complaint.code, "hint": hint})


def _check_end(seen: Rehearsal) -> list[Check]:
    """Return the row of an error that ended the drill; none after the restore, about which the error says nothing."""
    error = seen.error
    if error is None or checklist.RESTORED in {c.name for c in seen.checks}:
        return []
    name = error.check if isinstance(error, BackupDamaged | EmptyBackup) else checklist.RESTORED
    how = checklist.failed if verdict.blame(error) is Verdict.FAILED else checklist.not_possible
    return [how(name, error.sentence)]


def _judge(checks: list[Check], error: PgRoundtripError | None) -> tuple[Verdict, str]:
    """Return the verdict and its cause. What was found before an error counts; what was not is not guessed."""
    judged = verdict.judge(checks)
    if error and (judged is Verdict.PROVEN or verdict.blame(error) is Verdict.FAILED):
        return verdict.blame(error), error.sentence
    return judged, "; ".join(f"{c.name}: {c.evidence.partition(chr(10))[0]}" for c in checks if c.result == "failed")


def _check_age(age: timedelta, max_age_s: int | None) -> Check:
    said = f"{human_age(age)} old"
    if max_age_s is None:
        return checklist.passed(checklist.AGE, f"{said}; VERIFY_MAX_AGE sets no limit")
    limit = f"{said}, the limit is {human_age(timedelta(seconds=max_age_s))}"
    return (checklist.failed if age > timedelta(seconds=max_age_s) else checklist.passed)(checklist.AGE, limit)


def error_of(report: DrillReport, error: PgRoundtripError | None) -> PgRoundtripError | None:
    """Return the error to log for a drill that did not prove its backup; None if it did."""
    if error or report.verdict is Verdict.PROVEN:
        return error
    failed = {c.name for c in report.checks if c.result == "failed"}
    if failed & (set(checklist.ALL) - {checklist.AGE}):
        if failed == {checklist.GLOBALS}:
            return BackupDamaged(report.cause, hint=_OTHER_GLOBALS)
        return BackupDamaged(report.cause) if failed & _CONTENTS else BackupDamaged(report.cause, hint=_OTHER_SCHEMA)
    return VerificationFailed(report.cause)
