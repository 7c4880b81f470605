"""Errors about encrypted backups and their keys."""

from __future__ import annotations

from blocks.errors.backup import BackupDamaged
from blocks.errors.base import PgRoundtripError


class KeyMissing(PgRoundtripError):
    """None of the keys at hand opens an encrypted backup; that says nothing about the backup."""

    message = "No key at hand opens this backup"
    code = "PGR-KEY-MISSING"
    cause = "key_missing"
    hint = "set AGE_IDENTITY_FILE to the private key of one of the recipients that the manifest names"


class EncryptionDamaged(BackupDamaged):
    """What is encrypted is not what was written: changed, cut off, or put together from others."""

    message = "The encrypted backup is damaged"
    code = "PGR-ENCRYPTION-DAMAGED"
    cause = "restore_failed"


class KeysNotEnough(PgRoundtripError):
    """Some of the kept backups can't be opened with the keys at hand."""

    message = "Not all backups can be opened with the keys at hand"
    code = "PGR-KEYS-NOT-ENOUGH"
    cause = "key_missing"
    hint = "find the private key that is missing: docs/runbooks/lost-key.md"
