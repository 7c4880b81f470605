"""Judge a backup by what a drill found; never guess."""

from __future__ import annotations

from collections.abc import Iterable

from blocks.errors import BackupDamaged, EmptyBackup, PgRoundtripError, RestoreFailed
from tasks.engine.repository.manifest import Check, Verdict

# What a server says when it could not try the restore, for want of connections, rights, extensions, settings and
# locales that it takes, resources or locks; when it was shut down, and when something in it broke.
_NOT_THE_BACKUPS_FAULT = (
    "08", "0A000", "22023", "25006", "28", "3D000", "40", "42501", "53", "54", "55006", "55P03", "57", "58", "F0", "XX",
)  # fmt: skip


def judge(checks: Iterable[Check]) -> Verdict:
    """PROVEN when nothing failed; a check that was not possible is named in the report, not held against it."""
    return Verdict.FAILED if any(c.result == "failed" for c in checks) else Verdict.PROVEN


def blame(error: PgRoundtripError) -> Verdict:
    """Whether an error that ended a drill says that the backup is bad, or nothing about it."""
    if isinstance(error, BackupDamaged | EmptyBackup):
        return Verdict.FAILED
    if not isinstance(error, RestoreFailed) or not error.sqlstate:
        return Verdict.INCONCLUSIVE
    # Roles and tablespaces live outside of a database, and what is in pg_catalog, such as the collations of the operating
    # system, is never dumped: no backup can bring them.
    role_missing = error.sqlstate == "42704" and error.context.startswith("role ")
    outside = role_missing or "tablespace " in error.context or '"pg_catalog.' in error.context
    if outside or error.sqlstate.startswith(_NOT_THE_BACKUPS_FAULT):
        return Verdict.INCONCLUSIVE
    return Verdict.FAILED
