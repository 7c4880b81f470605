"""Say why a backup does not count: an auditor must not take an object that nobody can restore for a backup."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.engine.evidence.certificate import Certificate
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Verdict

FAILED = Verdict.FAILED.value


def flaw_of(backup: Backup) -> str:
    """Return what is wrong with a backup that was looked into; empty for one that counts."""
    if backup.unfinished:
        return "unfinished"
    if not backup.object_bytes:
        return "empty"
    if backup.verdict is Verdict.FAILED:
        return FAILED
    return "" if backup.has_manifest or backup.proven else "no manifest"


def certified_flaws(certificates: Iterable[Certificate]) -> dict[str, str]:
    """Return the flaw that the last conclusive drill of each backup found, by name; `certificates` are in order."""
    return {
        made.backup.name: "" if made.drill.contents_hold else FAILED
        for made in certificates
        if made.drill and made.drill.verdict is not Verdict.INCONCLUSIVE
    }
