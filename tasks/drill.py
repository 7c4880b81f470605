"""The steps of a drill: choose a backup and a place, rehearse the restore, and store what was found beside the backup."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from prefect import get_run_logger, task

from blocks.config.plan import Plan
from blocks.errors import BackupDamaged, EmptyBackup, PgRoundtripError, VerificationFailed
from blocks.sql.server import Server
from tasks.choice import choose
from tasks.engine.drill import verdict
from tasks.engine.drill.query_file import Query, load_queries
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted
from tasks.engine.repository.manifest import Check, DrillReport, Verdict
from tasks.engine.repository.names import LATEST
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.scratch import sweep_scratch_databases
from tasks.place import Place, choose_place, sweep, version_of
from tasks.policy import LONG, QUICK, called
from tasks.rehearsal import DrillJob, Rehearsal, rehearse
from tasks.wording import human_age, tool_version

# When one of these fails, rows are missing or others.
_CONTENTS = {
    checklist.OBJECT, checklist.MANIFEST, checklist.SIZE, checklist.GZIP, checklist.COMPLETE, checklist.TABLES, checklist.ROWS,
    checklist.DIGESTS, checklist.LARGE_OBJECTS, checklist.SEQUENCES, checklist.TABLE_QUERY, checklist.ROW_QUERY,
}  # fmt: skip
_OTHER_SCHEMA = (
    "all rows came back, but into another schema than the one that was dumped; the report has the differences"
)


@task(**called("choose the backup"), **QUICK)
def choose_backup(plan: Plan, repository: Repository, name: str | None) -> Backup:
    """Take the named backup (`latest`: the newest), else the plan's, else the newest."""
    return choose(plan, repository, None if name == LATEST else name or plan.drill.backup_file, in_turn=True)


@task(**called("read the queries"), **QUICK)
def read_own_queries(plan: Plan) -> list[Query]:
    """Read the user's queries first: what is wrong with them should not be told after an hour's restore."""
    queries = load_queries(plan.drill.queries_file)
    if queries:
        get_run_logger().info(
            "%s of %s", counted(len(queries), "query", "queries"), plan.drill.queries_file or "test-queries.sql"
        )
    return queries


@task(**called("choose the place"), **QUICK)
def choose_ground(plan: Plan, repository: Repository, backup: Backup) -> Place:
    """Choose where to restore to, by the plan and by the version that the backup was made with."""
    return choose_place(plan, version_of(repository, backup))


@task(**called("sweep temp databases"), **QUICK)
def sweep_scratch(server: Server) -> list[str]:
    """Drop what killed runs left behind. A sweep that fails is no reason not to go on."""
    try:
        return _told(sweep_scratch_databases(server))
    except PgRoundtripError as error:
        return _not_swept(error)


@task(**called("sweep the place"), **QUICK)
def sweep_place(place: Place) -> list[str]:
    """Remove what killed drills left behind in this place. A sweep that fails is no reason not to go on."""
    try:
        return _told(sweep(place))
    except PgRoundtripError as error:
        return _not_swept(error)


def _told(swept: list[str]) -> list[str]:
    if swept:
        get_run_logger().info("Dropped temp databases of an earlier run: %s", ", ".join(swept))
    return swept


def _not_swept(error: PgRoundtripError) -> list[str]:
    get_run_logger().warning("Failed to cleanup temp database [%s]", error.sentence)
    return []


@task(**called("rehearse the restore", "rehearse {backup.name}"), **LONG)
def rehearse_restore(
    plan: Plan, repository: Repository, backup: Backup, place: Place, queries: list[Query], begun: float | None = None
) -> Rehearsal:
    """Restore a backup into a place of its own, dump that, and compare.

    A retry begins from nothing, and has only the time that is left of the drill's, when that is known to have begun at `begun`.
    """
    return rehearse(
        DrillJob(
            plan, repository, backup, place, queries, get_run_logger(), time.monotonic() if begun is None else begun
        )
    )


def report_on(
    backup: Backup, seen: Rehearsal, started: datetime, seconds: float, max_age_s: int | None = None
) -> DrillReport:
    """Turn what was seen into a report with a verdict and a row for every check; pure."""
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
    )  # fmt: skip
    complaint = complaint_of(report, seen.error)
    return report.model_copy(update={"code": complaint.code}) if complaint else report


def _check_end(seen: Rehearsal) -> list[Check]:
    """The row of an error that ended the drill; after the restore it says nothing about that, and has none."""
    error = seen.error
    if error is None or checklist.RESTORED in {c.name for c in seen.checks}:
        return []
    name = error.check if isinstance(error, BackupDamaged | EmptyBackup) else checklist.RESTORED
    how = checklist.failed if verdict.blame(error) is Verdict.FAILED else checklist.not_possible
    return [how(name, error.sentence)]


def _judge(checks: list[Check], error: PgRoundtripError | None) -> tuple[Verdict, str]:
    """The verdict and its cause. What was found before an error ended the drill stands; what was not is not guessed."""
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


def complaint_of(report: DrillReport, error: PgRoundtripError | None) -> PgRoundtripError | None:
    """What a drill that did not prove its backup has to say in the log; None when it proved it."""
    if error or report.verdict is Verdict.PROVEN:
        return error
    failed = {c.name for c in report.checks if c.result == "failed"}
    if failed & (set(checklist.ALL) - {checklist.AGE}):
        return BackupDamaged(report.cause) if failed & _CONTENTS else BackupDamaged(report.cause, hint=_OTHER_SCHEMA)
    return VerificationFailed(report.cause)


@task(**called("store the report"), **QUICK)
def store_report(repository: Repository, report: DrillReport) -> None:
    """Keep the report beside the backup; a key that may only read is warned about, the verdict stands."""
    try:
        if not repository.store_report(report):
            get_run_logger().info("The report of the last conclusive drill stays beside the backup")
    except PgRoundtripError as error:
        if error.transient:
            raise
        get_run_logger().warning("The drill report is kept in Prefect alone: %s", error.sentence)
