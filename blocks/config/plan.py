"""Plans: which database is backed up where and by which policies, which is all that a flow needs, under one name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from blocks.config import DEFAULT, copying
from blocks.config.copy_settings import DrilledPlace
from blocks.config.copying import Copying, copying_of
from blocks.config.databases import Databases, databases_of, folder_for
from blocks.config.destinations import (
    KEEP_RULES,
    PRIMARY,
    Destination,
    RetentionRules,
    copies_in,
    require_apart,
    retention_of,
)
from blocks.config.encryption import Encryption
from blocks.config.former import check_former, of_member
from blocks.config.schedule import Schedule
from blocks.config.selection import PATTERNS, Selection, selection_of
from blocks.config.settings import Settings
from blocks.config.values import URL_RULE
from blocks.errors import ConfigurationError, Problem
from blocks.sql.server import Server
from blocks.stores import Storage, storage_at

DrillTarget = Literal["auto", "database", "sandbox"]
_DRILL_FIELDS = (
    "target",
    "destination",
    "backup_file",
    "max_age_s",
    "timeout_s",
    "queries_file",
    "query_timeout_s",
    "strict",
)
_BUCKET_TWICE = "give S3_ENDPOINT without the bucket's name; it is added where the provider wants it"
_SAME_NAME_FIELDS = {"verify_target", "verify_destination", "verify_max_age_s", "verify_timeout_s", "verify_queries_file", "verify_query_timeout_s",
                 "verify_strict", "restore_verify", "anomaly_ignore_tables", "pg_dump_options", "backup_globals", "verify_databases"}  # fmt: skip


@dataclass(frozen=True)
class DumpOptions:
    """How a database is dumped, and what of it."""

    compression_level: int = 6
    selection: Selection = field(default_factory=Selection)
    globals: bool | None = None  # with roles and settings; None: where they can be read


@dataclass(frozen=True)
class Schedules:
    """When backups and drills are due."""

    backups: Schedule = field(default_factory=lambda: Schedule(3600))
    drills: Schedule = field(default_factory=lambda: Schedule(86400))


@dataclass(frozen=True)
class DrillOptions:
    """Where and how backups are drilled, and in which place they are; `backup_file` is the one to drill instead of the newest."""

    server: Server | None = None
    target: DrillTarget = "auto"
    destination: DrilledPlace = "turn"
    backup_file: str | None = None
    max_age_s: int | None = None
    timeout_s: int = 21600
    queries_file: str | None = None
    query_timeout_s: int = 60
    strict: bool = False


@dataclass(frozen=True)
class Plan:
    """One database with its storage and its policies.

    `shared` allows other databases to keep backups in the folder; `backups_of` names what the database was before it
    was moved or renamed; `ignored_tables` are patterns of those that no anomaly is reported of. With `databases`, it is
    a plan of several databases of a server, `member` is that of one, and `backups_of` names their former server.
    `storage` and `retention` are those of the place `place`; `copies` are the other places that get the same backups.
    """

    name: str
    storage: Storage
    server: Server | None = None
    dump: DumpOptions = field(default_factory=DumpOptions)
    retention: RetentionRules = field(default_factory=RetentionRules)
    schedules: Schedules = field(default_factory=Schedules)
    drill: DrillOptions = field(default_factory=DrillOptions)
    shared: bool = False
    backups_of: str | None = None
    restore_verify: bool = True
    ignored_tables: tuple[str, ...] = ()
    databases: Databases | None = None
    encryption: Encryption = field(default_factory=Encryption)
    copies: tuple[Destination, ...] = ()
    place: str = PRIMARY
    copying: Copying = field(default_factory=Copying)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """All places that its backups are written to, the primary one first."""
        return (Destination(self.place, self.storage, self.retention), *self.copies)

    def at(self, destination: Destination) -> Plan:
        """Return the same plan with one of its places alone, and the retention of that place."""
        return replace(
            self, storage=destination.storage, retention=destination.retention, place=destination.name, copies=()
        )  # fmt: skip

    def leading(self, destination: Destination) -> Plan:
        """Return the same plan with one of its places in front, and all others as its copies."""
        others = tuple(place for place in self.destinations if place.name != destination.name)
        return replace(self.at(destination), copies=others)

    def member(self, database: str) -> Plan:
        """Return the plan of one of its databases, which has a folder, and so backups, of its own."""
        folder = folder_for(database)
        server = self.source.on(database) if self.server else None
        return replace(
            self, name=f"{self.name}/{folder}", storage=self.storage.within(folder), server=server, databases=None,
            copies=tuple(copy.within(folder) for copy in self.copies),
            backups_of=of_member(self.backups_of, database) if server else None,
        )  # fmt: skip

    @property
    def selection_mark(self) -> str:
        """What tells backups with the plan's selection from others, in documents that anyone may read; empty: whole."""
        return self.encryption.marked(self.dump.selection.fingerprint)

    @property
    def is_member(self) -> bool:
        """Whether it is the plan of one of a server's databases."""
        return "/" in self.name

    @property
    def source(self) -> Server:
        """The database to back up."""
        return _present(self.server, "server", "database to back up")

    @property
    def drill_server(self) -> Server:
        """The server that drills restore to."""
        return _present(self.drill.server or self.server, "verify_server", "server for drills")

    @classmethod
    def of(
        cls, name: str, storage: Storage, server: Server | None = None, drill_server: Server | None = None, /,
        **fields: Any,
    ) -> Plan:  # fmt: skip
        """Build a plan from the fields of a saved block; each field has a default."""
        _require_bucket_once(storage)
        if databases := databases_of(fields):
            check_former(fields.get("backups_of"))
        zone = fields.get("timezone", "UTC")
        retention = retention_of(fields)
        copies = tuple(Destination(n, kept, retention_of(own, retention)) for n, kept, own in fields.get("copies", ()))
        require_apart((Destination(PRIMARY, storage, retention), *copies))
        drill = {n: fields[f"verify_{n}"] for n in _DRILL_FIELDS if f"verify_{n}" in fields}
        return cls(
            name, storage, server,
            dump=DumpOptions(fields.get("compression_level", 6), selection_of(fields), fields.get("backup_globals")),
            retention=retention,
            copies=copies,
            schedules=Schedules(
                Schedule(fields.get("interval_s", 3600), fields.get("schedule"), zone),
                Schedule(fields.get("verify_interval_s", 86400), fields.get("verify_schedule"), zone),
            ),
            drill=DrillOptions(drill_server, **drill),
            shared=fields.get("allow_shared_prefix", False),
            backups_of=fields.get("backups_of"),
            restore_verify=fields.get("restore_verify", True),
            databases=databases,
            copying=copying_of(fields),
            encryption=Encryption(fields.get("age_recipients") or ""),
            ignored_tables=tuple(filter(None, map(str.strip, (fields.get("anomaly_ignore_tables") or "").split(",")))),
        )  # fmt: skip

    @classmethod
    def from_settings(cls, settings: Settings) -> Plan:
        """Build the plan `default` from the environment's settings, which must include the storage."""
        url, drill_url = settings.server_url, settings.verify_database_url
        return cls.of(
            DEFAULT,
            storage_at(**storage_fields(settings), token=settings.s3_session_token),
            Server(url) if url else None,
            Server(drill_url) if drill_url else None,
            **plan_fields(settings),
            copies=tuple(copies_in(settings, settings.backup_prefix)),
        )


