"""The steps of a restore to a database that somebody will use."""

from __future__ import annotations

import contextlib

from prefect import get_run_logger, task

from blocks.errors import PgRoundtripError
from blocks.plan import Plan
from blocks.postgres import PostgresServer
from blocks.storage_errors import DOWNLOAD
from tasks.clock import utc_now
from tasks.engine import catalog
from tasks.engine.catalog import Backup
from tasks.engine.checklist import rows_of_tables
from tasks.engine.clients import match_client
from tasks.engine.manifest import Manifest, Verdict
from tasks.engine.psql_feed import Manner, feed_psql
from tasks.engine.restore_stream import BackupReader, Flow, read_through
from tasks.engine.scratch import scratch_database
from tasks.engine.target import Target, aside_name, inspect_target, take_over, what_is_left
from tasks.policy import QUICK, READING, called
from tasks.rehearsal import locale_of
from tasks.reports.progress import RestoreProgress
from tasks.second_look import read_twice
from tasks.wording import human_bytes


@task(**called("choose the backup"), **QUICK)
def choose_named(plan: Plan, name: str) -> tuple[Backup, Manifest | None]:
    """Find the backup by its name, `latest` for the newest one, with its manifest."""
    wanted = None if name == catalog.LATEST else name
    backup = catalog.choose(catalog.read_catalog(plan.storage, plan.storage.list_objects(DOWNLOAD)), wanted)
    _warn_of_failure(plan, backup)
    return backup, catalog.look_for_manifest(plan.storage, backup)


def _warn_of_failure(plan: Plan, backup: Backup) -> None:
    """Say that a drill has failed this backup; whoever has no better one may want it all the same."""
    with contextlib.suppress(PgRoundtripError):  # a report that cannot be read keeps nobody from a restore
        report = catalog.report_of(plan.storage, backup.name)
        if report and report.verdict is Verdict.FAILED:
            hint = "pg-roundtrip list shows which backups are PROVEN"
            get_run_logger().warning("The newest drill of %s FAILED: %s\nHINT: %s", backup.name, report.cause, hint)


@task(**called("look at the target"), **QUICK)
def look_at_target(database: PostgresServer, replace: bool) -> Target:
    """Refuse a target that must not be touched, before anything is read or written."""
    return inspect_target(database, replace=replace)


@task(**called("restore into a new database and rename it", "restore {backup.name} and rename it"), **READING)
def restore_and_swap(plan: Plan, backup: Backup, manifest: Manifest | None, target: Target) -> Flow:
    """Restore under a temporary name; the target's name goes to it only when all of it is right.

    A retry begins from nothing, with another name.
    """
    logger = get_run_logger()
    client = match_client(target.facts.major)
    with scratch_database(target.maintenance, "restore", locale_of(manifest), utc_now(), logger.warning) as fresh:
        logger.info("Restoring %s (%s) into %s", backup.name, human_bytes(backup.object_bytes), fresh.database)
        with RestoreProgress(backup.name, backup.object_bytes, logger.info) as progress:
            reader = BackupReader(plan.storage, backup, manifest)
            with read_twice(plan.storage, backup, manifest, reader):
                flow = feed_psql(reader, fresh, client, Manner(progress=progress.tell))
            progress.done()
        take_over(target, fresh.database, aside_name(utc_now()), logger.warning)
    what = rows_of_tables(flow.summary.rows, len(flow.summary.tables))
    logger.info("Restored %s to %s", what, target.database.address)
    return flow


@task(**called("restore in place", "restore {backup.name} in place"), **READING)
def restore_in_place(plan: Plan, backup: Backup, manifest: Manifest | None, target: Target) -> Flow:
    """Restore into the empty database that is there, for a role that may not create one.

    The whole backup is read and checked first. Then it goes in within one transaction, unless it holds large
    objects: their part of a dump commits by itself. On failure the error says what was left; a retry is for one that
    left nothing.
    """
    logger = get_run_logger()
    client = match_client(target.facts.major)
    logger.info("The role may not create databases: checking the whole backup, then restoring in place")
    reader = BackupReader(plan.storage, backup, manifest)
    with read_twice(plan.storage, backup, manifest, reader):
        checked = read_through(reader)
    atomic = not checked.summary.large_objects
    try:
        with RestoreProgress(backup.name, backup.object_bytes, logger.info) as progress:
            reader = BackupReader(plan.storage, backup, manifest)
            manner = Manner(single_transaction=atomic, progress=progress.tell)
            with read_twice(plan.storage, backup, manifest, reader):
                flow = feed_psql(reader, target.database, client, manner)
            progress.done()
    except PgRoundtripError as error:
        error.hint = "; ".join(filter(None, (error.hint, what_is_left(target.database))))
        error.transient = error.transient and atomic
        raise
    what = rows_of_tables(flow.summary.rows, len(flow.summary.tables))
    logger.info("Restored %s to %s", what, target.database.address)
    return flow
