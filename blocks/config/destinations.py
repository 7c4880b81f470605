"""Places that keep a plan's backups: the primary one, and copies of it, each with a retention of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from blocks.config.copy_settings import COPIES, RETENTION, values_of
from blocks.disk.folder_store import FolderStore
from blocks.errors import ConfigurationError, Problem
from blocks.s3.terms import Terms
from blocks.stores import Storage, overlap, storage_at

KEEP_RULES = ("last", "daily", "weekly", "monthly", "yearly")
PRIMARY = "primary"
_APART = (
    "give each copy a disk, or a bucket with a provider, of its own: what is lost with one is then still in the other"
)
PLACES = (PRIMARY, *COPIES)


@dataclass(frozen=True)
class RetentionRules:
    """Which backups are kept: all of the last `days` days, and those that each rule keeps (named in KEEP_RULES)."""

    days: int = 7
    keep: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Destination:
    """A place that a plan's backups are written to; its name is one of PLACES."""

    name: str
    storage: Storage
    retention: RetentionRules = field(default_factory=RetentionRules)

    def within(self, folder: str) -> Destination:
        """Return a folder in this place, with the same retention."""
        return replace(self, storage=self.storage.within(folder))


def retention_of(fields: Mapping[str, Any], default: RetentionRules | None = None) -> RetentionRules:
    """Return the rules that some fields describe; those that are not set are the default's."""
    known = default or RetentionRules()
    keep = {rule: count for rule in KEEP_RULES if (count := fields.get(f"keep_{rule}") or known.keep.get(rule))}
    return RetentionRules(fields.get("retention_days") or known.days, keep)


def copies_in(settings: Any, prefix: str) -> Iterator[tuple[str, Storage, dict[str, Any]]]:
    """Yield the copies that the environment describes: name, storage, and what is set of the retention."""
    for place in COPIES:
        if given := values_of(settings, place):
            yield place, kept_in(given, prefix), {name: given[name] for name in RETENTION if name in given}


def kept_in(given: Mapping[str, Any], prefix: str) -> Storage:
    """Return the storage that the fields of a copy describe, in a folder that they may name."""
    folder = given.get("prefix", prefix)
    if "path" in given:
        return FolderStore.at(given["path"], folder)
    return storage_at(
        endpoint=given.get("s3_endpoint", ""), bucket=given.get("s3_bucket", ""), prefix=folder,
        key_id=given.get("s3_access_key_id", ""), secret=given.get("s3_secret_access_key"),
        token=given.get("s3_session_token"), region=given.get("s3_region"), provider=given.get("s3_provider"),
        credentials=given.get("s3_credentials", "keys"), terms=_terms_in(given),
    )  # fmt: skip


def _terms_in(given: Mapping[str, Any]) -> Terms:
    return Terms(
        given.get("s3_object_lock_days"), given.get("s3_object_lock_mode", "governance"), given.get("s3_sse"),
        given.get("s3_sse_kms_key_id"), removes=given.get("prune") != "elsewhere",
    )  # fmt: skip


def require_apart(destinations: Sequence[Destination]) -> None:
    """Raise ConfigurationError if two places are the same one: a copy there would be none."""
    faults = [
        Problem(
            f"{one.name} and {other.name} are the same place, or one is in the other: {one.storage.address}", _APART
        )
        for number, one in enumerate(destinations)
        for other in destinations[number + 1 :]
        if overlap(one.storage, other.storage)
    ]
    if faults:
        raise ConfigurationError(faults)
