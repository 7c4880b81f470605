"""Turn what a drill or a restore saw into a certificate that is not yet numbered or signed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from tasks.engine.drill.rehearsal import Rehearsal
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.dump.warnings import bounded
from tasks.engine.evidence.certificate import (
    BackupSeen,
    Certificate,
    CheckSeen,
    Drill,
    GlobalsSeen,
    Restore,
    TableSeen,
    whole_ms,
)
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import DrillReport, Manifest
from tasks.engine.repository.outline import outline_of
from tasks.engine.restore.reader import ReadResult
from tasks.engine.wording import tool_version


def of_drill(
    plan: str, backup: Backup, seen: Rehearsal, report: DrillReport, stored: tuple[str, str] = ("", "")
) -> Certificate:
    """State what a drill found; `stored` is the file of its report and that file's SHA-256."""
    return Certificate(
        tool_version=tool_version(), plan=plan, started_at=report.started_at,
        ended_at=report.started_at + timedelta(seconds=report.seconds),
        backup=_backup(backup, seen.manifest, seen.summary, seen.sha256),
        drill=Drill(
            verdict=report.verdict, cause=_short(report.cause), code=report.code, place=report.place,
            target_version=report.target_version, age_s=int(report.age_seconds),
            restore_ms=whole_ms(report.restore_seconds), compare_ms=whole_ms(report.compare_seconds),
            checks=tuple(CheckSeen(name=_short(c.name), result=c.result) for c in report.checks),
            globals=_globals(seen.manifest, report),
            report=stored[0], report_sha256=stored[1],
        ),
    )  # fmt: skip


def of_restore(
    plan: str, backup: Backup, manifest: Manifest | None, result: ReadResult, restore: Restore, times: tuple[datetime, datetime]
) -> Certificate:  # fmt: skip
    """State what a restore did."""
    started_at, ended_at = times
    return Certificate(
        tool_version=tool_version(), plan=plan, started_at=started_at, ended_at=ended_at,
        backup=_backup(backup, manifest, result.summary, result.sha256), restore=restore,
    )  # fmt: skip


def _backup(backup: Backup, manifest: Manifest | None, read: DumpSummary | None, sha256: str) -> BackupSeen:
    tables: Iterable[TableSeen] = ()
    if read and not backup.encrypted:  # anyone may read a certificate
        tables = (TableSeen(name=t.name, rows=t.rows, digest=t.digest) for t in read.tables.values())
    return BackupSeen(
        name=backup.name, object_bytes=backup.object_bytes, object_sha256=sha256, rows=read.rows if read else 0,
        tables=tuple(tables), without=(_short(manifest.without) or None) if manifest else None, warnings=bounded(outline_of(manifest).warnings) if manifest else (),
        database=manifest.database if manifest else "",
        system_identifier=manifest.system_identifier if manifest else "",
        server_version=manifest.server_version if manifest else "",
    )  # fmt: skip


def _globals(manifest: Manifest | None, report: DrillReport) -> GlobalsSeen | None:
    """State which roles and settings the check was about: those of the manifest, of which it made sure."""
    record = manifest.globals if manifest else None
    result = next((c.result for c in report.checks if c.name == checklist.GLOBALS), None)
    if record is None or result is None:
        return None
    return GlobalsSeen(result=result, **record.model_dump(include=set(GlobalsSeen.model_fields)))


def _short(text: str) -> str:
    return bounded([text])[0] if text else ""
