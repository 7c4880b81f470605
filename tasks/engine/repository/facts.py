"""Derive from a backup's files what people and policies need to know of it, in a few bytes of memory for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from blocks.errors import BackupDamaged, ObjectMissing
from tasks.engine.repository.cache import FactCache, Kind
from tasks.engine.repository.cache_file import cache_file_of
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.identity import Database, Origin
from tasks.engine.repository.manifest import Manifest, Verdict
from tasks.engine.repository.outline import Outline
from tasks.engine.repository.repository import HEAD_BYTES, Repository

T = TypeVar("T")
M = TypeVar("M")

# Reading a manifest of 64 MiB takes several times that in memory, and a thread keeps memory that it once used.
_LARGE_BYTES = 1 << 20
_large_manifests = ThreadPoolExecutor(1, "large manifests")


@dataclass(frozen=True)
class Drilled:
    """What the drill report that counts says, and of which backup."""

    backup: str
    verdict: Verdict
    contents_hold: bool
    began_at: datetime | None = None
    restore_s: float = 0.0
    without: str = ""


class _Head(BaseModel):
    plan: str
    name: str
    database: str
    system_identifier: str = Field(default="", pattern=r"^(-?[0-9]{1,20})?$")
    database_oid: int = 0
    compared_with: int = 0
    selection: str = Field(default="", max_length=40)
    anomalies: list[object] = []


_ORIGIN = Kind("origin", TypeAdapter(Origin), lambda b: b.manifest_version)
_DRILLED = Kind("drilled", TypeAdapter(Drilled), lambda b: b.report_version)
_OURS = Kind("ours", TypeAdapter(bool), lambda b: b.object_version)

_caches: dict[tuple[str, str], FactCache] = {}


def cache_of(repository: Repository) -> FactCache:
    """Return the cache of a folder."""
    place = repository.store.endpoint, repository.address
    if place not in _caches:
        _caches[place] = FactCache(cache_file_of(repository.store))
    return _caches[place]


def manifest_facts(repository: Repository, backup: Backup, derive: Callable[[Outline], T]) -> T | None:
    """Derive facts from what a manifest says in the open, one after the other from large ones; None if it is missing or unreadable."""
    return _derived(backup, repository.outline, derive)


def whole_facts(repository: Repository, backup: Backup, derive: Callable[[Manifest], T]) -> T | None:
    """Derive facts from a whole manifest in the same way; raises KeyMissing if it is sealed for others."""
    return _derived(backup, repository.manifest, derive)


def _derived(backup: Backup, fetch: Callable[[Backup], M | None], derive: Callable[[M], T]) -> T | None:
    def read() -> T | None:
        try:
            made = fetch(backup)
        except (BackupDamaged, ObjectMissing):
            return None
        return derive(made) if made else None

    return read() if backup.manifest_bytes <= _LARGE_BYTES else _large_manifests.submit(read).result()


def origins(repository: Repository, backups: Iterable[Backup]) -> dict[str, Origin]:
    """Return the plan and database of each backup by its name; none for a manifest that is missing or unreadable."""
    ours = [b for b in backups if b.has_manifest]
    return cache_of(repository).facts(_ORIGIN, ours, lambda b: _read_origin(repository, b))


def drills(repository: Repository, backups: Iterable[Backup], at_once: int = 16) -> dict[str, Drilled]:
    """Return what the listed drill report of each backup says, by its name; none for a report that is unreadable."""
    drilled = [b for b in backups if b.has_report]
    return cache_of(repository).facts(_DRILLED, drilled, lambda b: _read_drilled(repository, b), at_once)


def newest_proven(repository: Repository, backups: Sequence[Backup]) -> Backup | None:
    """Return the newest of `backups` (oldest first) that its last drill proved; read as few reports as possible."""
    for backup in reversed(backups):
        drilled = drills(repository, [backup], at_once=1).get(backup.name)
        if drilled and drilled.contents_hold and drilled.backup == backup.name:
            return backup
    return None


def surveyed(repository: Repository, backups: Sequence[Backup]) -> list[Backup]:
    """Add verdicts as listed, and look closely at objects of ours whose manifest is not listed.

    That takes few requests, but a listing can lag: before anything is removed, `Repository.looked_into` must be asked.
    """
    drilled = drills(repository, backups)
    told = [with_verdict(b, drilled.get(b.name)) for b in backups]
    bare = [b for b in backups if b.foreign]
    marked = cache_of(repository).facts(_OURS, bare, lambda b: _is_ours(repository, b))
    odd = [b for b in bare if marked.get(b.name) is not False]
    looked = {b.name: b for b in repository.looked_into(odd)}
    gone = {b.name for b in odd} - looked.keys()
    return [looked.get(b.name, b) for b in told if b.name not in gone]


def with_verdict(backup: Backup, drilled: Drilled | None) -> Backup:
    """Add the verdict of a drill report, unless it is about another backup."""
    if drilled is None or drilled.backup != backup.name:
        return backup
    return replace(backup, verdict=Verdict.PROVEN if drilled.contents_hold else drilled.verdict)


def _is_ours(repository: Repository, backup: Backup) -> bool | None:
    found = repository.store.stat(backup.key)
    return found.ours if found else None


def _read_drilled(repository: Repository, backup: Backup) -> Drilled | None:
    report = repository.report(backup)
    if report is None:
        return None
    # A report of a clock that was ahead was stored before it says that its drill began.
    began_at = min(report.started_at, backup.report_files[0].stored_at)
    return Drilled(
        report.backup, report.verdict, report.contents_hold, began_at, report.restore_seconds, report.without
    )


def _read_origin(repository: Repository, backup: Backup) -> Origin | None:
    """Return None if the manifest is unreadable or gone: the backup belongs to nobody until it is examined closely."""
    try:
        head = repository.manifest_head(backup.name)
        return _origin_in(_Head.model_validate(from_json(head, allow_partial=True)), backup)
    except ObjectMissing:
        return None
    except (ValidationError, ValueError):
        return manifest_facts(repository, backup, lambda m: _origin_in(m, backup)) if len(head) >= HEAD_BYTES else None


def _origin_in(found: _Head | Outline, backup: Backup) -> Origin | None:
    if found.name != backup.name:
        return None
    database = Database(found.database, found.system_identifier, found.database_oid)
    return Origin(
        found.plan,
        database,
        anomalous=bool(found.anomalies),
        compared=found.compared_with > 0,
        selection=found.selection,
    )
