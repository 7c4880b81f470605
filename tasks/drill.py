"""The steps of a drill: choose a backup, rehearse its restore, and store what was found beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from prefect import get_run_logger, task

from blocks.errors import PgRoundtripError, RestoreError, RestoreFailed
from blocks.plan import Plan
from blocks.postgres import PostgresServer
from blocks.storage import DOWNLOAD
from tasks.clock import utc_now
from tasks.engine import catalog, round_trip
from tasks.engine.catalog import Backup
from tasks.engine.clients import Client, match_client
from tasks.engine.dump import running_dump
from tasks.engine.dump_stream import DumpScanner, DumpSummary
from tasks.engine.manifest import Check, DrillReport, Manifest, Verdict
from tasks.engine.pipeline import scan_dump
from tasks.engine.restore_stream import BackupReader, feed_psql
from tasks.engine.scratch import Locale, scratch_database, sweep_scratch_databases
from tasks.policy import LONG, QUICK
from tasks.wording import human_bytes, tool_version


@dataclass(frozen=True)
class Rehearsal:
    """What a drill saw, and the error that ended it early, if one did."""

    checks: tuple[Check, ...] = ()
    target_version: str = ""
    restore_seconds: float = 0.0
    error: PgRoundtripError | None = None


@task(name="choose the backup", **QUICK)
def choose_backup(plan: Plan, name: str | None) -> Backup:
    """Take the named backup, else the plan's, else the newest."""
    backups = catalog.read_catalog(plan.storage, plan.storage.list_objects(DOWNLOAD))
    return catalog.choose(backups, name or plan.verify_backup_file)


@task(name="sweep temp databases", **QUICK)
def sweep_scratch(server: PostgresServer) -> list[str]:
    """Drop what killed runs left behind. A sweep that fails is no reason not to go on."""
    try:
        swept = sweep_scratch_databases(server)
    except PgRoundtripError as error:
        get_run_logger().warning("Failed to cleanup temp database [%s]", error.sentence)
        return []
    if swept:
        get_run_logger().info("Dropped temp databases of an earlier run: %s", ", ".join(swept))
    return swept


@task(name="rehearse the restore", task_run_name="rehearse {backup.name}", **LONG)
def rehearse_restore(plan: Plan, backup: Backup) -> Rehearsal:
    """Restore a backup into a database of its own, dump that, and compare.

    A retry begins from nothing. Raises transient errors, so that they are retried; others are part of the answer.
    """
    version = ""
    try:
        manifest = catalog.load_manifest(plan.storage, backup)
        facts = plan.drill_server.inspect()
        version = facts.version
        client = match_client(facts.major)
        warn = get_run_logger().warning
        with scratch_database(plan.drill_server, "verify", locale_of(manifest), utc_now(), warn) as scratch:
            return _round_trip(plan, backup, manifest, scratch, client, version)
    except PgRoundtripError as error:
        if error.transient:
            raise
        return Rehearsal(target_version=version, error=error)


def _round_trip(
    plan: Plan, backup: Backup, manifest: Manifest | None, scratch: PostgresServer, client: Client, version: str
) -> Rehearsal:
    logger, size = get_run_logger(), human_bytes(backup.object_bytes)
    logger.info("Restoring %s (%s) into %s", backup.name, size, scratch.database)
    reader = BackupReader(plan.storage, backup, manifest, keep_schema=True)
    begun = time.monotonic()
    try:
        flow = feed_psql(
            reader, scratch, client, progress=lambda n: logger.info("Restored %s of %s", human_bytes(n), size)
        )
    except RestoreFailed as error:
        if reader.dump_major > int(version.partition(".")[0]):
            raise _too_old(reader.dump_major, version, error) from None
        raise
    seconds = round(time.monotonic() - begun, 3)
    checks = round_trip.check_stream(manifest, flow)
    checks.append(Check(name="restored without error", result="passed", evidence=f"{seconds:.1f} s"))
    logger.info("Restored in %.1f s; dumping the restored copy to compare it", seconds)
    checks += round_trip.check_round_trip(
        flow.summary, _dump_again(scratch, client, flow.summary), foreign=backup.foreign
    )
    return Rehearsal(tuple(checks), version, seconds)


def _too_old(dump_major: int, version: str, error: RestoreFailed) -> RestoreError:
    """What an older server refuses says nothing about a backup."""
    hint = f"set VERIFY_DATABASE_URL to a server of version {dump_major} or newer"
    return RestoreError(f"pg_dump {dump_major} wrote it, the server is {version}: {error.context}", hint=hint)


def _dump_again(scratch: PostgresServer, client: Client, stored: DumpSummary) -> DumpSummary:
    """Dump the restored copy through the same scanner, in the stored dump's encoding and column order."""
    scanner = DumpScanner({t.name: t.columns for t in stored.tables.values()}, keep_schema=True)
    with running_dump(scratch, client, stored.encoding or None) as dump:
        return scan_dump(dump, scanner)


def report_on(backup: Backup, seen: Rehearsal, started: datetime, seconds: float) -> DrillReport:
    """Turn what was seen into a report with a verdict; pure."""
    error, checks = seen.error, list(seen.checks)
    verdict = round_trip.blame(error) if error else round_trip.judge(checks)
    if error:
        result: Literal["failed", "not possible"] = "failed" if verdict is Verdict.FAILED else "not possible"
        checks.append(Check(name="restored without error", result=result, evidence=error.sentence))
    failed = "; ".join(f"{c.name}: {c.evidence}" for c in checks if c.result == "failed")
    return DrillReport(
        tool_version=tool_version(), backup=backup.name, verdict=verdict, cause=error.sentence if error else failed,
        checks=tuple(checks), target_version=seen.target_version, started_at=started,
        restore_seconds=seen.restore_seconds, seconds=round(seconds, 3),
    )  # fmt: skip


@task(name="store the report", **QUICK)
def store_report(plan: Plan, report: DrillReport) -> None:
    """Keep the report beside the backup; a key that may only read is warned about, the verdict stands.

    A drill that came to no verdict says nothing about the backup, so it does not replace the report of one that did.
    """
    try:
        if report.verdict is Verdict.INCONCLUSIVE and _judged_before(plan, report.backup):
            get_run_logger().info("The report of the last conclusive drill stays beside the backup")
            return
        plan.storage.put(plan.storage.key(report.backup + catalog.REPORT), report.encode())
    except PgRoundtripError as error:
        if error.transient:
            raise
        get_run_logger().warning("The drill report is kept in Prefect alone: %s", error.sentence)


def _judged_before(plan: Plan, name: str) -> bool:
    backups = (b for b in catalog.read_catalog(plan.storage) if b.name == name)
    report = next((catalog.load_report(plan.storage, b) for b in backups), None)
    return report is not None and report.verdict is not Verdict.INCONCLUSIVE


def locale_of(manifest: Manifest | None) -> Locale:
    """The locale that a restored database needs; the server's own for a foreign backup."""
    if manifest is None:
        return Locale()
    return Locale(
        manifest.encoding, manifest.collation, manifest.character_type, manifest.locale_provider, manifest.locale
    )
