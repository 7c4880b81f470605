"""Read the environment once into one frozen object, and say everything that is wrong with it at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from blocks.config.hints import WHEN_MALFORMED, WHEN_MISSING
from blocks.config.values import (
    FLOWS,
    BackupFile,
    BucketName,
    Count,
    Cron,
    DatabaseUrl,
    EncryptionKey,
    FlowNames,
    Folder,
    HostName,
    HttpAddress,
    Port,
    Seconds,
    TimeZone,
    UserName,
    host_in_url,
)
from blocks.errors import ConfigurationError, Fault
from blocks.s3.providers import ProviderKey

# Without one of these a default holds, and nobody is told.
_OPTIONAL = ("BACKUP_", "VERIFY_", "COMPRESSION_", "SERVE_", "METRICS_")
Need = Literal["database", "storage", "drill", "target"]
# A container that drills only need not know the production database.
_NEEDS_OF: dict[str, frozenset[Need]] = {"backup": frozenset({"database", "storage"}), "prune": frozenset({"storage"}),
             "restore-drill": frozenset({"drill", "storage"}), "restore": frozenset({"storage"})}  # fmt: skip


class Settings(BaseSettings):
    """Everything the environment says about the plan `default` and about the service; the specification names the variables.

    A field is read from the variable of the same name in capitals, unless it names another. Nothing is
    required here, because not every command needs everything: `load_settings` asks for what is needed.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, str_strip_whitespace=True, extra="ignore")

    database_url: DatabaseUrl | None = None
    verify_database_url: DatabaseUrl | None = None
    restore_database_url: DatabaseUrl | None = None
    postgres_host: HostName | None = None
    postgres_port: Port = 5432
    postgres_user: str | None = None
    postgres_password: SecretStr = SecretStr("")
    postgres_db: str | None = None
    s3_endpoint: HttpAddress | None = None
    s3_bucket: BucketName | None = Field(default=None, validation_alias=AliasChoices("S3_BUCKET", "BUCKET_NAME"))
    s3_access_key_id: str | None = None
    s3_secret_access_key: SecretStr | None = None
    s3_region: str | None = None
    s3_provider: ProviderKey | None = None
    backup_prefix: Folder = "postgres-backups"
    allow_shared_prefix: bool = False
    backups_of: str | None = None
    backup_interval_s: Seconds = Field(default=3600, validation_alias="BACKUP_INTERVAL")
    backup_schedule: Cron | None = None
    backup_retention_days: Annotated[int, Field(ge=1, le=36500)] = 7
    backup_keep_last: Count = None
    backup_keep_daily: Count = None
    backup_keep_weekly: Count = None
    backup_keep_monthly: Count = None
    backup_keep_yearly: Count = None
    compression_level: Annotated[int, Field(ge=1, le=9)] = 6
    verify_interval_s: Seconds = Field(default=86400, validation_alias="VERIFY_INTERVAL")
    verify_schedule: Cron | None = None
    verify_latest: bool = True
    verify_backup_file: BackupFile | None = None
    verify_target: Literal["auto", "database", "sandbox"] = "auto"
    verify_max_age_s: Seconds | None = Field(default=None, validation_alias="VERIFY_MAX_AGE")
    verify_timeout_s: Seconds = Field(default=21600, validation_alias="VERIFY_TIMEOUT")
    verify_queries_file: str | None = None
    verify_query_timeout_s: Annotated[int, Field(ge=1)] = Field(default=60, validation_alias="VERIFY_QUERY_TIMEOUT")
    verify_strict: bool = False
    restore_verify: bool = True
    tz: TimeZone = "UTC"
    serve_flows: FlowNames = ",".join(FLOWS)
    port: Port = 8080
    ui_username: UserName = "admin"
    ui_password: SecretStr | None = None
    metrics_enabled: bool = False
    metrics_port: Port = 9090
    # Prefect reads it by itself, and of one that is none it says no more than "400" when a block is saved.
    prefect_server_encryption_key: EncryptionKey | None = None

    @model_validator(mode="before")
    @classmethod
    def _blank_is_not_set(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if not isinstance(value, str) or value.strip()}

    @property
    def served(self) -> tuple[str, ...]:
        """The flows that `serve` is to run, in the order in which a database's life needs them."""
        return tuple(self.serve_flows.split(","))

    @property
    def server_url(self) -> SecretStr | None:
        """The URL of the database: DATABASE_URL, or what the older POSTGRES_* names spell."""
        if self.database_url or not (self.postgres_host and self.postgres_user and self.postgres_db):
            return self.database_url
        secret = self.postgres_password.get_secret_value()
        login = quote(self.postgres_user, safe="") + (f":{quote(secret, safe='')}" if secret else "")
        return SecretStr(
            f"postgresql://{login}@{host_in_url(self.postgres_host)}:{self.postgres_port}/{quote(self.postgres_db, safe='')}"
        )


