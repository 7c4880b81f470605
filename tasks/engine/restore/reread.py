"""Find out whether a backup is bad, or only came badly or to the wrong place, before a drill or a restore says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import (
    DOWNLOAD,
    BackupDamaged,
    EmptyBackup,
    RestoreFailed,
    StatementRefused,
    StorageUnreachable,
)
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.reader import BackupReader, ReadResult, read_through


def confirm_damage(
    repository: Repository, backup: Backup, manifest: Manifest | None, first: BackupReader, *, damaged: bool
) -> ReadResult:
    """Read again what seemed to be `damaged`, or what a server refused: it may have been the network.

    A backup is bad when two readings say so: raises BackupDamaged or EmptyBackup then. Raises StorageUnreachable, which is
    tried again, when one reading contradicts another. Returns what was read when the backup is whole, and the same
    as the first time.
    """
    while True:
        again = BackupReader(repository, backup, manifest, earlier=first, guarded=False)
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
            raise StorageUnreachable(backup.key, during=DOWNLOAD, hint=hint) from None
        return flow


@contextmanager
def read_twice(
    repository: Repository, backup: Backup, manifest: Manifest | None, reader: BackupReader
) -> Iterator[None]:
    """Let nothing be held against a backup, or the server, that one reading of it alone says."""
    try:
        yield
    except (BackupDamaged, EmptyBackup):
        confirm_damage(repository, backup, manifest, reader, damaged=True)
        raise
    except (RestoreFailed, StatementRefused):
        confirm_damage(repository, backup, manifest, reader, damaged=False)
        raise
