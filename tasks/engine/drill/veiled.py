"""Take the names out of a drill's report on an encrypted backup, and seal the whole report to who can open the backup."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from contextlib import suppress

from blocks.config.age_keys import Recipient
from blocks.errors import ConfigurationError
from tasks.engine.drill.own_check import NAME as OWN_CHECK
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.manifest import Check, DrillReport, Manifest
from tasks.engine.repository.outline import warned
from tasks.engine.repository.sealed_manifest import recipients_of

_SEALED = "only the report's sealed part says"
_CAUSE = "the log of the run, and the report's sealed part, say what exactly"
_HINT = "read the log of the run, or open the report's sealed part (docs/encryption.md)"
# What these find has numbers and no names, if they pass; the age and durations have none in any case.
_OPEN_IF_PASSED = {
    checklist.OBJECT, checklist.MANIFEST, checklist.GZIP, checklist.COMPLETE, checklist.RESTORED, checklist.TABLES,
    checklist.ROWS, checklist.DIGESTS, checklist.LARGE_OBJECTS,
}  # fmt: skip
_OPEN = {checklist.SIZE, checklist.AGE, checklist.RESTORE_TIME}
# Errors that are about keys, the storage or time, whose words never quote a database.
_PLAIN_CODES = ("PGR-KEY", "PGR-ENCRYPTION", "PGR-S3", "PGR-DRILL-TIMEOUT", "PGR-SANDBOX", "PGR-CLIENT")


def veiled(report: DrillReport, manifest: Manifest | None, keys: Keys) -> DrillReport:
    """Return what may be stored and shown of it: verdict and totals, and the rest sealed.

    If nobody knows for whom, because nothing was opened, nothing is sealed, and nothing of the contents was seen.
    """
    recipients = recipients_of(manifest) if manifest else _known(keys)
    whole = zlib.compress(report.encode(), wbits=31)
    sealed = base64.b64encode(keys.sealed(whole, recipients)).decode() if recipients else ""
    plain = report.code.startswith(_PLAIN_CODES)
    return report.model_copy(
        update={
            "cause": report.cause if plain or not report.cause else _cause(report.checks),
            "hint": report.hint if plain or not report.hint else _HINT,
            "checks": _checks(report.checks, plain=plain),
            "warnings": warned(len(report.warnings)),
            "encrypted": True,
            "sealed": sealed,
        }
    )


def _known(keys: Keys) -> list[Recipient]:
    """Return the plan's recipients; where drills run, their file may not be."""
    with suppress(ConfigurationError):
        return list(keys.recipients)
    return []


def _cause(checks: Iterable[Check]) -> str:
    bad = [check for check in checks if check.result == "failed"]
    said = [f"{_name(check)}: {check.evidence}" if check.name in _OPEN else _name(check) for check in bad]
    return "; ".join([*said, *([] if bad and all(check.name in _OPEN for check in bad) else [_CAUSE])])


def _checks(checks: Iterable[Check], *, plain: bool) -> tuple[Check, ...]:
    own = 0
    shown = []
    for check in checks:
        name = _name(check)
        if name != check.name:
            own += 1
            name = f"{name} {own}"
        shown.append(check.model_copy(update={"name": name, "evidence": _evidence(check, plain=plain)}))
    return tuple(shown)


def _name(check: Check) -> str:
    """Name a check; your own queries have names of yours."""
    return check.name if check.name in (*checklist.ALL, OWN_CHECK) else "a query of your own"


def _evidence(check: Check, *, plain: bool) -> str:
    passed = check.result == "passed" and (check.name in _OPEN_IF_PASSED or check.evidence == "none")
    # Without a restore, nothing was seen that has a name.
    unseen = plain and check.result in ("failed", "not possible") and check.name in checklist.ALL
    return check.evidence if passed or unseen or check.name in _OPEN or not check.evidence else _SEALED
