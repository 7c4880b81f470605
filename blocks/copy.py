"""A further place for a plan's backups, as a Prefect block."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.config.copy_settings import RETENTION, values_of
from blocks.config.settings import Settings
from blocks.storage import BackupStorage
from blocks.stores import FILE, Storage


def _rule(title: str, most: int = 100_000) -> Any:
    return Field(
        default=None, ge=1, le=most, title=title, description="As in the plan; the plan's own value when empty."
    )


class BackupCopy(Block):
    """A place that gets every backup of a plan, too, with a retention of its own."""

    _block_type_name = "Backup Copy"
    _block_type_slug = "pg-roundtrip-copy"
    _description = "A further bucket or folder that gets every backup of a plan."

    storage: BackupStorage = Field(title="Storage", description="Where the copies are kept.")
    retention_days: int | None = _rule("Retention (days)", 36500)
    keep_last: int | None = _rule("Keep the last")
    keep_daily: int | None = _rule("Keep daily")
    keep_weekly: int | None = _rule("Keep weekly")
    keep_monthly: int | None = _rule("Keep monthly")
    keep_yearly: int | None = _rule("Keep yearly")

    @classmethod
    def from_settings(cls, settings: Settings, place: str) -> BackupCopy | None:
        """Build the block of one of a plan's copies from the environment's settings; None if there is none."""
        given = values_of(settings, place)
        if not given:
            return None
        kept = BackupStorage.at(
            endpoint=f"{FILE}//{quote(given['path'])}" if "path" in given else given.get("s3_endpoint", ""),
            bucket=given.get("s3_bucket", ""), prefix=given.get("prefix", settings.backup_prefix),
            key_id=given.get("s3_access_key_id", ""), secret=given.get("s3_secret_access_key", SecretStr("")),
            region=given.get("s3_region"), provider=given.get("s3_provider"),
        )  # fmt: skip
        return cls(storage=kept, **{name: given[name] for name in RETENTION if name in given})

    def destination(self, place: str) -> tuple[str, Storage, dict[str, Any]]:
        """Return name, storage and what is set of the retention."""
        return place, self.storage.store, {name: getattr(self, name) for name in RETENTION}

    def described(self, place: str) -> dict[str, str | SecretStr]:
        """Return the variables that describe this copy."""
        kept = self.storage.described()
        named = {("PREFIX" if name == "BACKUP_PREFIX" else name): value for name, value in kept.items()}
        rules = {name.upper(): str(value) for name in RETENTION if (value := getattr(self, name)) is not None}
        return {f"{place.upper()}_{name}": value for name, value in {**named, **rules}.items()}
