"""List the catalog with what the documents beside each backup say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from blocks.errors import BackupDamaged
from blocks.plan import Plan
from tasks.engine import catalog
from tasks.engine.catalog import Backup
from tasks.wording import iso

_AT_ONCE = 16


def list_catalog(plan: Plan) -> list[dict[str, Any]]:
    """Every backup, oldest first: `name, taken_at, object_bytes, rows, verdict`.

    `rows` is None for a foreign backup, and for one whose manifest cannot be read; `verdict` for one never drilled.
    """
    backups = catalog.read_catalog(plan.storage)
    with ThreadPoolExecutor(_AT_ONCE, "list") as pool:
        return list(pool.map(lambda backup: _entry(plan, backup), backups))


def _entry(plan: Plan, backup: Backup) -> dict[str, Any]:
    try:
        manifest = catalog.load_manifest(plan.storage, backup)
    except BackupDamaged:
        manifest = None
    report = catalog.load_report(plan.storage, backup)
    return {
        "name": backup.name,
        "taken_at": iso(backup.taken_at),
        "object_bytes": backup.object_bytes,
        "rows": manifest.rows if manifest else None,
        "verdict": report.verdict.value if report else None,
    }