def load_settings(needs: frozenset[Need]) -> Settings:
    """Turn the environment into settings for a command that uses `needs`.

    Raises ConfigurationError with every fault at once: each variable that is needed and not set, and each
    that is set and cannot be what it should be, needed or not.
    """
    try:
        settings, malformed = Settings(), []
    except ValidationError as error:
        malformed = [_variable(str(e["loc"][0])) for e in error.errors(include_input=False, include_url=False)]
        settings = Settings.model_construct(**_as_set())
    faults = [
        Fault(f"Required environment variable {name} is not set", WHEN_MISSING[name])
        for name in _missing(settings, needs)
    ]
    faults += [Fault(f"Invalid {name} format", WHEN_MALFORMED.get(name, "")) for name in malformed]
    if faults:
        raise ConfigurationError(faults)
    return settings


def load_service_settings() -> Settings:
    """Turn the environment into settings for `serve`: what the flows need that SERVE_FLOWS names; raises as above."""
    named = [name.strip() for name in os.environ.get("SERVE_FLOWS", "").split(",")]
    served = [flow for flow in FLOWS if flow in named] or FLOWS
    return load_settings(frozenset().union(*(_NEEDS_OF[flow] for flow in served)))


def _variable(location: str) -> str:
    """The variable that a faulty field was read from."""
    return {"BUCKET_NAME": "S3_BUCKET"}.get(location.upper(), location.upper().removesuffix("_S"))


def _as_set() -> dict[str, Any]:
    """The raw values that are set, malformed or not, by field, to see what is missing among the rest."""
    raw = {"s3_bucket": os.environ.get("S3_BUCKET") or os.environ.get("BUCKET_NAME")}
    raw |= {field: os.environ.get(field.upper()) for field in Settings.model_fields if field != "s3_bucket"}
    return {field: value.strip() for field, value in raw.items() if value and value.strip()}


def _missing(settings: Settings, needs: frozenset[Need]) -> Iterator[str]:
    """Name every variable that is needed and not set, in the order of the documentation."""
    drills_there = "drill" in needs and settings.verify_target == "database" and not settings.verify_database_url
    if "database" in needs or drills_there:
        if not settings.database_url and not settings.postgres_host:
            yield "DATABASE_URL"
        elif not settings.database_url:
            yield from (f"POSTGRES_{n}" for n in ("USER", "DB") if not getattr(settings, f"postgres_{n.lower()}"))
    if "target" in needs and not settings.restore_database_url:
        yield "RESTORE_DATABASE_URL"
    if "storage" in needs:
        for field in ("s3_endpoint", "s3_bucket", "s3_access_key_id", "s3_secret_access_key"):
            if not getattr(settings, field):
                yield field.upper()
    latest = str(settings.verify_latest).lower() not in ("false", "0", "no", "off")
    if "drill" in needs and not latest and not settings.verify_backup_file:
        yield "VERIFY_BACKUP_FILE"


def misspelled() -> dict[str, str]:
    """Variables that nothing reads, each with the one it nearly is: BACKUP_RETENTION_DAY would leave seven days."""
    known = {_variable(field) for field in Settings.model_fields}
    optional = [name for name in known if name.startswith(_OPTIONAL)]
    nearly = {name: get_close_matches(name, optional, 1, 0.85) for name in sorted(set(os.environ) - known)}
    return {name: like[0] for name, like in nearly.items() if like}


def describes_a_plan() -> bool:
    """Whether the environment sets any of the variables that make the plan `default`."""
    names = ("DATABASE_URL", "POSTGRES_HOST", "S3_ENDPOINT", "S3_BUCKET", "BUCKET_NAME", "S3_ACCESS_KEY_ID")
    return any(os.environ.get(name, "").strip() for name in names)
