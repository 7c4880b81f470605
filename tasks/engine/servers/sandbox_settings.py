"""Choose the settings of a throwaway server for one backup: libraries to preload, and room for locks."""

from __future__ import annotations

from pathlib import Path

from tasks.engine.repository.manifest import Manifest
from tasks.engine.servers.programs import Client

# Libraries that must be preloaded for CREATE EXTENSION, or for functions that a materialized view may call.
PRELOADED = {"pg_cron", "pg_stat_statements", "pgaudit", "pglogical", "timescaledb", "citus", "pg_qualstats",
             "pg_stat_kcache", "pg_wait_sampling"}  # fmt: skip
# Extensions that work in only one database of a server, and the setting that names it.
ONE_DATABASE = {"pg_cron": "cron.database_name"}
_LIBRARIES = ("lib", "lib/postgresql", "lib64", "lib64/pgsql")
_CONNECTIONS = 100  # initdb's max_connections: the lock table has room for this many times the setting
_FEWEST_LOCKS, _SPARE = 1024, 2
_LOCKS_PER_TABLE = 6  # including its TOAST table, their indexes, and its sequence and types
_LOCKS_PER_STATEMENT = 3
_MOST_LOCKS = 4_000_000  # at about 300 bytes each


def settings_for(client: Client, manifest: Manifest | None, database: str) -> dict[str, str]:
    """Return the settings of a throwaway server in which a backup is restored to `database`."""
    wanted = {"max_locks_per_transaction": str(_locks(manifest))}
    libraries = preloaded(client, manifest)
    if libraries:
        wanted["shared_preload_libraries"] = ",".join(libraries)
        # Let no library start a worker: a restored job must never run.
        wanted |= {"max_worker_processes": "0", "max_parallel_maintenance_workers": "0"}
    return wanted | {ONE_DATABASE[name]: database for name in libraries if name in ONE_DATABASE}


def preloaded(client: Client, manifest: Manifest | None) -> list[str]:
    """Return the libraries that a backup's extensions need preloaded, if installed with the server's programs."""
    wanted = PRELOADED & set(manifest.extensions) if manifest else set()
    return sorted(name for name in wanted if _installed(client.folder.parent, name))


def fits_one_transaction(manifest: Manifest | None) -> bool:
    """Whether there is room for all locks of a restore; False for a foreign backup, whose locks cannot be estimated."""
    return manifest is not None and _needed(manifest) <= _MOST_LOCKS


def _locks(manifest: Manifest | None) -> int:
    needed = min(_needed(manifest), _MOST_LOCKS) if manifest else 0
    return max(_FEWEST_LOCKS, -(-needed * _SPARE // _CONNECTIONS))


def _needed(manifest: Manifest) -> int:
    objects = len(manifest.tables) * _LOCKS_PER_TABLE + len(manifest.sequences)
    return manifest.large_objects + objects + manifest.schema_statements * _LOCKS_PER_STATEMENT


def _installed(programs: Path, library: str) -> bool:
    return any((programs / folder / f"{library}.so").is_file() for folder in _LIBRARIES)
