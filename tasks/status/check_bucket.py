"""Check a storage before the first backup: what its keys may do, and what the bucket does by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from blocks.config.plan import Plan
from blocks.disk.folder_store import FolderStore
from blocks.errors import ObjectMissing, PgRoundtripError, StorageDenied, StorageError
from blocks.s3.client import ObjectStore
from blocks.s3.probe import try_conditions, try_lock
from blocks.s3.providers import OTHER, provider_of, region_in
from blocks.s3.rules import Rules
from blocks.stores import Storage, removes, rules_of, whereabouts
from tasks.engine.repository.checks import counted
from tasks.status.check_places import WRITTEN, check_disk
from tasks.status.findings import Finding, attempt

_CONTENT = b"written by pg-roundtrip check\n"
_NO_DELETE = "retention needs the right to delete objects; without it, set PRUNE=elsewhere and let a lifecycle rule of the bucket remove old backups"
_NO_LOOK = (
    "backups work without it, blindly; drills, restores, prune, list and status need keys that may (docs/locks.md)"
)


def check_provider(storage: Storage) -> Iterator[Finding]:
    """Report the provider that is assumed, and settings that do not fit it; contacts no server."""
    if isinstance(storage, FolderStore):
        yield from check_disk(storage)
        return
    provider, recognised = storage.provider, provider_of(storage.endpoint)
    yield Finding("provider", "ok", f"{provider.name}, region {storage.region}")
    if recognised not in (OTHER, provider):
        hint = "leave S3_PROVIDER unset: the endpoint is recognised"
        yield Finding(
            "provider", "warning", f"S3_PROVIDER is {provider.key}, but the endpoint is {recognised.name}", hint
        )
    named = region_in(recognised, storage.endpoint)
    if named and named != storage.region:
        text = f"S3_REGION is {storage.region}, but the endpoint is that of {named}"
        yield Finding("region", "warning", text, "leave S3_REGION unset: the endpoint determines it")
    host, bucket = urlsplit(storage.endpoint), storage.bucket
    if (host.hostname or "").startswith(f"{bucket}.".lower()):
        hint = "give S3_ENDPOINT without the bucket's name; it is added where the provider wants it"
        yield Finding(
            "endpoint", "warning", f"S3_ENDPOINT names the bucket {bucket}, which would then be named twice", hint
        )
    if provider.keeps_versions:
        hint = "give the bucket a lifecycle rule that keeps only the last version, if it has none (docs/providers.md)"
        text = f"{provider.name} keeps deleted backups as old versions, which take space until a lifecycle rule removes them"
        yield Finding("old versions", "warning", text, hint)


def check_storage(plan: Plan) -> list[Finding]:
    """Write, read, list and delete a small object, one after the other; then ask the bucket for its own rules."""
    storage, findings = plan.storage, list[Finding]()
    key = storage.key(WRITTEN)

    def write() -> str:
        storage.put(key, _CONTENT, "text/plain")
        return whereabouts(storage)

    if not attempt(findings, "bucket write", write):
        return findings
    _unless_denied(findings, "bucket read", lambda: _read(storage, key))
    _unless_denied(findings, "bucket list", lambda: _listed(storage, key))
    if isinstance(storage, ObjectStore):
        attempt(findings, "overwriting", lambda: _conditions(storage, key))
        findings += _locks(storage, key)
    findings.append(_deleted(storage, key))
    found = rules_of(storage)
    return [*findings, *(check_rules(plan, found) if found else ())]


def _unless_denied(findings: list[Finding], name: str, look: Callable[[], str]) -> None:
    """Keys that may only write are no error: they make backups, and others do the rest."""
    try:
        findings.append(Finding(name, "ok", look()))
    except StorageDenied as error:
        findings.append(Finding(name, "warning", f"the keys may not: {error.sentence}", _NO_LOOK))
    except PgRoundtripError as error:
        findings.append(Finding(name, "error", error.sentence, error.hint))


def _read(storage: Storage, key: str) -> str:
    if storage.get(key) != _CONTENT:
        raise StorageError(key, hint="the storage returned other bytes than it was given")
    return "an object reads back as it was written"


def _listed(storage: Storage, key: str) -> str:
    if not any(found.key == key for found in storage.list_objects()):
        raise ObjectMissing(key, hint="the storage does not list what was just written; backups would not be found")
    return "the object is listed"


def _conditions(storage: ObjectStore, key: str) -> str:
    if try_conditions(storage, key):
        return "refused where it must not happen (If-None-Match)"
    return "the storage does not refuse it; names are looked at before they are taken"


def _locks(storage: ObjectStore, key: str) -> Iterator[Finding]:
    """Lock an object for a minute, if the plan asks for locks."""
    if storage.terms.lock_days is None:
        return
    name, hint = "object lock", "S3_OBJECT_LOCK_DAYS needs a bucket that was created with Object Lock (docs/locks.md)"
    try:
        seen = try_lock(storage, key)
    except StorageDenied as error:
        yield Finding(name, "error", error.sentence, "the keys need the right to lock: s3:PutObjectRetention")
        return
    except StorageError as error:
        yield Finding(name, "error", error.sentence, hint)
        return
    if seen:
        yield Finding(name, "ok", f"each object is locked for {counted(storage.terms.lock_days, 'day')} ({seen.mode})")
    else:
        text = "the storage took an object with a lock, and shows none: it has no locks, or the keys may not see them"
        yield Finding(name, "warning", text, f"{hint}; to see one, keys need s3:GetObjectRetention")


def _deleted(storage: Storage, key: str) -> Finding:
    name = "bucket delete"
    if not removes(storage):
        return Finding(name, "ok", "not tried, and never done (PRUNE=elsewhere)")
    try:
        gone = storage.remove(key)
    except StorageDenied as error:
        return Finding(name, "warning", f"the keys may not delete: {error.sentence}", _NO_DELETE)
    except PgRoundtripError as error:
        return Finding(name, "error", error.sentence, error.hint)
    return Finding(name, "ok", "the object is gone again" if gone else "a lock holds the object for now")


def check_rules(plan: Plan, found: Rules) -> Iterator[Finding]:
    """Compare the bucket's own rules with what retention promises; pure."""
    keeps, storage = plan.retention.days, plan.storage
    asked = storage.terms.lock_days if isinstance(storage, ObjectStore) else None
    locked = max(asked or 0, found.default_lock_days or 0)
    if locked > keeps:
        text = f"objects are locked for {counted(locked, 'day')}, and backups are kept for {keeps}: prune can remove none before its lock ends"
        yield Finding("object lock", "warning", text, "keep backups for as long as they are locked, or lock for less")
    if found.versions and found.old_versions_days == 0 and removes(storage):
        text = (
            "the bucket keeps what is deleted as an old version, and has no rule that removes those: they are paid for"
        )
        yield Finding(
            "old versions", "warning", text, "add a lifecycle rule with NoncurrentVersionExpiration (docs/locks.md)"
        )
    if found.expires_days and found.expires_days < keeps:
        text = f"a rule of the bucket removes what is {counted(found.expires_days, 'day')} old, and retention keeps {keeps}: also the newest PROVEN backup goes"
        yield Finding("lifecycle", "warning", text, "let the rule keep everything for longer than the retention")
    if not removes(storage) and found.expires_days in (0, None):
        said = "has no rule that removes old backups" if found.expires_days == 0 else "does not show its rules"
        yield Finding("lifecycle", "warning", f"PRUNE=elsewhere, and the bucket {said}", "docs/locks.md has one")
