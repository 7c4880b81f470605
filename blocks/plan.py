"""Say which database is backed up where and by which policies: what a flow needs, under one name."""

from __future__ import annotations

from typing import Any, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

from blocks.config.hints import WHEN_MALFORMED
from blocks.config.schedule import Schedule, check_cron, check_timezone
from blocks.config.settings import Need, Settings, describes_a_plan, load_settings
from blocks.errors import ConfigurationError, Fault
from blocks.postgres import PostgresServer
from blocks.saved import load_saved
from blocks.sql.server import Server
from blocks.storage import BackupStorage

DEFAULT = "default"
KEEP_RULES = ("last", "daily", "weekly", "monthly", "yearly")
_SAME_NAME_FIELDS = {"verify_target", "verify_max_age_s", "verify_timeout_s", "verify_queries_file", "verify_query_timeout_s",
                 "verify_strict", "restore_verify"}  # fmt: skip


def _rule(title: str, description: str) -> Any:
    return Field(default=None, ge=1, le=100_000, title=title, description=f"{description} No such rule when empty.")


class Plan(Block):
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

    verify_target: Literal["auto", "database", "sandbox"] = Field(
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

    @field_validator("server", "verify_server", mode="before")
    @classmethod
    def _as_block(cls, given: Any) -> Any:
        return PostgresServer(url=given.url) if isinstance(given, Server) else given

    _check_cron = field_validator("schedule", "verify_schedule")(lambda given: given and check_cron(given))
    _check_timezone = field_validator("timezone")(check_timezone)

    @property
    def keep_rules(self) -> dict[str, int]:
        """The rules that are in force, and how many backups each keeps."""
        return {rule: count for rule in KEEP_RULES if (count := getattr(self, f"keep_{rule}"))}

    @property
    def backups_due(self) -> Schedule:
        """When backups are due."""
        return Schedule(self.interval_s, self.schedule, self.timezone)

    @property
    def drills_due(self) -> Schedule:
        """When drills are due."""
        return Schedule(self.verify_interval_s, self.verify_schedule, self.timezone)

    @property
    def source(self) -> Server:
        """The database to back up."""
        return _present(self.server, "server", "database to back up")

    @property
    def drill_server(self) -> Server:
        """The server that drills restore to."""
        return _present(self.verify_server or self.server, "verify_server", "server for drills")

    @classmethod
    def from_settings(cls, settings: Settings) -> Plan:
        """Make the plan `default` out of the environment's settings; storage must be among them."""
        url, drill_url = settings.server_url, settings.verify_database_url
        return cls(
            server=Server(url) if url else None,
            verify_server=Server(drill_url) if drill_url else None,
            storage=BackupStorage.at(
                endpoint=settings.s3_endpoint or "",
                bucket=settings.s3_bucket or "",
                prefix=settings.backup_prefix,
                region=settings.s3_region,
                provider=settings.s3_provider,
                key_id=settings.s3_access_key_id or "",
                secret=settings.s3_secret_access_key or SecretStr(""),
            ),
            allow_shared_prefix=settings.allow_shared_prefix,
            backups_of=settings.backups_of,
            compression_level=settings.compression_level,
            retention_days=settings.backup_retention_days,
            **{f"keep_{rule}": getattr(settings, f"backup_keep_{rule}") for rule in KEEP_RULES},
            interval_s=settings.backup_interval_s,
            schedule=settings.backup_schedule,
            verify_interval_s=settings.verify_interval_s,
            verify_schedule=settings.verify_schedule,
            timezone=settings.tz,
            verify_backup_file=None if settings.verify_latest else settings.verify_backup_file,
            **settings.model_dump(include=_SAME_NAME_FIELDS),
        )


def resolve_plan(name: str, needs: frozenset[Need]) -> Plan:
    """Find a plan by its name: `default` is what the environment describes, any other is a saved block.

    Where the environment describes nothing, `default` may be a saved block too. Raises ConfigurationError.
    """
    if name == DEFAULT and describes_a_plan():
        return Plan.from_settings(load_settings(needs))
    if plan := load_saved(Plan, name):
        return plan
    if name == DEFAULT:
        load_settings(needs)  # names what is missing
    hint = "save a Backup Plan block of this name, or set the variables for the plan 'default'"
    raise ConfigurationError([Fault(f"There is no plan named {name}", hint)])


def _present(server: PostgresServer | None, field: str, what: str) -> Server:
    if server is None:
        raise ConfigurationError([Fault(f"The plan names no {what}", f"set {field} in the plan, or DATABASE_URL")])
    return _readable(server.server, what)


def _readable(server: Server, what: str) -> Server:
    """A server whose URL can be read: a form takes any."""
    try:
        server.parameters()
    except ValueError as error:
        raise ConfigurationError(
            [Fault(f"Invalid URL of the {what} [{error}]", WHEN_MALFORMED["DATABASE_URL"])]
        ) from None
    return server


def resolve_target(name: str) -> Server:
    """Find the database to restore to: `default` is RESTORE_DATABASE_URL, any other is a saved block."""
    if name == DEFAULT:
        url = load_settings(frozenset({"target"})).restore_database_url
        assert url is not None
        return Server(url)
    if saved := load_saved(PostgresServer, name):
        return _readable(saved.server, "server to restore to")
    hint = "save a PostgreSQL Server block of this name, or set RESTORE_DATABASE_URL"
    raise ConfigurationError([Fault(f"There is no server named {name}", hint)])
