"""Read the evidence of a plan: the chain of certificates, and what they and the bucket say of a month."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from blocks.config.evidence import signing_key, targets
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, Problem
from tasks.clock import utc_now
from tasks.engine.evidence.chain import Chain, read_chain
from tasks.engine.evidence.files import DownloadedFiles, StoredFiles
from tasks.engine.evidence.keys import PublicKey, public_keys_in, signer_of
from tasks.engine.evidence.month import Month, Outage, Period, explained, period_of, report_on
from tasks.engine.evidence.reports import with_reports
from tasks.engine.notify.ledger import ledger_of
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import surveyed
from tasks.engine.repository.identity import Database, Origin, Whose
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.names import drilled_at
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import folder_of
from tasks.keys import repository_of

_NO_KEY = "give the file of the public key with --public-key, or set EVIDENCE_KEY"
_AT_ONCE, _SHOWN = 16, 80


def keys_given(paths: Sequence[Path]) -> list[PublicKey]:
    """Return the public keys in these files, or else the one of the private key; none if there is neither."""
    if not paths:
        key = signing_key()
        return [signer_of(key).public] if key else []
    found = []
    for path in paths:
        try:
            found += public_keys_in(path.read_bytes(), str(path))
        except OSError as error:
            raise ConfigurationError([Problem(f"{path} cannot be read [{error.strerror}]", _NO_KEY)]) from None
    return found


def require_keys(keys: Sequence[PublicKey]) -> None:
    """Raise ConfigurationError if there are no keys to check signatures with."""
    if not keys:
        raise ConfigurationError([Problem("There is no public key to check signatures with", _NO_KEY)])


def hashes_given(texts: Sequence[str]) -> list[str]:
    """Return the SHA-256 of certificates that must be there; raises ConfigurationError for what is none."""
    found = [text.strip().lower() for text in texts]
    problems = [
        Problem(f"{text[:_SHOWN]!r} is no SHA-256", "give all 64 digits, as in the log of the run that signed it")
        for text in found
        if not re.fullmatch("[0-9a-f]{64}", text)
    ]
    if problems:
        raise ConfigurationError(problems)
    return found


def check_folder(folder: Path, keys: Sequence[PublicKey], expected: Sequence[str]) -> Chain:
    """Check downloaded certificates, offline."""
    return read_chain(DownloadedFiles(folder), keys, utc_now(), expected)


def check_plan(plan: Plan, keys: Sequence[PublicKey], expected: Sequence[str]) -> Chain:
    """Check the certificates in a plan's folder, and the reports that they speak of."""
    repository = repository_of(plan)
    chain = read_chain(StoredFiles(plan.storage), keys, utc_now(), expected)
    return with_reports(chain, repository, repository.backups())


def look_at_month(plan: Plan, month: str, keys: Sequence[PublicKey]) -> Month:
    """Report on a month of a plan's own database; raises ConfigurationError if it is not a month that has begun."""
    now = utc_now()
    try:
        period = period_of(month, now)
    except ValueError:
        problem = Problem(f"{month!r} is not a month that has begun", "give it as 2026-11")
        raise ConfigurationError([problem]) from None
    repository = repository_of(plan)
    folder = folder_of(plan, backups=surveyed(repository, repository.backups()))
    chain = with_reports(read_chain(StoredFiles(plan.storage), keys, now), repository, folder.own)
    found = report_on(
        month, plan.name, period, targets(), chain=_own(chain, folder.whose), backups=folder.own,
        reports=_reports(repository, folder.own, period),
    )  # fmt: skip
    return explained(found, _outages(plan))


def _outages(plan: Plan) -> list[Outage]:
    """Read what people were told; without it, gaps have no reason."""
    told = ledger_of(plan.name, plan).outages()
    return [Outage(t.since, None if t.open else t.seen_at, t.failures, t.reason) for t in told]


def _own(chain: Chain, whose: Whose) -> Chain:
    """Leave out the certificates about other databases, once the whole chain has been checked."""
    mine = [link for link in chain.links if not link.certificate or whose.owns(
        Origin(link.certificate.plan, Database(made.database, made.system_identifier))
        if (made := link.certificate.backup).database else None
    )]  # fmt: skip
    return replace(chain, links=tuple(mine))


def _reports(repository: Repository, backups: Sequence[Backup], period: Period) -> dict[str, DrillReport]:
    """Read the listed reports of the period, and those of version 1.0, whose names have no date."""
    files = [f for b in backups for f in b.reports if (at := drilled_at(f)) is None or at in period]
    with ThreadPoolExecutor(_AT_ONCE, "reports") as pool:
        read = zip(files, pool.map(repository.read_report, files), strict=True)
        return {file: report for file, report in read if report}
