"""List the catalog, with facts from the manifest and report beside each backup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from blocks.config.plan import Plan
from blocks.errors import BackupDamaged, ObjectMissing
from tasks.clock import utc_now
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.identity import Database
from tasks.engine.repository.newest import is_future
from tasks.engine.repository.repository import Repository
from tasks.engine.wording import iso

_AT_ONCE = 16


def list_catalog(plan: Plan) -> list[dict[str, Any]]:
    """List every backup, oldest first.

    Each has `name, database, system_identifier, from_future, taken_at, object_bytes, foreign, rows, warnings, verdict`.
    `rows` is None for a foreign backup, and for one whose manifest cannot be read or has gone since the listing;
    `verdict` is None for one that was never drilled.
    """
    repository = Repository(plan.storage)
    return read_entries(repository, repository.backups())


def read_entries(repository: Repository, backups: Sequence[Backup], at_once: int = _AT_ONCE) -> list[dict[str, Any]]:
    """Read the manifests and reports of some backups: two requests for each, `at_once` backups at the same time."""
    with ThreadPoolExecutor(at_once, "list") as pool:
        return list(pool.map(lambda backup: _entry(repository, backup), backups))


def _entry(repository: Repository, backup: Backup) -> dict[str, Any]:
    try:
        manifest = repository.manifest(backup)
    except (BackupDamaged, ObjectMissing):
        manifest = None
    report = repository.report(backup)
    return {
        "name": backup.name,
        "database": manifest.database if manifest else None,
        "system_identifier": (manifest.system_identifier or None) if manifest else None,
        "from_future": is_future(backup.taken_at, utc_now()),
        "taken_at": iso(backup.taken_at),
        "object_bytes": backup.object_bytes,
        "foreign": backup.foreign,
        "rows": manifest.rows if manifest else None,
        "warnings": list(bounded(manifest.warnings)) if manifest else [],
        "verdict": report.verdict.value if report else None,
    }


def databases_shown(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the database of each entry, empty if unknown; with its server if there are several."""
    servers = {entry.get("system_identifier") for entry in entries} - {None}
    several = len(servers) > 1
    return [
        str(Database(entry["database"], (entry.get("system_identifier") or "") if several else ""))
        if entry.get("database")
        else ""
        for entry in entries
    ]
