"""Say which database is backed up where and by which policies: what a flow needs, under one name."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.postgres import PostgresServer
from blocks.settings import Settings
from blocks.storage import BackupStorage

DEFAULT = "default"


class Plan(Block):
    """One database with its storage, schedule, retention and drill settings."""

    _block_type_name = "Backup Plan"
    _block_type_slug = "pg-roundtrip-plan"
    _description = "One database, the storage that keeps its backups, and the policies for both."

    server: PostgresServer | None = Field(default=None, description="The database to back up.")
    verify_server: PostgresServer | None = Field(
        default=None, description="Where drills restore to; the database's own server when empty."
    )
    storage: BackupStorage = Field(description="Where the backups are kept.")
    compression_level: int = Field(default=6, ge=1, le=9, description="1 is fastest, 9 is smallest.")
    retention_days: int = Field(default=7, ge=1, description="Backups older than this many days are removed.")
    interval_s: int = Field(default=3600, ge=60, description="Seconds between backups.")
    verify_backup_file: str | None = Field(
        default=None, description="The backup that drills rehearse; the newest one when empty."
    )

    @classmethod
    def from_settings(cls, settings: Settings) -> Plan:
        """Make the plan `default` out of the environment's settings; storage must be among them."""
        url, drill_url = settings.server_url, settings.verify_database_url
        return cls(
            server=PostgresServer(url=url) if url else None,
            verify_server=PostgresServer(url=drill_url) if drill_url else None,
            storage=BackupStorage.at(
                endpoint=settings.s3_endpoint or "",
                bucket=settings.s3_bucket or "",
                prefix=settings.backup_prefix,
                region=settings.s3_region,
                key_id=settings.s3_access_key_id or "",
                secret=settings.s3_secret_access_key or SecretStr(""),
            ),
            compression_level=settings.compression_level,
            retention_days=settings.backup_retention_days,
            interval_s=settings.backup_interval_s,
            verify_backup_file=None if settings.verify_latest else settings.verify_backup_file,
        )
