"""Storage, servers and plans as Prefect blocks; `prefect block register -m blocks` registers these."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blocks.copy import BackupCopy
    from blocks.plan import BackupPlan
    from blocks.postgres import PostgresServer
    from blocks.storage import BackupStorage

__all__ = ["BackupCopy", "BackupPlan", "BackupStorage", "PostgresServer"]
_HOME = {
    "BackupCopy": "blocks.copy",
    "BackupPlan": "blocks.plan",
    "BackupStorage": "blocks.storage",
    "PostgresServer": "blocks.postgres",
}


def __getattr__(name: str) -> Any:
    """Import a block on first access: most of this package does not need Prefect."""
    if name not in _HOME:
        raise AttributeError(name)
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
