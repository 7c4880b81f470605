"""Every environment setting with its type, default and meaning.

`docs/configuration.md`, `.env.example` and the hints of errors are generated from this: `make docs`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from blocks.config.copy_settings import CopySettings, DrilledPlace
from blocks.config.databases import DatabasesSettings
from blocks.config.encryption_settings import EncryptionSettings, IdentitySettings
from blocks.config.evidence_settings import EvidenceSettings
from blocks.config.hook_settings import HookSettings
from blocks.config.lock_settings import LockSettings
from blocks.config.roles import GlobalsSettings
from blocks.config.says import Rule, Says
from blocks.config.selection import SelectionSettings
from blocks.config.service_settings import ServiceSettings
from blocks.config.values import (
    BackupFile,
    BucketName,
    Count,
    Cron,
    DatabaseUrl,
    EncryptionKey,
    Folder,
    HostName,
    Level,
    NotifyUrls,
    Port,
    RetentionDays,
    Seconds,
    StorageAddress,
    TimeZone,
    UnprovenAfter,
    WebAddress,
    WebhookTemplate,
    host_in_url,
    usable_urls,
)
from blocks.s3.providers import KEYS, ProviderKey

_URL = "postgresql://user:password@host:5432/database"
_WITH_HOST = "POSTGRES_HOST is set, so this one is needed too"
_PROVIDERS = ", ".join(f"`{key}`" for key in KEYS[:-1])


class DatabaseSettings(BaseModel):
    """The database to back up."""

    database_url: Annotated[DatabaseUrl | None, Says(
        "The database's URL. Write special characters in user and password as `%XX`. Parameters of PostgreSQL's clients can follow a `?` "
        "(`sslmode=require`, `sslrootcert=/path`, `connect_timeout=30`). Others (`pgbouncer=true`, `schema=public`) are ignored with a warning.",
        _URL, missing=f"set it to {_URL}, or set POSTGRES_HOST and the others",
    )] = None  # fmt: skip
    postgres_host: Annotated[HostName | None, Says(
        "The server, if `DATABASE_URL` is not set. Give only its name or address.", "db.internal"
    )] = None  # fmt: skip
    postgres_port: Annotated[Port, Says("The server's port.", "6432")] = 5432
    postgres_user: Annotated[str | None, Says("The role.", "backup", missing=_WITH_HOST)] = None
    postgres_password: Annotated[SecretStr, Says("The role's password, unescaped (no `%XX`).", "p@ss/word")] = (
        SecretStr("")
    )
    postgres_db: Annotated[str | None, Says("The database's name, unescaped.", "shop", missing=_WITH_HOST)] = None


class StorageSettings(BaseModel):
    """Where backups are kept."""

    s3_endpoint: Annotated[StorageAddress | None, Says(
        "The storage's address, without the bucket: see [each provider](providers.md). `file:///mnt/backups` is an existing [folder on a disk](copies.md#a-folder-on-a-disk), which needs no bucket and no keys.", "https://s3.eu-central-1.amazonaws.com",
        missing="set it to the storage's address, for example https://s3.amazonaws.com",
    )] = None  # fmt: skip
    s3_bucket: Annotated[BucketName | None, Says(
        "The bucket that stores the backups; it must exist. `BUCKET_NAME` is read if this is not set.", "my-postgres-backups",
        missing="set it to the name of the bucket that keeps the backups",
    )] = Field(default=None, validation_alias=AliasChoices("S3_BUCKET", "BUCKET_NAME"))  # fmt: skip
    s3_access_key_id: Annotated[str | None, Says(
        "The access key.", "AKIAIOSFODNN7EXAMPLE", missing="set it to the access key of the storage"
    )] = None  # fmt: skip
    s3_secret_access_key: Annotated[SecretStr | None, Says(
        "The secret for that key.", "wJalrXUtnFEMI/K7MDENG", missing="set it to the secret that belongs to the access key"
    )] = None  # fmt: skip
    s3_session_token: Annotated[SecretStr | None, Says(
        "The session token of temporary keys. They must be valid for as long as a backup or drill takes.", "IQoJb3JpZ2luX2VjE"
    )] = None  # fmt: skip
    s3_region: Annotated[str | None, Says(
        "The region. If unset, it is the one in the endpoint, or else the provider's default (mostly `us-east-1`).", "eu-central-1"
    )] = None  # fmt: skip
    s3_provider: Annotated[ProviderKey | None, Rule(f"it must be one of {', '.join(KEYS)}"), Says(
        f"The provider, if the endpoint doesn't reveal it: {_PROVIDERS} or `{KEYS[-1]}`.", "minio"
    )] = None  # fmt: skip
    backup_prefix: Annotated[Folder, Says(
        "The folder in the bucket. Give each database a separate one.", "production/shop"
    )] = "postgres-backups"  # fmt: skip
    allow_shared_prefix: Annotated[bool, Says(
        "Whether other databases may keep their backups in that folder, too, without a refusal or a warning. "
        "They are [told apart](retention.md#one-folder-one-database) either way.", "true"
    )] = False  # fmt: skip
    backups_of: Annotated[str | None, Says(
        "Former identities of this database, [before it was moved or renamed](runbooks/shared-folder.md), as `name` or `name@server`, "
        "separated by commas. Write a comma, `@` or `%` in a name as `%2C`, `%40`, `%25`. Without `DATABASE_URL`, it chooses the database. "
        "With `BACKUP_DATABASES`, the former server of all, as `@server`.",
        "shop@7712734137005552605",
    )] = None  # fmt: skip


class BackupSettings(GlobalsSettings):
    """When and how backups are made."""

    backup_interval_s: Annotated[Seconds, Says(
        "Seconds between backups of `pg-roundtrip serve`, 60 or more. After two intervals without a backup, retention considers backups stopped.", "21600"
    )] = Field(default=3600, validation_alias="BACKUP_INTERVAL")  # fmt: skip
    backup_schedule: Annotated[Cron | None, Says(
        "A five-field cron expression, used instead of the interval.", "0 3 * * *"
    )] = None  # fmt: skip
    tz: Annotated[TimeZone, Says(
        "The time zone of cron expressions. Names, logs and retention are in UTC.", "Europe/Berlin"
    )] = "UTC"  # fmt: skip
    compression_level: Annotated[Level, Says(
        "The gzip level, from 1 (fastest) to 9 (smallest): [what they cost](../README.md#speed).", "9"
    )] = 6  # fmt: skip
    anomaly_ignore_tables: Annotated[str | None, Says(
        "Tables whose rows may come and go without [a warning](anomalies.md). Patterns of `schema.table` or `table`, with `*`, separated by commas.",
        "public.sessions, audit.*, *_queue",
    )] = None  # fmt: skip


class RetentionSettings(BaseModel):
    """A backup is kept if any of these rules keeps it; an unset rule keeps nothing."""

    backup_retention_days: Annotated[RetentionDays, Says("Keep every backup of this many days.", "90")] = 7
    backup_keep_last: Annotated[Count, Says("Keep this many of the newest backups, however old.", "3")] = None
    backup_keep_daily: Annotated[Count, Says("Keep one backup per day, for this many days.", "7")] = None
    backup_keep_weekly: Annotated[Count, Says("Keep one per week, for this many weeks.", "4")] = None
    backup_keep_monthly: Annotated[Count, Says("Keep one per month, for this many months.", "12")] = None
    backup_keep_yearly: Annotated[Count, Says("Keep one per year, for this many years.", "7")] = None


class DrillSettings(BaseModel):
    """When, where and how drills run."""

    verify_interval_s: Annotated[Seconds, Says(
        "Seconds between drills in `pg-roundtrip serve`, 60 or more.", "43200"
    )] = Field(default=86400, validation_alias="VERIFY_INTERVAL")  # fmt: skip
    verify_schedule: Annotated[Cron | None, Says("A cron expression instead of the interval.", "0 4 * * SUN")] = None
    verify_latest: Annotated[bool, Says("Whether to drill the newest backup.", "false")] = True
    verify_backup_file: Annotated[BackupFile | None, Says(
        "With `VERIFY_LATEST=false`, the backup to drill.", "backup_20240207_143022.sql.gz",
        missing="VERIFY_LATEST is false, so name the backup: backup_YYYYMMDD_HHMMSS.sql.gz",
    )] = None  # fmt: skip
    verify_target: Annotated[Literal["auto", "database", "sandbox"], Rule("it must be auto, database or sandbox"), Says(
        "[Where drills run](drills.md#where-it-runs): `sandbox` (a throwaway server started for the drill), `database` (a scratch database on your own server), "
        "or `auto` (`database` if `VERIFY_DATABASE_URL` is set or no server programs are installed, otherwise `sandbox`).", "sandbox"
    )] = "auto"  # fmt: skip
    verify_destination: Annotated[DrilledPlace, Rule("it must be turn, primary, copy, copy2 or copy3"), Says(
        "With [copies](copies.md#drills), the place whose backups are drilled: `primary`, `copy`, `copy2`, `copy3`, or `turn`: the one whose last drill is longest ago.", "primary"
    )] = "turn"  # fmt: skip
    verify_database_url: Annotated[DatabaseUrl | None, Says(
        "The server for drills in `database`; if unset, that of `DATABASE_URL`. The role needs `CREATEDB`.",
        "postgresql://drill:password@spare:5432/postgres",
    )] = None  # fmt: skip
    verify_max_age_s: Annotated[Seconds | None, Says(
        "Maximum age of the newest backup in seconds, 60 or more. An older one fails its drill. If unset, there is no limit.", "90000"
    )] = Field(default=None, validation_alias="VERIFY_MAX_AGE")  # fmt: skip
    verify_timeout_s: Annotated[Seconds, Says(
        "Time limit for a drill in seconds, 60 or more.", "43200"
    )] = Field(default=21600, validation_alias="VERIFY_TIMEOUT")  # fmt: skip
    verify_queries_file: Annotated[str | None, Says(
        "The file with [your own queries](drills.md#queries-of-your-own). If unset: `test-queries.sql` in the working directory, if it exists.", "/data/test-queries.sql"
    )] = None  # fmt: skip
    verify_query_timeout_s: Annotated[int, Field(ge=1), Rule("it must be a whole number of seconds, 1 or more"), Says(
        "Time limit for each query in seconds.", "300"
    )] = Field(default=60, validation_alias="VERIFY_QUERY_TIMEOUT")  # fmt: skip
    verify_strict: Annotated[bool, Says("Whether a query that can't be run, or a failing `POST_RESTORE_CHECK`, fails the drill.", "true")] = False  # fmt: skip


class RestoreSettings(BaseModel):
    """Where restores go, and whether they compare the rows."""

    restore_database_url: Annotated[DatabaseUrl | None, Says(
        "The target of `pg-roundtrip restore`, if `--to` is not given.", "postgresql://app:password@host:5432/shop",
        missing=f"pass --to {_URL}, or set the variable",
    )] = None  # fmt: skip
    restore_verify: Annotated[bool, Says(
        "Whether a restore reads the restored rows back and compares them before they become visible ([what it costs](restore.md#what-a-restore-compares)). "
        "`--no-verify` skips it once.", "false"
    )] = True  # fmt: skip


class NotificationSettings(BaseModel):
    """Who is told when something fails, and when it works again: see [notifications](notifications.md)."""

    # The variables that are invalid: no run may fail for one, so each is left out by itself.
    _wrong: tuple[str, ...] = PrivateAttr(())

    @property
    def wrong(self) -> tuple[str, ...]:
        """The variables of notifications that are left out, because their values are invalid."""
        return self._wrong

    @model_validator(mode="wrap")
    @classmethod
    def _each_by_itself(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(given)
        except ValidationError as error:
            places = {str(e["loc"][0]) for e in error.errors(include_input=False, include_url=False)}
        ours = {n for f, i in NotificationSettings.model_fields.items() for n in (f, i.validation_alias)}
        wrong = sorted(places & ours)
        urls = usable_urls(given["notify_urls"]) if "notify_urls" in wrong else ""
        rest = {name: value for name, value in given.items() if name not in wrong}
        found = handler({**rest, **({"notify_urls": urls} if urls else {})})
        found._wrong = tuple(name.upper() for name in wrong)  # noqa: SLF001  (this class's own)
        return found

    webhook_url: Annotated[WebAddress | None, Says(
        "Where each message is posted. Slack's and Discord's addresses get a message in their own form, all others JSON.", "https://hooks.slack.com/services/T0/B0/xyz"
    )] = None  # fmt: skip
    webhook_on_success: Annotated[bool, Says("Whether to post every run that succeeds, too.", "true")] = False
    webhook_on_failure: Annotated[bool, Says(
        "Whether to post what fails: the first time, a reminder a day, and that it works again.", "false"
    )] = True  # fmt: skip
    webhook_secret: Annotated[SecretStr | None, Says(
        "The secret that [signs](notifications.md#the-signature) what is posted: `whsec_` and base64, or any text.", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    )] = None  # fmt: skip
    webhook_template: Annotated[WebhookTemplate | None, Says(
        "A Jinja2 template for [a body of your own](notifications.md#a-body-of-your-own).", '{"text": {{ title | tojson }}}'
    )] = None  # fmt: skip
    notify_urls: Annotated[NotifyUrls | None, Says(
        "More places that get the same messages as the webhook, such as mail, Telegram, Teams or PagerDuty, as [addresses of apprise](https://appriseit.com/services/), separated by spaces.",
        "mailtos://user:password@example.com?to=ops@example.com",
    )] = None  # fmt: skip
    notify_unproven_after_s: Annotated[UnprovenAfter | None, Says(
        "Seconds after which you are told that no drill was `PROVEN`; with `BACKUP_DATABASES`, that none was of one of the databases. "
        "If unset, two intervals of drills, times the number of databases and of places if they take turns. `0`: never.", "172800"
    )] = Field(default=None, validation_alias="NOTIFY_UNPROVEN_AFTER")  # fmt: skip
    ping_url: Annotated[WebAddress | None, Says(
        "A check of healthchecks.io, or of anything that speaks its protocol, which hears when a backup starts, succeeds and fails, and tells you when it hears nothing.",
        "https://hc-ping.com/4f6b8c1e-9d2a-4b7e-8f3c-5a6d7e8f9a0b",
    )] = None  # fmt: skip
    verify_ping_url: Annotated[WebAddress | None, Says(
        "The same for drills, which need a check of their own.", "https://hc-ping.com/0a1b2c3d-4e5f-4a6b-8c7d-9e8f7a6b5c4d"
    )] = None  # fmt: skip


# In the order of the documentation, in which errors are reported too; pydantic takes the last base first.
SECTIONS: dict[str, type[BaseModel]] = {
    "The database": DatabaseSettings,
    "The storage": StorageSettings,
    "Locks and keys": LockSettings,
    "Copies": CopySettings,
    "Backups": BackupSettings,
    "What is in a backup": SelectionSettings,
    "Whole servers": DatabasesSettings,
    "Encryption": EncryptionSettings,
    "Retention": RetentionSettings,
    "Drills": DrillSettings,
    "Restores": RestoreSettings,
    "Private keys": IdentitySettings,
    "Hooks": HookSettings,
    "Notifications": NotificationSettings,
    "Evidence": EvidenceSettings,
    "The service": ServiceSettings,
}
# What a plan consists of; the others are settings of whoever runs it.
OF_A_PLAN = (
    "The database", "The storage", "Locks and keys", "Copies", "Backups", "What is in a backup", "Whole servers", "Encryption", "Retention", "Drills", "Restores",
)  # fmt: skip


class FromEnvironment(BaseSettings):
    """How variables are read: an empty or blank one is not set."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, str_strip_whitespace=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _blank_is_not_set(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if not isinstance(value, str) or value.strip()}


