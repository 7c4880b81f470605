"""A plan as a Prefect block, whose form covers everything that the environment can set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

from blocks.config.copy_settings import COPIES, DrilledPlace
from blocks.config.copying import MOST_COPIES
from blocks.config.databases import MOST_AT_ONCE, Drilled
from blocks.config.encryption import check_recipients
from blocks.config.load import variable_of
from blocks.config.plan import PLAN_FIELDS, DrillTarget, Plan, plan_fields, storage_fields
from blocks.config.schedule import check_cron, check_timezone
from blocks.config.settings import Settings
from blocks.copy import BackupCopy
from blocks.postgres import PostgresServer
from blocks.storage import BackupStorage

_COPIES = dict(zip(COPIES, ("first_copy", "second_copy", "third_copy"), strict=True))
_IN_PARTS = {"server", "verify_server", "storage", *_COPIES.values()}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _patterns(title: str, description: str) -> Any:
    return Field(default=None, title=title, description=f"{description} Patterns as in psql, separated by commas.")


def _rule(title: str, description: str) -> Any:
    return Field(default=None, ge=1, le=100_000, title=title, description=f"{description} Empty disables the rule.")


class BackupPlan(Block):
    """One database with its storage, schedule, retention and drill settings."""

    _block_type_name = "Backup Plan"
    _block_type_slug = "pg-roundtrip-plan"
    _description = "One database, the storage that keeps its backups, and the policies for both."

    server: PostgresServer | None = Field(default=None, title="Database", description="The database to back up.")
    verify_server: PostgresServer | None = Field(
        default=None,
        title="Server for drills",
        description="Where drills restore to; a throwaway server or the database's own server when empty.",
    )
    storage: BackupStorage = Field(title="Storage", description="Where the backups are kept.")
    first_copy: BackupCopy | None = Field(default=None, title="Copy", description="A further place for every backup.")
    second_copy: BackupCopy | None = Field(default=None, title="Second copy", description="One more place.")
    third_copy: BackupCopy | None = Field(default=None, title="Third copy", description="And one more.")
    allow_shared_prefix: bool = Field(
        default=False, title="Shared folder", description="Whether other databases may also keep backups in the folder."
    )
    backups_of: str | None = Field(
        default=None,
        title="Also backups of",
        description="The database's identity before it was moved or renamed: shop, or shop@7712734137005552605; of several databases, their former server: @7712734137005552605.",
    )
    compression_level: int = Field(
        default=6, ge=1, le=9, title="Compression level", description="1 is fastest, 9 is smallest."
    )
    backup_globals: bool | None = Field(
        default=None,
        title="Roles and settings",
        description="Whether backups come with roles and the database's own settings; where they can be read when empty.",
    )
    anomaly_ignore_tables: str | None = Field(
        default=None,
        title="Tables without anomalies",
        description="Tables whose rows may come and go: public.sessions, audit.*, *_queue.",
    )
    exclude_tables: str | None = _patterns("Leave out tables", "Tables, views and sequences to leave out.")
    exclude_table_data: str | None = _patterns("Leave out rows", "Tables to dump without their rows.")
    exclude_schemas: str | None = _patterns("Leave out schemas", "Schemas to leave out with everything in them.")
    include_schemas: str | None = _patterns("Only these schemas", "The only schemas to dump.")
    include_tables: str | None = _patterns("Only these tables", "The only tables to dump.")
    pg_dump_options: str | None = Field(
        default=None, title="Options of pg_dump", description="Those that a drill understands, such as --no-comments."
    )
    age_recipients: str | None = Field(
        default=None,
        title="Recipients",
        description="Public keys that backups are encrypted to: age1… or ssh-…, separated by commas, or the path of a file. Two or more.",
    )
    databases: str | None = Field(
        default=None,
        title="Databases",
        description="Several databases of the server, each in a folder: * for all, or patterns separated by commas, with ! for exceptions.",
    )
    parallel_databases: int = Field(
        default=1, ge=1, le=MOST_AT_ONCE, title="Databases at once", description="How many are backed up at once."
    )
    verify_databases: Drilled = Field(
        default="turn",
        title="Databases to drill",
        description="The one with the newest backup, one in turn, or all.",
    )
    retention_days: int = Field(
        default=7,
        ge=1,
        le=36500,
        title="Retention (days)",
        description="Older backups are removed, unless a rule below keeps them.",
    )
    keep_last: int | None = _rule("Keep the last", "Keep this many of the newest backups, however old.")
    keep_daily: int | None = _rule("Keep daily", "Keep the last backup of each day for this many days.")
    keep_weekly: int | None = _rule("Keep weekly", "Keep one backup per week for this many weeks.")
    keep_monthly: int | None = _rule("Keep monthly", "Keep one backup per month for this many months.")
    keep_yearly: int | None = _rule("Keep yearly", "Keep one backup per year for this many years.")
    copies_required: int = Field(
        default=1, ge=1, le=MOST_COPIES, title="Places required", description="In how many places a backup must be."
    )
    copy_wait_s: int = Field(
        default=600,
        ge=60,
        title="Wait for slow places (seconds)",
        description="How long a backup waits for one in all.",
    )
    copy_interval_s: int = Field(
        default=21600, ge=60, title="Copy interval (seconds)", description="How often what a place lacks is copied."
    )
    copy_behind_after_s: int = Field(
        default=93600,
        ge=60,
        title="Behind after (seconds)",
        description="When you are told of a place that lacks a backup.",
    )
    interval_s: int = Field(default=3600, ge=60, title="Backup interval (seconds)", description="At least 60.")
    schedule: str | None = Field(
        default=None,
        title="Backup schedule",
        description="A cron expression instead of the interval: 0 3 * * * is every night at three.",
    )
    verify_interval_s: int = Field(default=86400, ge=60, title="Drill interval (seconds)", description="At least 60.")
    verify_schedule: str | None = Field(
        default=None, title="Drill schedule", description="A cron expression instead of the interval."
    )
    timezone: str = Field(
        default="UTC", title="Time zone", description="For the cron expressions: UTC, or a name like Europe/Berlin."
    )
    verify_backup_file: str | None = Field(
        default=None, title="Backup to drill", description="Its name; the newest one when empty."
    )

    verify_target: DrillTarget = Field(
        default="auto",
        title="Where drills run",
        description="On a database server, on a throwaway server, or on whichever is available.",
    )
    verify_destination: DrilledPlace = Field(
        default="turn",
        title="Place to drill",
        description="The place whose backups are drilled; with copies, the one whose last drill is longest ago by default.",
    )
    verify_max_age_s: int | None = Field(
        default=None,
        ge=60,
        title="Maximum backup age (seconds)",
        description="A drill of an older backup fails; no limit when empty.",
    )
    verify_timeout_s: int = Field(
        default=21600, ge=60, title="Drill time limit (seconds)", description="A drill that takes longer is aborted."
    )
    verify_queries_file: str | None = Field(
        default=None,
        title="File of queries",
        description="A file with queries of your own for drills, on the machine where drills run.",
    )
    verify_query_timeout_s: int = Field(
        default=60, ge=1, title="Query time limit (seconds)", description="The time limit for each of these queries."
    )
    verify_strict: bool = Field(
        default=False, title="Strict queries", description="Whether a query that cannot be run fails the drill."
    )
    restore_verify: bool = Field(
        default=True,
        title="Compare what was restored",
        description="Whether a restore reads the restored rows back and compares them before they become visible.",
    )

    _check_cron = field_validator("schedule", "verify_schedule")(lambda given: given and check_cron(given))
    _check_timezone = field_validator("timezone")(check_timezone)
    _check_recipients = field_validator("age_recipients")(lambda given: given and check_recipients(given))

    def plan(self, name: str) -> Plan:
        """The plan this block describes, under the name that it was saved as."""
        return Plan.of(
            name,
            self.storage.store,
            self.server.server if self.server else None,
            self.verify_server.server if self.verify_server else None,
            **{field: getattr(self, field) for field in type(self).model_fields if field not in _IN_PARTS},
            copies=[copy.destination(place) for place, copy in self._copies()],
        )

    def _copies(self) -> Iterator[tuple[str, BackupCopy]]:
        held = ((place, getattr(self, field)) for place, field in _COPIES.items())
        yield from ((place, copy) for place, copy in held if copy)

    def described(self) -> dict[str, str | SecretStr]:
        """Return the variables that describe this plan, without those that have their defaults."""
        default = type(self).model_fields
        policies = {
            variable_of(PLAN_FIELDS[field]): _text(value)
            for field in PLAN_FIELDS
            if (value := getattr(self, field)) is not None and value != default[field].default
        }
        urls = {"DATABASE_URL": self.server, "VERIFY_DATABASE_URL": self.verify_server}
        return {
            **{name: server.url for name, server in urls.items() if server},
            **self.storage.described(),
            **{name: value for place, copy in self._copies() for name, value in copy.described(place).items()},
            **policies,
            **({"VERIFY_LATEST": "false"} if self.verify_backup_file else {}),
        }

    @classmethod
    def from_settings(cls, settings: Settings) -> BackupPlan:
        """Build the block from the environment's settings, which must include the storage."""
        url, drill_url = settings.server_url, settings.verify_database_url
        return cls(
            server=PostgresServer(url=url) if url else None,
            verify_server=PostgresServer(url=drill_url) if drill_url else None,
            storage=BackupStorage.at(**storage_fields(settings)),
            **{field: BackupCopy.from_settings(settings, place) for place, field in _COPIES.items()},
            **plan_fields(settings),
        )
