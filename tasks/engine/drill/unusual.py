"""Check what is no fault of a backup, but better known before it is needed: odd contents, and a restore that takes long."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from statistics import median

from tasks.engine.repository.anomaly import readable
from tasks.engine.repository.anomaly_figures import is_slow
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import ANOMALIES, RESTORE_TIME, passed, shortened, warned
from tasks.engine.repository.manifest import Check, DrillReport, Manifest, Verdict
from tasks.engine.repository.repository import Repository
from tasks.engine.wording import human_seconds

# By default, backups of seven days are kept, and one a day is drilled.
_ENOUGH, _MOST = 5, 30


def check_anomalies(manifest: Manifest, backup: Backup) -> Check:
    """Repeat what was odd when the backup was made: it restores to what the database was, which may lack something."""
    if not manifest.anomalies:
        return passed(ANOMALIES, "none")
    said = "; ".join(shortened([anomaly.sentence for anomaly in readable(manifest.anomalies)]))
    return passed(ANOMALIES, f"acknowledged: {said}") if backup.acknowledged else warned(ANOMALIES, said)


def earlier_drills(repository: Repository, own: Iterable[Backup]) -> list[DrillReport]:
    """Read the reports of a database's last drills."""
    drilled = [backup for backup in own if backup.has_report][-_MOST:]
    with ThreadPoolExecutor(8, "reports") as pool:
        return [report for report in pool.map(repository.report, drilled) if report]


def check_restore_time(
    place: str, took_s: float, raw_bytes: int, earlier: Iterable[DrillReport], now: datetime
) -> Check:
    """Warn if a restore took three times as long as any before it in such a place, of as much data; pure."""
    alike = [r for r in earlier if r.place == place and r.verdict is Verdict.PROVEN and r.started_at < now]
    if len(alike) < _ENOUGH:
        return passed(RESTORE_TIME, f"{human_seconds(took_s)}; there are too few drills to compare it with")
    expected = [r.restore_seconds * max(1.0, raw_bytes / max(1, r.raw_bytes)) for r in alike]
    said = f"{human_seconds(took_s)}; usually {human_seconds(median(expected))}"
    return (warned if is_slow(expected, took_s, _ENOUGH) else passed)(RESTORE_TIME, said)
