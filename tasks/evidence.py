"""The steps that leave evidence: sign a certificate of a drill or a restore. A failure costs the certificate alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime

from blocks.config.evidence import signing_key, signs
from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from tasks.clock import utc_now
from tasks.engine.drill.rehearsal import Rehearsal
from tasks.engine.evidence.certificate import Certificate, Restore, whole_ms
from tasks.engine.evidence.files import StoredFiles
from tasks.engine.evidence.keys import signer_of
from tasks.engine.evidence.signing import sign
from tasks.engine.evidence.sound import flaw_of
from tasks.engine.evidence.statement import of_drill, of_restore
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted
from tasks.engine.repository.facts import surveyed
from tasks.engine.repository.manifest import DrillReport, Manifest
from tasks.engine.repository.whose import folder_of
from tasks.engine.restore.reader import ReadResult
from tasks.keys import repository_of
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK

_HINT = "what was done stands; the chain goes on with the next certificate"
_HINT_STRANGE = "`pg-roundtrip evidence check` says what is wrong with each; find out who can write to the bucket"


def certify_drill(plan: Plan, backup: Backup, seen: Rehearsal, report: DrillReport, stored: str) -> None:
    """Sign what a drill found, if there is a key; `stored` is the file of its report."""
    named = (stored, hashlib.sha256(report.encode()).hexdigest()) if stored else ("", "")
    _certify(plan, lambda: of_drill(plan.name, backup, seen, report, named))


def certify_restore(
    *, plan: Plan, backup: Backup, manifest: Manifest | None, result: ReadResult, target: str, compared: bool, started_at: datetime
) -> None:  # fmt: skip
    """Sign what a restore did, if there is a key."""
    done = Restore(target=target, compared=compared, restore_ms=whole_ms(result.seconds))
    _certify(plan, lambda: of_restore(plan.name, backup, manifest, result, done, (started_at, utc_now())))


def _certify(plan: Plan, state: Callable[[], Certificate]) -> None:
    try:
        if signs():
            sign_certificate(plan, state())
    except PgRoundtripError as error:
        _not_signed(error.sentence)
    except Exception as error:  # noqa: BLE001  (whatever it is, the drill or restore is done)
        # Not the error's own text, which may quote a key.
        _not_signed(type(error).__name__)


def _not_signed(why: str) -> None:
    get_run_logger().warning("No certificate was signed: %s\nHINT: %s", why, _HINT)


@task("sign the certificate", QUICK)
def sign_certificate(plan: Plan, stated: Certificate) -> None:
    """Add a certificate to the chain. The log has its SHA-256: a copy of the chain's end outside of the bucket."""
    key = signing_key()
    assert key is not None
    repository = repository_of(plan)
    folder = folder_of(plan, backups=surveyed(repository, repository.backups()))
    done = sign(StoredFiles(plan.storage), signer_of(key), stated, [b for b in folder.own if not flaw_of(b)])
    if done.strange:
        get_run_logger().warning(
            "%s in evidence/: no certificate of this chain, and not continued: %s%s\nHINT: %s",
            counted(len(done.strange), "file"), done.strange[0], ", …" if done.strange[1:] else "", _HINT_STRANGE,
        )  # fmt: skip
    get_run_logger().info("Signed as %s, SHA-256 %s", done.file, done.sha256)
