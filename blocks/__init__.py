"""Storage, servers and plans as Prefect blocks; `prefect block register -m blocks` registers these."""

from blocks.plan import Plan
from blocks.postgres import PostgresServer
from blocks.storage import BackupStorage

__all__ = ["BackupStorage", "Plan", "PostgresServer"]
