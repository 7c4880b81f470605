"""Plans for tests, built from the fields of a saved block."""

from __future__ import annotations

from typing import Any

from blocks.config import DEFAULT
from blocks.config.plan import Plan
from blocks.plan import BackupPlan
from blocks.postgres import PostgresServer
from blocks.sql.server import Server
from blocks.storage import BackupStorage
from blocks.stores import Storage as Place
from flows.demo.services import Storage


def plan_of(
    storage: Place, server: Server | None = None, verify_server: Server | None = None, /, name: str = DEFAULT,
    **fields: Any,
) -> Plan:  # fmt: skip
    """Return a plan with some fields of its block set, and defaults for the rest."""
    return Plan.of(name, storage, server, verify_server, **fields)


def block_of(storage: Storage, folder: str, server: Server, /, **fields: Any) -> BackupPlan:
    """Return the block of a plan whose backups are in a folder of a storage server's bucket."""
    kept = BackupStorage.at(**storage.fields(folder))
    return BackupPlan(server=PostgresServer(url=server.url), storage=kept, **fields)
