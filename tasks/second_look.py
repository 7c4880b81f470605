"""Find out whether a backup is bad, or only came badly or to the wrong place, before a drill or a restore says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import BackupDamaged, EmptyBackup, PgRoundtripError, RestoreError, RestoreFailed, StorageUnreachable
from blocks.storage import BackupStorage
from blocks.storage_errors import DOWNLOAD
from tasks.engine.catalog import Backup
from tasks.engine.clients import major_of
from tasks.engine.manifest import Manifest
from tasks.engine.restore_stream import BackupReader, Flow, read_through
from tasks.engine.surroundings import lacking_of
from tasks.place import Ground

# What a server says of a role or a tablespace that it has not; the words are in its own language.
_UNDEFINED = ("42704", "22023")


def confirm_damage(
    storage: BackupStorage, backup: Backup, manifest: Manifest | None, first: BackupReader, *, damaged: bool
) -> Flow:
    """Read again what seemed to be `damaged`, or what a server refused: it may have been the network.

    A backup is bad when two readings say so: raises BackupDamaged or EmptyBackup then. Raises StorageUnreachable, which is
    tried again, when one reading contradicts another. Returns what was read when the backup is whole, and the same
    as the first time.
    """
    while True:
        again = BackupReader(storage, backup, manifest, earlier=first)
        try:
            flow = read_through(again)
        except (BackupDamaged, EmptyBackup) as fault:
            if damaged and again.agrees:
                raise fault from None
            if not damaged:
                first, damaged = again, True
                continue
        if damaged or not again.agrees:
            hint = "the network or the storage gave other bytes the second time; try again"
            raise StorageUnreachable(backup.key, message=DOWNLOAD, hint=hint) from None
        return flow


@contextmanager
def read_twice(
    storage: BackupStorage, backup: Backup, manifest: Manifest | None, reader: BackupReader
) -> Iterator[None]:
    """Let nothing be held against a backup, or the server, that one reading of it alone says."""
    try:
        yield
    except (BackupDamaged, EmptyBackup):
        confirm_damage(storage, backup, manifest, reader, damaged=True)
        raise
    except RestoreFailed:
        confirm_damage(storage, backup, manifest, reader, damaged=False)
        raise


def explain_refusal(error: RestoreFailed, ground: Ground, reader: BackupReader) -> PgRoundtripError:
    """Why a server refused a whole backup.

    What an older one does not know, and what lies outside of a database, is no fault of the backup.
    """
    if reader.dump_major > major_of(ground.version):
        hint = f"set VERIFY_DATABASE_URL to a server of version {reader.dump_major} or newer"
        versions = f"pg_dump {reader.dump_major} wrote it, the server is {ground.version}"
        return RestoreError(f"{versions}: {error.context}", hint=hint)
    lacking = lacking_of(ground.server, reader.seen) if error.sqlstate in _UNDEFINED else ""
    if lacking:
        hint = "make them there, or drill in a sandbox, where they are made"
        return RestoreError(
            f"{error.context}; no backup of a database brings what is missing there: {lacking}", hint=hint
        )
    return error