def storage_fields(settings: Settings) -> dict[str, Any]:
    """The storage that the environment describes."""
    return {
        "endpoint": settings.s3_endpoint or "",
        "bucket": settings.s3_bucket or "",
        "prefix": settings.backup_prefix,
        "region": settings.s3_region,
        "provider": settings.s3_provider,
        "key_id": settings.s3_access_key_id or "",
        "secret": settings.s3_secret_access_key or SecretStr(""),
        "credentials": settings.s3_credentials,
        "terms": settings.terms,
    }


# The fields of a saved block that have the environment's policies, and the settings' names for them.
PLAN_FIELDS = {
    "allow_shared_prefix": "allow_shared_prefix",
    "backups_of": "backups_of",
    "compression_level": "compression_level",
    **{kind: f"backup_{kind}" for kind in PATTERNS},
    "age_recipients": "backup_age_recipients",
    "databases": "backup_databases",
    "parallel_databases": "backup_parallel_databases",
    "retention_days": "backup_retention_days",
    **{f"keep_{rule}": f"backup_keep_{rule}" for rule in KEEP_RULES},
    "interval_s": "backup_interval_s",
    "schedule": "backup_schedule",
    "verify_interval_s": "verify_interval_s",
    "verify_schedule": "verify_schedule",
    "timezone": "tz",
    "verify_backup_file": "verify_backup_file",
    **{name: name for name in sorted({*_SAME_NAME_FIELDS, *copying.FIELDS})},
}


def plan_fields(settings: Settings) -> dict[str, Any]:
    """The policies that the environment describes, as the fields of a saved block."""
    found = {field: getattr(settings, named) for field, named in PLAN_FIELDS.items()}
    return found | ({"verify_backup_file": None} if settings.verify_latest else {})


def _require_bucket_once(storage: Storage) -> None:
    if storage.bucket and urlsplit(storage.endpoint).path.strip("/") == storage.bucket:
        said = f"S3_ENDPOINT ends in the bucket's name {storage.bucket}, which would then be named twice"
        raise ConfigurationError([Problem(said, _BUCKET_TWICE)])


def _present(server: Server | None, field_name: str, what: str) -> Server:
    if server is None:
        raise ConfigurationError(
            [Problem(f"The plan names no {what}", f"set {field_name} in the plan, or DATABASE_URL")]
        )
    return readable(server, what)


def readable(server: Server, what: str) -> Server:
    """Return the server if its URL can be parsed, else raise ConfigurationError: a Prefect form accepts any text."""
    try:
        server.parameters()
    except ValueError as error:
        raise ConfigurationError([Problem(f"Invalid URL of the {what} [{error}]", URL_RULE)]) from None
    return server
