"""Find out whether a key at hand opens a backup, before anything of it is downloaded or anything is touched."""

from __future__ import annotations

from blocks.errors import BackupDamaged, EncryptionDamaged, KeyMissing
from tasks.engine.age.files import PREFIX_BYTES, opens
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.repository import Repository


def require_key(repository: Repository, backup: Backup) -> None:
    """Raise KeyMissing unless a private key at hand opens a backup.

    Raises EncryptionDamaged if its manifest says that one does, and two readings of its header say otherwise. Other
    damage is left to whoever reads it.
    """
    if not backup.encrypted:
        return
    here = {identity.fingerprint for identity in repository.keys.identities()}
    if _opens(repository, backup):
        return
    named = _recipients(repository, backup)
    repository.keys.require_one_of(named)
    if here.isdisjoint(named):
        raise KeyMissing(f"here is {', '.join(sorted(here))}")
    if not _opens(repository, backup):
        raise EncryptionDamaged("its header is not for the key that its manifest names")


def _opens(repository: Repository, backup: Backup) -> bool:
    try:
        return opens(b"".join(repository.read(backup, 0, PREFIX_BYTES)), repository.keys.identities())
    except EncryptionDamaged:
        return True  # by whatever key: reading it says what is wrong


def _recipients(repository: Repository, backup: Backup) -> tuple[str, ...]:
    """Return the fingerprints that the manifest names; none if it can't be read."""
    try:
        outline = repository.outline(backup)
    except BackupDamaged:
        return ()
    return outline.recipients if outline else ()
