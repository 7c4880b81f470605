"""Keep a plan as a Prefect block, whose form asks for everything that the environment can say."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, field_validator

from blocks.config.plan import DrillTarget, Plan, plan_fields, storage_fields
from blocks.config.schedule import check_cron, check_timezone
from blocks.config.settings import Settings
from blocks.postgres import PostgresServer
from blocks.storage import BackupStorage

_IN_PARTS = {"server", "verify_server", "storage"}


def _rule(title: str, description: str) -> Any:
    return Field(default=None, ge=1, le=100_000, title=title, description=f"{description} No such rule when empty.")


class BackupPlan(Block):
    """One database with its storage, schedule, retention and drill settings."""

    _block_type_name = "Backup Plan"
    _block_type_slug = "pg-roundtrip-plan"
    _description = "One database, the storage that keeps its backups, and the policies for both."

    server: PostgresServer | None = Field(default=None, title="Database", description="The database to back up.")
    verify_server: PostgresServer | None = Field(
        default=None,
        title="Server for drills",
        description="Where drills restore to; when empty, a throwaway server or the database's own.",
    )
    storage: BackupStorage = Field(title="Storage", description="Where the backups are kept.")
    allow_shared_prefix: bool = Field(
        default=False, title="Shared folder", description="Whether other databases may keep backups in the folder, too."
    )
    backups_of: str | None = Field(
        default=None,
        title="Also backups of",
        description="What the database was before it was moved or renamed: shop, or shop@7712734137005552605.",
    )
    compression_level: int = Field(
        default=6, ge=1, le=9, title="Compression level", description="1 is fastest, 9 is smallest."
    )
    retention_days: int = Field(
        default=7,
        ge=1,
        le=36500,
        title="Retention (days)",
        description="Older backups are removed, unless a rule below keeps them.",
    )
    keep_last: int | None = _rule("Keep the last", "So many newest backups are kept, however old.")
    keep_daily: int | None = _rule("Keep daily", "One backup for each of so many days is kept, the last of the day.")
    keep_weekly: int | None = _rule("Keep weekly", "One backup for each of so many weeks.")
    keep_monthly: int | None = _rule("Keep monthly", "One backup for each of so many months.")
    keep_yearly: int | None = _rule("Keep yearly", "One backup for each of so many years.")
    interval_s: int = Field(default=3600, ge=60, title="Backup interval (seconds)", description="60 at least.")
    schedule: str | None = Field(
        default=None,
        title="Backup schedule",
        description="A cron expression instead of the interval: 0 3 * * * is every night at three.",
    )
    verify_interval_s: int = Field(default=86400, ge=60, title="Drill interval (seconds)", description="60 at least.")
    verify_schedule: str | None = Field(
        default=None, title="Drill schedule", description="A cron expression instead of the interval."
    )
    timezone: str = Field(
        default="UTC", title="Time zone", description="Of the cron expressions: UTC, or a name like Europe/Berlin."
    )
    verify_backup_file: str | None = Field(
        default=None, title="Backup to drill", description="Its name; the newest one when empty."
    )

    verify_target: DrillTarget = Field(
        default="auto",
        title="Place of drills",
        description="On a database server, in a throwaway server of their own, or whichever is there.",
    )
    verify_max_age_s: int | None = Field(
        default=None,
        ge=60,
        title="Oldest backup that is fine (seconds)",
        description="A drill of an older one fails; no limit when empty.",
    )
    verify_timeout_s: int = Field(
        default=21600, ge=60, title="Drill time limit (seconds)", description="After this a drill is given up."
    )
    verify_queries_file: str | None = Field(
        default=None,
        title="File of queries",
        description="Queries of your own that drills run, in a file where the drills run.",
    )
    verify_query_timeout_s: int = Field(
        default=60, ge=1, title="Query time limit (seconds)", description="What one such query may take."
    )
    verify_strict: bool = Field(
        default=False, title="Strict queries", description="Whether a query that cannot be run fails the drill."
    )
    restore_verify: bool = Field(
        default=True,
        title="Compare what was restored",
        description="Whether a restore reads the restored rows again, and compares them, before they become visible.",
    )

    _check_cron = field_validator("schedule", "verify_schedule")(lambda given: given and check_cron(given))
    _check_timezone = field_validator("timezone")(check_timezone)

    def plan(self, name: str) -> Plan:
        """What the block describes, under the name that it was saved by."""
        return Plan.of(
            name,
            self.storage.store,
            self.server.server if self.server else None,
            self.verify_server.server if self.verify_server else None,
            **{field: getattr(self, field) for field in type(self).model_fields if field not in _IN_PARTS},
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> BackupPlan:
        """Make the block of what the environment describes; storage must be among it."""
        url, drill_url = settings.server_url, settings.verify_database_url
        return cls(
            server=PostgresServer(url=url) if url else None,
            verify_server=PostgresServer(url=drill_url) if drill_url else None,
            storage=BackupStorage.at(**storage_fields(settings)),
            **plan_fields(settings),
        )
