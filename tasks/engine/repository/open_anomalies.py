"""Tell which anomalies of a plan's backups are open: neither acknowledged nor confirmed by later backups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from tasks.engine.repository.anomaly import readable
from tasks.engine.repository.cache import Kind
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import cache_of, drills, manifest_facts, with_verdict
from tasks.engine.repository.manifest import Anomaly
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.unsettled import unsettled

_ANOMALIES = Kind("anomalies", TypeAdapter(tuple[Anomaly, ...]), lambda b: b.manifest_version)

_LOOKED_AT = 100


@dataclass(frozen=True)
class OpenAnomalies:
    """A backup and what is odd about it, the worst first."""

    backup: Backup
    found: tuple[Anomaly, ...]


def open_anomalies(repository: Repository, own: Sequence[Backup], now: datetime) -> list[OpenAnomalies]:
    """Return the open anomalies among a database's own backups (`Folder.own`), the newest backup first."""
    odd = unsettled(_drilled(repository, own), now)[::-1]
    found = cache_of(repository).facts(
        _ANOMALIES, odd, lambda backup: manifest_facts(repository, backup, lambda made: readable(made.anomalies))
    )
    return [OpenAnomalies(backup, found.get(backup.name, ())) for backup in odd]


def _drilled(repository: Repository, own: Sequence[Backup]) -> Sequence[Backup]:
    """Add the verdicts of the newest backups, if they can matter."""
    if not any(b.origin and b.origin.anomalous and not b.acknowledged for b in own):
        return own
    newest = own[-_LOOKED_AT:]
    known = drills(repository, newest)
    return [*own[:-_LOOKED_AT], *(with_verdict(b, known.get(b.name)) for b in newest)]


def told_of_anomalies(own: Sequence[Backup], now: datetime) -> str:
    """Return a sentence about backups with open anomalies, without the names of tables; empty if there are none."""
    odd = unsettled(own, now)
    if not odd:
        return ""
    more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
    return f"unusual contents, which nobody has acknowledged: {odd[-1].name}{more}"
