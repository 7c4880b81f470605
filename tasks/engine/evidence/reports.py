"""Compare the reports beside backups with what certificates say of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from blocks.errors import BackupDamaged, ObjectMissing
from tasks.engine.evidence.certificate import Drill
from tasks.engine.evidence.chain import Chain
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.names import drilled_at
from tasks.engine.repository.repository import REPORT_BYTES, Repository

_AT_ONCE = 16


def with_reports(chain: Chain, repository: Repository, backups: Sequence[Backup]) -> Chain:
    """Add which of the listed reports were changed, and which drills have no certificate."""
    certified = {c.drill.report: c.drill for _, c in chain.certificates if c.drill and c.drill.report}
    listed = {file for backup in backups for file in backup.reports}
    since = min((moment for file in certified if (moment := drilled_at(file))), default=None)
    unsigned = [f for f in sorted(listed - certified.keys()) if since and (moment := drilled_at(f)) and moment > since]
    with ThreadPoolExecutor(_AT_ONCE, "reports") as pool:
        compared = pool.map(lambda file: _fault(repository, file, certified[file]), sorted(listed & certified.keys()))
        faults = [fault for fault in compared if fault]
    notes = [f"{file} has no certificate: it was not signed, or its certificate was deleted" for file in unsigned]
    return replace(chain, faults=(*chain.faults, *faults), notes=(*chain.notes, *notes))


def _fault(repository: Repository, file: str, drill: Drill) -> str:
    """Return what is wrong with a report; nothing if it is gone, for its backup may just have been removed."""
    try:
        data = repository.store.get(repository.store.key(file), REPORT_BYTES)
    except ObjectMissing:
        return ""
    except BackupDamaged:
        return f"{file} was changed since it was certified: it is too large"
    same = hashlib.sha256(data).hexdigest() == drill.report_sha256
    return "" if same else f"{file} was changed since it was certified"