class Settings(
    ServiceSettings, EvidenceSettings, NotificationSettings, HookSettings, IdentitySettings, RestoreSettings, DrillSettings, RetentionSettings,
    EncryptionSettings, DatabasesSettings, SelectionSettings, BackupSettings, CopySettings, LockSettings, StorageSettings,
    DatabaseSettings, FromEnvironment,
):  # fmt: skip
    """All settings of the plan `default` and of the service; the specification names the variables.

    A field is read from the variable of the same name in capitals, unless it has an alias. Nothing is
    required here, because commands need different settings: `load_settings` checks what is needed.
    """

    # Prefect reads this itself. Validate it here: for an invalid key, Prefect says only "400" when a block is saved.
    prefect_server_encryption_key: EncryptionKey | None = None

    @property
    def enabled_flows(self) -> tuple[str, ...]:
        """The flows that `serve` runs, in the order of `FLOWS`."""
        return tuple(self.serve_flows.split(","))

    @property
    def server_url(self) -> SecretStr | None:
        """The database URL: DATABASE_URL, or one built from the older POSTGRES_* variables."""
        if self.database_url or not (self.postgres_host and self.postgres_user and self.postgres_db):
            return self.database_url
        secret = self.postgres_password.get_secret_value()
        login = quote(self.postgres_user, safe="") + (f":{quote(secret, safe='')}" if secret else "")
        return SecretStr(
            f"postgresql://{login}@{host_in_url(self.postgres_host)}:{self.postgres_port}/{quote(self.postgres_db, safe='')}"
        )
