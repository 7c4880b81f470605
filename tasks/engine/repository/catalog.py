"""Name the objects of a backup, and read back from the bucket which backups there are.

The bucket is the source of truth: what is listed here is what exists, whatever Prefect's database remembers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from blocks.errors import BackupDamaged, NoBackups, ObjectMissing
from blocks.s3.client import ObjectStore, StoredObject
from tasks.engine.repository.identity import Origin
from tasks.engine.repository.manifest import DrillReport, Manifest, Verdict, read_manifest, read_report

OBJECT = ".sql.gz"
MANIFEST = ".manifest.json"
REPORT = ".drill.json"
LATEST = "latest"  # instead of a name, the newest
REPORT_BYTES = 4 << 20
_AT_ONCE = 8
_NAME = re.compile(r"backup_([0-9]{8}_[0-9]{6})\Z")


@dataclass(frozen=True)
class Backup:
    """One backup in the bucket. Without a manifest it is foreign: another tool made it.

    `stored_at` and `manifest_at` are when object and manifest came, by the storage's clock; `origin` is whose it is, where somebody looked. What the listing does not tell is there after
    `looked_into`: the newest drill's verdict on its contents, and whether it is an object of ours whose manifest never came.
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
    manifest_at: datetime | None = None
    origin: Origin | None = None

    @property
    def proven(self) -> bool:
        """Whether its last drill proved it."""
        return self.verdict is Verdict.PROVEN

    @property
    def foreign(self) -> bool:
        """Whether another tool made it: it is listed, and drilled with fewer checks."""
        return not self.has_manifest


def name_at(moment: datetime) -> str:
    """The name of a backup begun at a moment: `backup_YYYYMMDD_HHMMSS`, UTC."""
    return f"backup_{moment.astimezone(UTC):%Y%m%d_%H%M%S}"


def taken_at(name: str) -> datetime | None:
    """The moment in a backup's name; None when it is no such name."""
    found = _NAME.match(name)
    try:
        return datetime.strptime(found[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def read_catalog(storage: ObjectStore, objects: Iterable[StoredObject] | None = None) -> list[Backup]:
    """List the backups, oldest first. Only names that are exactly ours count; everything else is left alone.

    A manifest or report without its object is no backup.
    """
    folder = storage.key("")
    files: dict[str, StoredObject] = {}
    for found in storage.list_objects() if objects is None else objects:
        if found.key.startswith(folder) and _is_ours(file := found.key[len(folder) :]):
            files[file] = found
    backups = []
    for file, found in files.items():
        name = file.removesuffix(OBJECT)
        moment = taken_at(name) if file.endswith(OBJECT) else None
        if moment:
            beside = (name + MANIFEST in files, name + REPORT in files)
            made = files[name + MANIFEST].modified_at if beside[0] else None
            backups.append(
                Backup(name, moment, found.key, found.size_bytes, *beside, found.modified_at, manifest_at=made)
            )
    return sorted(backups, key=lambda b: (b.taken_at, b.name))


def _is_ours(file: str) -> bool:
    """Whether a name is one of a backup's three: of a bucket's other objects, however many, none is remembered."""
    return any(file.endswith(kind) and taken_at(file.removesuffix(kind)) for kind in (OBJECT, MANIFEST, REPORT))


def named(backups: Sequence[Backup], name: str) -> Backup:
    """Pick a backup by its name, with or without `.sql.gz`; raises NoBackups or ObjectMissing."""
    if not backups:
        raise NoBackups
    wanted = name.removesuffix(OBJECT)
    found = next((b for b in backups if b.name == wanted), None)
    if found is None:
        raise ObjectMissing(name)
    return found


def load_manifest(storage: ObjectStore, backup: Backup) -> Manifest | None:
    """Fetch a backup's manifest; None for a foreign backup."""
    if backup.foreign:
        return None
    return read_manifest(storage.get(storage.key(backup.name + MANIFEST)), backup.name)


def look_for_manifest(storage: ObjectStore, backup: Backup) -> Manifest | None:
    """The same for one backup that matters: a listing may lag, and show an object without the manifest that it has."""
    try:
        return load_manifest(storage, replace(backup, has_manifest=True))
    except ObjectMissing:
        if backup.foreign:
            return None
        raise


def load_report(storage: ObjectStore, backup: Backup) -> DrillReport | None:
    """Fetch a backup's newest drill report; None when it was never drilled."""
    return report_of(storage, backup.name) if backup.has_report else None


def report_of(storage: ObjectStore, name: str) -> DrillReport | None:
    """The same whatever a listing says, which may lag."""
    try:
        return read_report(storage.get(storage.key(name + REPORT), REPORT_BYTES))
    except (ObjectMissing, BackupDamaged):
        return None


def looked_into(storage: ObjectStore, backups: Sequence[Backup]) -> list[Backup]:
    """Add what only a request for each can tell: verdicts, and which objects of ours are unfinished.

    A listing may lag: what it does not show yet is asked for by its name, and what it shows still, and is gone, is left out.
    """
    with ThreadPoolExecutor(_AT_ONCE, "look") as pool:
        return [backup for backup in pool.map(lambda b: _looked_into(storage, b), backups) if backup]


def _looked_into(storage: ObjectStore, backup: Backup) -> Backup | None:
    report = report_of(storage, backup.name)
    if report and report.backup == backup.name:
        backup = replace(backup, has_report=True, verdict=Verdict.PROVEN if report.contents_hold else report.verdict)
    if backup.has_manifest and (backup.verdict or not backup.has_report):
        return backup
    found = storage.stat(backup.key)
    whole = storage.stat(storage.key(backup.name + MANIFEST)) is not None
    # What was drilled was finished once.
    unfinished = found is not None and found.ours and not whole and not backup.has_report
    return replace(backup, has_manifest=whole, unfinished=unfinished) if found else None


def newest_proven(storage: ObjectStore, backups: Sequence[Backup]) -> Backup | None:
    """The newest of some backups, oldest first, whose last drill proved it; reads no more reports than it must."""
    for backup in reversed(backups):
        report = load_report(storage, backup)
        if report and report.contents_hold and report.backup == backup.name:
            return backup
    return None
