"""Tell of plain and encrypted backups in one folder: whoever has the bucket reads the plain ones."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted

_HINT_ENCRYPTS = "the plain ones stay readable without a key until retention removes them; remove them, or give the encrypted ones their own BACKUP_PREFIX"
_HINT_PLAIN = "set BACKUP_AGE_RECIPIENTS again, or give plain backups their own BACKUP_PREFIX"


def told_of_mixed(backups: Sequence[Backup], *, encrypts: bool) -> tuple[str, str] | None:
    """Return the warning for a plan that writes the one kind where there is the other, and what to do; None if there is none."""
    others = [backup for backup in backups if backup.encrypted != encrypts and not backup.foreign]
    if not others:
        return None
    said = counted(len(others), "backup")
    if encrypts:
        return (
            f"Backups are encrypted now, but {said} in this folder {'is' if len(others) == 1 else 'are'} not",
            _HINT_ENCRYPTS,
        )
    return f"This backup is not encrypted, but {said} in this folder {'is' if len(others) == 1 else 'are'}", _HINT_PLAIN
