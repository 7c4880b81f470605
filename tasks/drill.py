"""The steps of a drill: choose a backup and a place, rehearse the restore, and store the report beside the backup."""

from __future__ import annotations

import time

from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from blocks.sql.server import Server
from tasks.clock import utc_now
from tasks.engine.drill.place import Place, choose_place, sweep, version_of
from tasks.engine.drill.query_file import Query, load_queries
from tasks.engine.drill.rehearsal import DrillJob, Rehearsal, rehearse
from tasks.engine.drill.unusual import check_restore_time, earlier_drills
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import RESTORE_TIME, counted, not_possible
from tasks.engine.repository.choice import choose
from tasks.engine.repository.manifest import Check, DrillReport
from tasks.engine.repository.names import LATEST
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import folder_of
from tasks.engine.servers.scratch import sweep_scratch_databases
from tasks.hooks import restore_check
from tasks.orchestration import get_run_logger, task
from tasks.reports.progress import RestoreProgress
from tasks.retries import LONG, ONCE, QUICK


@task("choose the backup", QUICK)
def choose_backup(plan: Plan, repository: Repository, name: str | None) -> Backup:
    """Take the named backup (`latest`: the newest), else the plan's, else the newest."""
    wanted = None if name == LATEST else name or plan.drill.backup_file
    return choose(plan, repository, wanted, utc_now(), get_run_logger().warning, in_turn=True)


@task("read the queries", QUICK)
def read_own_queries(plan: Plan) -> list[Query]:
    """Read the user's queries first: an error in them should not surface after an hour's restore."""
    queries = load_queries(plan.drill.queries_file)
    if queries:
        get_run_logger().info(
            "%s of %s", counted(len(queries), "query", "queries"), plan.drill.queries_file or "test-queries.sql"
        )
    return queries


@task("choose the place", QUICK)
def choose_drill_place(plan: Plan, repository: Repository, backup: Backup) -> Place:
    """Choose where to restore to, by the plan and the server version that the backup needs."""
    return choose_place(plan, version_of(repository, backup))


@task("sweep temp databases", QUICK)
def sweep_scratch(server: Server) -> list[str]:
    """Drop what killed runs left behind; a failed sweep is only a warning."""
    try:
        return _told(sweep_scratch_databases(server))
    except PgRoundtripError as error:
        return _not_swept(error)


@task("sweep the place", QUICK)
def sweep_place(place: Place) -> list[str]:
    """Remove what killed drills left behind in this place; a failed sweep is only a warning."""
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


@task("rehearse the restore", LONG, run_name="rehearse {backup.name}")
def rehearse_restore(
    plan: Plan, repository: Repository, backup: Backup, place: Place, queries: list[Query], begun: float | None = None
) -> Rehearsal:
    """Restore a backup into a separate place, dump that, and compare.

    A retry starts over, but within the drill's time limit, which counts from `begun` if that is given.
    """
    logger = get_run_logger()

    def watched() -> RestoreProgress:
        return RestoreProgress(backup.name, backup.object_bytes, logger.info)

    since = time.monotonic() if begun is None else begun
    check = restore_check(plan, backup)
    return rehearse(DrillJob(plan, repository, backup, place, queries, logger, utc_now(), watched, since, check))


@task("compare the restore time", ONCE)
def compare_restore_time(plan: Plan, repository: Repository, seen: Rehearsal) -> list[Check]:
    """Return the check of the restore's duration; none if nothing was restored."""
    if not seen.restore_seconds:
        return []
    try:
        own = folder_of(plan, backups=repository.backups()).own
        raw_bytes = seen.summary.raw_bytes if seen.summary else 0
        earlier = earlier_drills(repository, own)
        return [check_restore_time(seen.place, seen.restore_seconds, raw_bytes, earlier, utc_now())]
    except PgRoundtripError as error:
        return [not_possible(RESTORE_TIME, error.sentence)]


@task("store the report", QUICK)
def store_report(repository: Repository, report: DrillReport) -> str:
    """Store the report beside the backup, and return the name of its file.

    Only warn if the key can only read, because the verdict stands; the name is empty then.
    """
    try:
        return repository.store_report(report)
    except PgRoundtripError as error:
        if error.transient:
            raise
        get_run_logger().warning("The drill report is not in the bucket: %s", error.sentence)
        return ""
