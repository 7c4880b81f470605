"""Derive the backups that exist from a listing.

The bucket is the source of truth: what it lists is what exists, whatever Prefect's database remembers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from blocks.errors import NoBackups, ObjectMissing
from blocks.s3.client import StoredObject
from blocks.s3.terms import Hold
from tasks.engine.repository.identity import Origin
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import (
    ACKNOWLEDGED,
    COMPANIONS,
    MANIFEST,
    OBJECTS,
    backup_of_report,
    companion_file,
    is_encrypted,
    is_of_a_backup,
    object_file,
    taken_at,
    without_ending,
)
from tasks.engine.repository.report_files import ReportFile, in_turn

# How long a listing is trusted. After an hour-long dump, another process may have removed some of it.
_FRESH = timedelta(minutes=5)


@dataclass(frozen=True)
class Backup:
    """One backup in the bucket. Without a manifest it is foreign: another tool made it.

    `stored_at` is when the object was stored, by the storage's clock; `origin` is the manifest's plan and database, if it was read. `Repository.looked_into` adds what the listing does not tell: the
    newest drill's verdict on the contents, and whether it is an object of ours whose manifest was never written.
    The versions are those of its files as listed, empty for a file that was not listed; `acknowledged` is whether its
    anomalies are. `report_files` are its drills' reports, the one that counts first; `globals_bytes` is the size of its
    companion with roles and settings, 0 if it has none. `hold` is a lock on its object, if somebody looked and may see it.
    """

    name: str
    taken_at: datetime
    key: str
    object_bytes: int
    has_manifest: bool
    has_report: bool
    stored_at: datetime | None = None
    verdict: Verdict | None = None
    unfinished: bool = False
    origin: Origin | None = None
    object_version: str = ""
    manifest_version: str = ""
    report_files: tuple[ReportFile, ...] = ()
    manifest_bytes: int = 0
    acknowledged: bool = False
    globals_bytes: int = 0
    hold: Hold | None = None

    @property
    def encrypted(self) -> bool:
        """Whether a private key is needed to read it."""
        return is_encrypted(self.key)

    @property
    def proven(self) -> bool:
        """Whether its last drill proved it."""
        return self.verdict is Verdict.PROVEN

    @property
    def reports(self) -> tuple[str, ...]:
        """The names of its drills' reports, the one that counts first."""
        return tuple(found.file for found in self.report_files)

    @property
    def report_version(self) -> str:
        """The version of the report that counts."""
        return self.report_files[0].version if self.report_files else ""

    @property
    def newest_report(self) -> ReportFile | None:
        """The report of its newest drill, whatever that says; another one may count."""
        return max(self.report_files, key=lambda found: (found.moment, found.file), default=None)

    @property
    def last_drill(self) -> datetime | None:
        """When it was last drilled, by the names of its reports; None if only 1.0 drilled it, or nobody did."""
        return max(filter(None, (found.drilled_at for found in self.report_files)), default=None)

    @property
    def foreign(self) -> bool:
        """Whether another tool made it: it is listed, but drilled with fewer checks."""
        return not self.has_manifest


@dataclass(frozen=True)
class Listing:
    """All backups of a repository at one moment, oldest first; `orphans` are the names of those of which only a companion is left."""

    backups: tuple[Backup, ...]
    read_at: datetime
    orphans: tuple[str, ...] = ()

    def is_fresh(self, now: datetime) -> bool:
        """Whether it can still be relied on: other processes had little time to change anything."""
        return timedelta(0) <= now - self.read_at < _FRESH

    def adding(self, backup: Backup) -> Listing:
        """Return a copy with a backup that was made since."""
        others = [b for b in self.backups if b.name != backup.name]
        return replace(self, backups=in_order([*others, backup]))

    def without(self, names: Collection[str]) -> Listing:
        """Return a copy without backups that were removed since."""
        return replace(self, backups=tuple(b for b in self.backups if b.name not in names))


def backups_in(folder: str, objects: Iterable[StoredObject]) -> tuple[Backup, ...]:
    """Return the backups among the objects of a folder, oldest first.

    Only names that are exactly ours count; everything else is left alone and not kept in memory, however much there is.
    A manifest or report without its object is not a backup.
    """
    return _backups(*_files(folder, objects))


def listing_in(folder: str, objects: Iterable[StoredObject], read_at: datetime) -> Listing:
    """Return what was listed of a folder at a moment."""
    files, reports = _files(folder, objects)
    alone = {file.removesuffix(end) for end in COMPANIONS for file in files if file.endswith(end)}
    others = (*OBJECTS, MANIFEST)
    orphans = (name for name in alone if taken_at(name) and files.keys().isdisjoint({name + end for end in others}))
    return Listing(_backups(files, reports), read_at, tuple(sorted(orphans)))


def _files(folder: str, objects: Iterable[StoredObject]) -> tuple[dict[str, StoredObject], dict[str, list[ReportFile]]]:
    files: dict[str, StoredObject] = {}
    reports: defaultdict[str, list[ReportFile]] = defaultdict(list)
    for found in objects:
        file = found.key.removeprefix(folder) if found.key.startswith(folder) else ""
        if drilled := backup_of_report(file):
            reports[drilled].append(ReportFile(file, found.modified_at, found.version))
        elif is_of_a_backup(file):
            files[file] = found
    return files, reports


def _backups(files: dict[str, StoredObject], reports: dict[str, list[ReportFile]]) -> tuple[Backup, ...]:
    return in_order(backup for file in files if (backup := _backup(file, files, reports)))


def _backup(file: str, files: dict[str, StoredObject], reports: dict[str, list[ReportFile]]) -> Backup | None:
    found, name = files[file], without_ending(file)
    moment, encrypted = taken_at(name) if name != file else None, is_encrypted(file)
    # Nothing of ours writes both; whoever did, only one of them can be what the manifest is about.
    if moment is None or (not encrypted and object_file(name, encrypted=True) in files):
        return None
    manifest, beside = files.get(name + MANIFEST), in_turn(reports.get(name, ()))
    companion = files.get(companion_file(name, encrypted=encrypted))
    return Backup(
        name, moment, found.key, found.size_bytes, has_manifest=manifest is not None, has_report=bool(beside),
        stored_at=found.modified_at, object_version=found.version,
        manifest_version=manifest.version if manifest else "", manifest_bytes=manifest.size_bytes if manifest else 0,
        report_files=beside, acknowledged=name + ACKNOWLEDGED in files,
        globals_bytes=companion.size_bytes if companion else 0,
    )  # fmt: skip


def in_order(backups: Iterable[Backup]) -> tuple[Backup, ...]:
    """Sort backups, oldest first."""
    return tuple(sorted(backups, key=lambda b: (b.taken_at, b.name)))


def named(backups: Sequence[Backup], name: str) -> Backup:
    """Pick a backup by name, with or without its ending; raises NoBackups or ObjectMissing."""
    if not backups:
        raise NoBackups
    wanted = without_ending(name)
    found = next((b for b in backups if b.name == wanted), None)
    if found is None:
        raise ObjectMissing(name)
    return found
