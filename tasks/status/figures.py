"""The few figures of a manifest and of a drill's report that metrics show, remembered so that nothing is read twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from tasks.engine.repository.cache import Kind
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import cache_of, manifest_facts
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.outline import Outline
from tasks.engine.repository.repository import Repository


@dataclass(frozen=True)
class BackupFigures:
    """What a backup's manifest says, in numbers."""

    started_at: datetime
    ended_at: datetime
    object_bytes: int
    raw_bytes: int
    rows: int
    tables: int
    warnings: int

    @classmethod
    def of(cls, made: Outline) -> BackupFigures:
        """Count what a manifest names."""
        return cls(
            made.started_at, made.ended_at, made.object_bytes, made.raw_bytes, made.rows, made.tables, made.warning_count
        )  # fmt: skip


@dataclass(frozen=True)
class DrillFigures:
    """What the report of a backup's newest drill says, in numbers."""

    verdict: Verdict
    started_at: datetime
    seconds: float
    restore_seconds: float

    @classmethod
    def of(cls, report: DrillReport) -> DrillFigures:
        """Take them from a report."""
        return cls(report.verdict, report.started_at, report.seconds, report.restore_seconds)


def _of_reports(backup: Backup) -> str:
    """Return what identifies all reports of a backup: any of them can be the one that counts."""
    versions = [found.version for found in backup.report_files]
    return f"{len(versions)} {backup.newest_report.version} {backup.report_version}" if all(versions) and backup.newest_report else ""  # fmt: skip


_BACKUP = Kind("figures", TypeAdapter(BackupFigures), lambda b: b.manifest_version)
_DRILL = Kind("figures of the newest drill", TypeAdapter(DrillFigures), _of_reports)


def backup_figures(repository: Repository, backup: Backup) -> BackupFigures | None:
    """Return the figures of a backup; None if its manifest is missing or unreadable."""
    found = cache_of(repository).facts(_BACKUP, [backup], lambda b: manifest_facts(repository, b, BackupFigures.of), 1)
    return found.get(backup.name)


def drill_figures(repository: Repository, backup: Backup) -> DrillFigures | None:
    """Return the figures of a backup's newest drill; None if its report is unreadable."""

    def read(drilled: Backup) -> DrillFigures | None:
        report = repository.newest_report(drilled)
        return DrillFigures.of(report) if report else None

    return cache_of(repository).facts(_DRILL, [backup], read, 1).get(backup.name)
