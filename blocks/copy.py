"""A further place for a plan's backups, as a Prefect block.

It holds its keys itself: Prefect's server cannot read back a plan in which blocks that hold others occur twice.
"""

from __future__ import annotations

from typing import Any, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator, model_validator

from blocks.config.copy_settings import FIELDS, RETENTION, values_of
from blocks.config.destinations import kept_in
from blocks.config.settings import Settings
from blocks.config.values import folder_path
from blocks.s3.providers import ProviderKey
from blocks.s3.terms import Credentials, LockMode, Pruner, ServerSideEncryption
from blocks.stores import Storage


def _rule(title: str, most: int = 100_000) -> Any:
    return Field(
        default=None, ge=1, le=most, title=title, description="As in the plan; the plan's own value when empty."
    )


class BackupCopy(Block):
    """A place that gets every backup of a plan, too, with a retention of its own."""

    _block_type_name = "Backup Copy"
    _block_type_slug = "pg-roundtrip-copy"
    _description = "A further bucket or folder that gets every backup of a plan."

    path: str | None = Field(
        default=None,
        title="Folder on a disk",
        description="The whole path of an existing folder on the machine where the plan runs; otherwise a bucket is needed.",
    )
    s3_endpoint: str | None = Field(default=None, title="Endpoint URL", description="The storage's address.")
    s3_bucket: str | None = Field(default=None, title="S3 Bucket", description="The bucket; it must exist.")
    s3_access_key_id: str | None = Field(default=None, title="Access key", description="The access key.")
    s3_secret_access_key: SecretStr | None = Field(
        default=None, title="Secret key", description="The secret for that key."
    )
    s3_credentials: Credentials | None = Field(
        default=None, title="Credentials", description="With sdk, and without keys here, those that the AWS SDK finds."
    )
    s3_region: str | None = Field(default=None, title="Region", description="If the endpoint doesn't reveal it.")
    s3_provider: ProviderKey | None = Field(
        default=None, title="Provider", description="If the endpoint doesn't reveal it."
    )
    s3_object_lock_days: int | None = Field(
        default=None, ge=1, le=36500, title="Lock (days)", description="Lock each object for this many days."
    )
    s3_object_lock_mode: LockMode | None = Field(
        default=None,
        title="Lock mode",
        description="Nobody can end a lock in the mode compliance; governance when empty.",
    )
    s3_sse: ServerSideEncryption | None = Field(
        default=None, title="Encryption by the storage", description="As the bucket is set up, when empty."
    )
    s3_sse_kms_key_id: str | None = Field(default=None, title="KMS key", description="The key for aws:kms.")
    prune: Pruner | None = Field(
        default=None, title="Removes old backups", description="With elsewhere, only lifecycle rules of the bucket do."
    )
    prefix: str = Field(default="", title="Folder", description="The backup prefix in the bucket, or in the folder.")
    retention_days: int | None = _rule("Retention (days)", 36500)
    keep_last: int | None = _rule("Keep the last")
    keep_daily: int | None = _rule("Keep daily")
    keep_weekly: int | None = _rule("Keep weekly")
    keep_monthly: int | None = _rule("Keep monthly")
    keep_yearly: int | None = _rule("Keep yearly")

    _check_path = field_validator("path")(lambda given: given and folder_path(given))

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.path) == bool(self.s3_endpoint):
            raise ValueError("a bucket or a folder")
        return self

    @classmethod
    def from_settings(cls, settings: Settings, place: str) -> BackupCopy | None:
        """Build the block of one of a plan's copies from the environment's settings; None if there is none."""
        given = values_of(settings, place)
        given.pop("s3_session_token", None)
        return cls(**{"prefix": settings.backup_prefix, **given}) if given else None

    def destination(self, place: str) -> tuple[str, Storage, dict[str, Any]]:
        """Return name, storage and what is set of the retention."""
        return place, kept_in(self._given, self.prefix), {name: getattr(self, name) for name in RETENTION}

    @property
    def _given(self) -> dict[str, Any]:
        found = {name: getattr(self, name, None) for name in FIELDS}
        return {name: value for name, value in found.items() if value is not None}

    def described(self, place: str) -> dict[str, str | SecretStr]:
        """Return the variables that describe this copy."""
        given = {**self._given, "prefix": self.prefix or "/"}
        return {
            f"{place}_{name}".upper(): value if isinstance(value, SecretStr) else str(value)
            for name, value in given.items()
        }
