"""Ask a bucket for the rules that act on what is in it without us: versions, locks by default, and expiry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from blocks.errors import REQUEST, StorageError
from blocks.s3.client import ObjectStore
from blocks.s3.errors import translated

_YEAR = 365
# What answers that there are no such rules.
_NONE = ("NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration")


@dataclass(frozen=True)
class Rules:
    """What a bucket does by itself; None where it does not say, or not to these keys.

    `expires_days` is after how many days it removes our objects, and `old_versions_days` what was deleted; 0: never.
    `locks` is whether objects can be locked, `default_lock_days` for how long each is, and `default_lock_mode` how.
    """

    versions: bool | None = None
    locks: bool | None = None
    default_lock_days: int | None = None
    default_lock_mode: str = ""
    expires_days: int | None = None
    old_versions_days: int | None = None


def ask_rules(store: ObjectStore) -> Rules:
    """Ask for all of them; a question that is refused leaves its part open."""
    client, bucket = store.client, store.bucket
    versioning = _asked(store, lambda: client.get_bucket_versioning(Bucket=bucket))
    locking = _asked(store, lambda: client.get_object_lock_configuration(Bucket=bucket))
    lifecycle = _asked(store, lambda: client.get_bucket_lifecycle_configuration(Bucket=bucket))
    lock = dict(locking or {}).get("ObjectLockConfiguration", {})
    default = lock.get("Rule", {}).get("DefaultRetention", {})
    rules = [rule for rule in (lifecycle or {}).get("Rules", ()) if _is_about(rule, store.key(""))]
    return Rules(
        versions=None if versioning is None else bool(versioning.get("Status")),
        locks=None if locking is None else lock.get("ObjectLockEnabled") == "Enabled",
        default_lock_days=int(default.get("Days") or _YEAR * int(default.get("Years") or 0)) or None,
        default_lock_mode=str(default.get("Mode", "")).lower(),
        expires_days=None if lifecycle is None else _soonest(rules, "Expiration", "Days"),
        old_versions_days=None
        if lifecycle is None
        else _soonest(rules, "NoncurrentVersionExpiration", "NoncurrentDays"),
    )


def _asked(store: ObjectStore, ask: Callable[[], Any]) -> dict[str, Any] | None:
    try:
        with translated(REQUEST, store.address):
            return dict(ask())
    except StorageError as error:
        return {} if any(code in error.context for code in _NONE) else None


def _is_about(rule: dict[str, Any], folder: str) -> bool:
    """Whether a rule is in force for all of our folder; one for some tags or sizes isn't counted on."""
    chosen = rule.get("Filter", {})
    narrowed = chosen.get("And", {})
    others = {"Tag", "Tags", "ObjectSizeGreaterThan", "ObjectSizeLessThan"} & {*chosen, *narrowed}
    prefix = str(rule.get("Prefix") or chosen.get("Prefix") or narrowed.get("Prefix") or "")
    return rule.get("Status") == "Enabled" and not others and folder.startswith(prefix)


def _soonest(rules: Iterable[dict[str, Any]], kind: str, unit: str) -> int:
    return min((int(days) for rule in rules if (days := rule.get(kind, {}).get(unit))), default=0)
