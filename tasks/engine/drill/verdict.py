"""Judge a backup only by what a drill found; never guess."""

from __future__ import annotations

from collections.abc import Iterable

from blocks.errors import BackupDamaged, EmptyBackup, PgRoundtripError, RestoreFailed
from blocks.sql import sqlstate
from tasks.engine.repository.manifest import Check, Verdict


def judge(checks: Iterable[Check]) -> Verdict:
    """Return PROVEN if nothing failed; a check that was not possible is reported, but not held against the backup."""
    return Verdict.FAILED if any(c.result == "failed" for c in checks) else Verdict.PROVEN


def blame(error: PgRoundtripError) -> Verdict:
    """Decide whether an error that ended a drill shows that the backup is bad, or says nothing about it."""
    if isinstance(error, BackupDamaged | EmptyBackup):
        return Verdict.FAILED
    if not isinstance(error, RestoreFailed) or not error.sqlstate:
        return Verdict.INCONCLUSIVE
    # Roles and tablespaces live outside a database, and what is in pg_catalog, such as the collations of the operating
    # system, is never dumped: no backup can include them.
    role_missing = error.sqlstate == sqlstate.UNDEFINED_OBJECT and error.context.startswith("role ")
    outside = role_missing or "tablespace " in error.context or '"pg_catalog.' in error.context
    if outside or error.sqlstate.startswith(sqlstate.COULD_NOT_TRY):
        return Verdict.INCONCLUSIVE
    return Verdict.FAILED
