"""Read the environment once into one frozen object, and report everything that is wrong with it at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import AliasChoices, ValidationError
from pydantic_settings import PydanticBaseSettingsSource

from blocks.config.copy_settings import contradictions, missing_of_copies
from blocks.config.dump_options import read_options
from blocks.config.says import Says, rule_in
from blocks.config.settings import Settings
from blocks.config.values import FLOWS
from blocks.errors import ConfigurationError, Problem

# Optional variables: when one is missing or misspelled, its default applies silently.
_OPTIONAL = (
    "BACKUP_", "COPY_", "COPY2_", "COPY3_", "COPIES_", "VERIFY_", "COMPRESSION_", "SERVE_", "STATUS_", "METRICS_", "ANOMALY_", "EVIDENCE_", "RPO_", "RTO_",
    "WEBHOOK_", "NOTIFY_", "PING_", "PG_DUMP_", "PRE_BACKUP_", "POST_BACKUP_", "POST_DRILL_", "POST_RESTORE_", "ON_FAILURE_", "HOOK_", "AGE_",
    "S3_OBJECT_LOCK_", "S3_SSE", "S3_CREDENTIALS",
)  # fmt: skip
Need = Literal["database", "storage", "drill", "target"]
# A drill-only container does not need to know the production database.
_NEEDS_OF: dict[str, frozenset[Need]] = {"backup": frozenset({"database", "storage"}), "prune": frozenset({"storage"}),
             "restore-drill": frozenset({"drill", "storage"}), "restore": frozenset({"storage"})}  # fmt: skip


class _Described(Settings):
    """The same settings, but nothing comes from the environment."""

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        return (sources["init_settings"],)


def load_settings(needs: frozenset[Need], described: Mapping[str, str] | None = None) -> Settings:
    """Load the settings that the environment has for a command that uses `needs`, or those `described` by variable.

    Raises ConfigurationError with all errors at once: every required variable that is not set, and every invalid
    one, required or not.
    """
    given = os.environ if described is None else described
    try:
        settings, malformed = Settings() if described is None else _Described(**_by_field(described)), []
    except ValidationError as error:
        malformed = [_variable(str(e["loc"][0])) for e in error.errors(include_input=False, include_url=False)]
        settings = Settings.model_construct(**_as_set(given))
    faults = [
        Problem(f"Required environment variable {name} is not set", when_missing(name))
        for name in _missing(settings, needs)
    ]
    faults += [Problem(f"Invalid {name} format", when_malformed(name)) for name in malformed]
    faults += contradictions(settings, malformed) if "storage" in needs else ()
    faults += read_options(settings.pg_dump_options or "")[1]
    if faults:
        raise ConfigurationError(faults)
    return settings


def load_service_settings() -> Settings:
    """Load the settings for `serve`, requiring what the flows in SERVE_FLOWS need; raises like `load_settings`."""
    named = [name.strip() for name in os.environ.get("SERVE_FLOWS", "").split(",")]
    served = [flow for flow in FLOWS if flow in named] or FLOWS
    return load_settings(frozenset().union(*(_NEEDS_OF[flow] for flow in served)))


def variable_of(field: str) -> str:
    """The variable that a field is read from."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else str(alias or field.upper())


def _field_of(variable: str) -> str:
    return next(field for field in Settings.model_fields if variable_of(field) == variable)


def when_missing(variable: str) -> str:
    """The hint for a required variable that is not set."""
    said = (m for m in Settings.model_fields[_field_of(variable)].metadata if isinstance(m, Says))
    return next(said).missing


def when_malformed(variable: str) -> str:
    """The hint for a variable with an invalid value."""
    field = Settings.model_fields[_field_of(variable)]
    return rule_in(field.annotation, field.metadata)


def _variable(location: str) -> str:
    """The variable that an invalid field was read from."""
    return {"BUCKET_NAME": "S3_BUCKET"}.get(location.upper(), location.upper().removesuffix("_S"))


def _by_field(described: Mapping[str, str]) -> dict[str, Any]:
    """The values by the name that the model takes them under."""
    fields = {variable_of(field): field for field in Settings.model_fields}
    return {
        name if Settings.model_fields[fields[name]].validation_alias else fields[name]: value
        for name, value in described.items()
    }


def _as_set(given: Mapping[str, str]) -> dict[str, Any]:
    """The raw values that are set, valid or not, by field, to find out which others are missing."""
    raw = {"s3_bucket": given.get("S3_BUCKET") or given.get("BUCKET_NAME")}
    raw |= {field: given.get(field.upper()) for field in Settings.model_fields if field != "s3_bucket"}
    return {field: value.strip() for field, value in raw.items() if value and value.strip()}


def _missing(settings: Settings, needs: frozenset[Need]) -> Iterator[str]:
    """Yield every required variable that is not set, in the order of the documentation."""
    drills_there = "drill" in needs and settings.verify_target == "database" and not settings.verify_database_url
    if "database" in needs or drills_there:
        if not settings.database_url and not settings.postgres_host:
            yield "DATABASE_URL"
        elif not settings.database_url:
            yield from (f"POSTGRES_{n}" for n in ("USER", "DB") if not getattr(settings, f"postgres_{n.lower()}"))
    if "target" in needs and not settings.restore_database_url:
        yield "RESTORE_DATABASE_URL"
    if "storage" in needs:
        keyless = settings.s3_credentials == "sdk" and not settings.s3_access_key_id
        needed = ("s3_endpoint", "s3_bucket", *(() if keyless else ("s3_access_key_id", "s3_secret_access_key")))
        if not str(settings.s3_endpoint or "").startswith("file:"):  # a folder needs no more
            yield from (field.upper() for field in needed if not getattr(settings, field))
        yield from missing_of_copies(settings)
    latest = str(settings.verify_latest).lower() not in ("false", "0", "no", "off")
    if "drill" in needs and not latest and not settings.verify_backup_file:
        yield "VERIFY_BACKUP_FILE"


def misspelled() -> dict[str, str]:
    """Find unknown variables that resemble a known one: BACKUP_RETENTION_DAY would silently leave the default."""
    known = {_variable(field) for field in Settings.model_fields}
    optional = [name for name in known if name.startswith(_OPTIONAL)]
    nearly = {name: get_close_matches(name, optional, 1, 0.85) for name in sorted(set(os.environ) - known)}
    return {name: like[0] for name, like in nearly.items() if like}


def describes_a_plan() -> bool:
    """Whether the environment sets any of the variables that make the plan `default`."""
    names = ("DATABASE_URL", "POSTGRES_HOST", "S3_ENDPOINT", "S3_BUCKET", "BUCKET_NAME", "S3_ACCESS_KEY_ID")
    return any(os.environ.get(name, "").strip() for name in names)
