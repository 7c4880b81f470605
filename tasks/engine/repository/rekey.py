"""Give kept backups other keys: who could open them until now can't open what is stored from then on.

Nothing is lost if this is killed at any moment: see `rekeyed.py` for the order. The payload is not decrypted, and the
plain contents stay the same, so what drills have proven holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from blocks.config.age_keys import Recipient
from blocks.errors import BackupDamaged, ConfigurationError, ObjectMissing, Problem
from tasks.engine.age.files import PREFIX_BYTES, rewrapped
from tasks.engine.age.identities import Identity
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import GlobalsRecord, Manifest
from tasks.engine.repository.names import MANIFEST, companion_file
from tasks.engine.repository.new_header import new_header, put_in_place, require_sound
from tasks.engine.repository.rekeyed import REKEYED, announcing, settled
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.sealed_manifest import encoded, opened

_NONE_NEW = "add the private key of one of BACKUP_AGE_RECIPIENTS to the file of AGE_IDENTITY_FILE: it shows that somebody can open them"


def require_new_key(identities: Sequence[Identity], recipients: Sequence[Recipient]) -> None:
    """Raise ConfigurationError unless a private key at hand opens what is written: a key that nobody has would lose all."""
    if {identity.fingerprint for identity in identities}.isdisjoint(found.fingerprint for found in recipients):
        raise ConfigurationError([Problem("None of the private keys at hand belongs to a new recipient", _NONE_NEW)])


def has_other_keys(repository: Repository, backup: Backup, recipients: Sequence[Recipient]) -> bool:
    """Whether a backup is encrypted to others than these, or a change of its keys was interrupted; needs no key."""
    try:
        read = json.loads(repository.store.get(repository.store.key(backup.name + MANIFEST)))
    except ValueError:
        return True  # whoever tries says what is wrong
    wanted = {recipient.fingerprint for recipient in recipients}
    return not isinstance(read, dict) or REKEYED in read or set(read.get("recipients", ())) != wanted


def rekey(
    repository: Repository, backup: Backup, identities: Sequence[Identity], recipients: Sequence[Recipient]
) -> None:
    """Encrypt a backup that has a manifest to these recipients, and to no other.

    Raises KeyMissing, or BackupDamaged if the object is not what its manifest says: then nothing is changed.
    """
    new = new_header(repository.store, backup.key, identities, recipients)
    manifest_key = repository.store.key(backup.name + MANIFEST)
    document = settled(repository.store.get(manifest_key), new.old_bytes)
    before = opened(document, backup.name, repository.keys)
    require_sound(new, before.sha256, backup.key)
    beside = _companion(repository, before, identities, recipients)
    after = before.model_copy(
        update={
            "recipients": tuple(recipient.text for recipient in recipients),
            "sha256": new.sha256, "object_bytes": new.size_bytes, "globals": beside[0] if beside else None,
        }
    )  # fmt: skip
    repository.store.put(manifest_key, announcing(document, _changes(document, encoded(after, repository.keys))))
    try:
        put_in_place(repository.store, backup.key, new)
    except ObjectMissing:
        repository.store.remove(manifest_key)  # a prune removed the backup meanwhile
        raise
    if beside:
        repository.store.put(repository.store.key(_file(before)), beside[1], "application/gzip")
        final = beside[0].model_copy(update={"before": ""})
        after = after.model_copy(update={"globals": final})
    repository.store.put(manifest_key, encoded(after, repository.keys))


def _companion(
    repository: Repository, manifest: Manifest, identities: Sequence[Identity], recipients: Sequence[Recipient]
) -> tuple[GlobalsRecord, bytes] | None:
    """Return what the manifest will say of the companion, and the companion; until it is replaced, both are right."""
    record = manifest.globals
    if record is None:
        return None
    data = repository.companion(_file(manifest))
    found = hashlib.sha256(data).hexdigest()
    if found not in (record.sha256, record.before):
        raise BackupDamaged(f"{_file(manifest)} is not what the manifest says, so the backup keeps its keys")
    ahead, goes_on = rewrapped(data[:PREFIX_BYTES], identities, recipients)
    made = ahead + data[goes_on:]
    said = {"sha256": hashlib.sha256(made).hexdigest(), "object_bytes": len(made), "before": found}
    return record.model_copy(update=said), made


def _file(manifest: Manifest) -> str:
    return companion_file(manifest.name, encrypted=True)


def _changes(old: bytes, new: bytes) -> dict[str, Any]:
    before = json.loads(old)
    return {name: value for name, value in json.loads(new).items() if before.get(name) != value}
