"""Before calling a backup bad, find out whether only its transfer or the place of the restore was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import (
    DOWNLOAD,
    BackupDamaged,
    EmptyBackup,
    RestoreFailed,
    StatementRefused,
    StorageError,
    StorageUnreachable,
)
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.reader import BackupReader, ReadResult, read_through


def confirm_damage(
    repository: Repository, backup: Backup, manifest: Manifest | None, first: BackupReader, *, damaged: bool
) -> ReadResult:
    """Read again what seemed to be `damaged`, or what a server refused: the network may be to blame.

    A backup is bad only if two readings say so: BackupDamaged or EmptyBackup is raised then. If one reading contradicts
    the other, StorageUnreachable is raised, which is retried. Return what was read if the backup is complete and the
    same as the first time.
    """
    while True:
        again = BackupReader(repository, backup, manifest, earlier=first, guarded=False)
        try:
            result = read_through(again)
        except (BackupDamaged, EmptyBackup) as fault:
            if damaged and again.agrees:
                require_unchanged(repository, backup)
                raise fault from None
            if not damaged:
                first, damaged = again, True
                continue
        if damaged or not again.agrees:
            hint = "the network or the storage returned different bytes the second time; try again"
            raise StorageUnreachable(backup.key, during=DOWNLOAD, hint=hint) from None
        return result


def require_unchanged(repository: Repository, backup: Backup) -> None:
    """Raise StorageError if the object was replaced while it was read: then nothing is known about it."""
    if repository.was_replaced(backup):
        said = f"{backup.key} was removed, or got other keys, since it was listed"
        raise StorageError(said, during=DOWNLOAD, hint="run it again")


@contextmanager
def read_twice(
    repository: Repository, backup: Backup, manifest: Manifest | None, reader: BackupReader
) -> Iterator[None]:
    """Read the object again before blaming the backup or the server."""
    try:
        yield
    except (BackupDamaged, EmptyBackup):
        confirm_damage(repository, backup, manifest, reader, damaged=True)
        raise
    except (RestoreFailed, StatementRefused):
        confirm_damage(repository, backup, manifest, reader, damaged=False)
        raise
