"""Find out which backups a place lacks that another one has, and copy one of them there. What is missing is decided purely.

A copy is written in the order of a backup: the object, its companion, and last the manifest, byte for byte the same.
Nothing is ever overwritten, and nothing becomes visible that is not what its manifest says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from blocks.config.plan import Plan
from blocks.errors import UPLOAD, BackupDamaged, StorageError
from tasks.engine.repository import checks
from tasks.engine.repository.catalog import Backup, in_order
from tasks.engine.repository.folder import Folder
from tasks.engine.repository.names import ACKNOWLEDGED, MANIFEST, companion_file, object_file
from tasks.engine.repository.newest import is_future
from tasks.engine.repository.outline import Outline
from tasks.engine.repository.own_retention import decide_for
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.sealed_manifest import outline_in
from tasks.engine.repository.upload import Upload

# A run that copies adds a part every few minutes; nobody continues what one that was killed has left.
IDLE = timedelta(hours=1)
_TAKEN = "find out what it is, and remove it there, or the backup is never copied"


@dataclass(frozen=True)
class Missing:
    """A backup that a place lacks, and the places that have it."""

    backup: Backup
    sources: tuple[str, ...]


def missing_in(plan: Plan, place: str, folders: Mapping[str, Folder], now: datetime) -> list[Missing]:
    """Return what `place` lacks of the whole backups of this plan that are elsewhere, the newest first; pure.

    `plan` is the plan with that place's retention. What it would remove there at once is not missed, nor is what a wrong
    clock dated in the future.
    """
    here = folders[place]
    there = {b.name for b in here.backups if b.has_manifest}
    found = dict[str, list[str]]()
    known = dict[str, Backup]()
    for name, folder in folders.items():
        for backup in folder.own if name != place else ():
            if backup.has_manifest and backup.name not in there and not is_future(backup.taken_at, now):
                found.setdefault(backup.name, []).append(name)
                known.setdefault(backup.name, backup)
    # Nobody has drilled them there, and that they failed elsewhere says nothing of the place.
    wanted = {name: replace(b, report_files=(), has_report=False, verdict=None) for name, b in known.items()}
    others = [b for b in here.backups if b.name not in wanted]
    decided = decide_for(plan, replace(here, backups=in_order([*others, *wanted.values()])), now, even_if_stale=True)
    kept = {d.backup.name for d in decided.decisions if d.keep}
    return [Missing(known[name], tuple(found[name])) for name in sorted(found, reverse=True) if name in kept]


def behind_since(here: Sequence[Backup], missing: Sequence[Missing]) -> datetime | None:
    """Return when the oldest backup was taken that a place should have got by now; None if it has them all.

    What is older than everything there was taken before the place was one of the plan's.
    """
    whole = [b.taken_at for b in here if b.has_manifest]
    begun = min(whole, default=None)
    return min((m.backup.taken_at for m in missing if begun is None or m.backup.taken_at > begun), default=None)


def is_late(since: datetime | None, after: timedelta, now: datetime) -> bool:
    """Whether a place is behind for longer than it may be."""
    return since is not None and now - since > after


def clear_the_way(target: Repository, backup: Backup, now: datetime) -> int:
    """Abort uploads of a backup's object that runs have left, as their names stay claimed; return how many there were.

    Once a backup is complete somewhere, nobody but a run that copies it sends it to this place.
    """
    key = target.store.key(backup.key.rpartition("/")[2])
    try:
        idle = target.store.idle_uploads(key, IDLE, now)
        for upload_id in idle:
            target.store.abort_upload(key, upload_id)
    except StorageError:  # the sweep of stale uploads does it, a day after they began
        return 0
    return len(idle)


def copy_backup(source: Repository, target: Repository, backup: Backup) -> bool:
    """Copy a backup to another place; return False if somebody else does that at this moment, or has done it.

    Raises BackupDamaged if the source's bytes are not those of its manifest.
    """
    data = source.store.get(source.store.key(backup.name + MANIFEST))
    manifest = outline_in(data, backup.name)  # which needs no key
    file = backup.key.rpartition("/")[2]
    here, key = replace(backup, key=source.store.key(file)), target.store.key(file)
    if target.store.stat(target.store.key(backup.name + MANIFEST), UPLOAD):
        return False
    if not _object_arrives(source, here, target, key, manifest):
        return False
    _copy_companion(source, target, backup, manifest)
    if backup.acknowledged:
        _put(target, backup.name + ACKNOWLEDGED, source.store.get(source.store.key(backup.name + ACKNOWLEDGED)))
    found = target.store.stat(key, UPLOAD)
    if found is None or found.size_bytes != manifest.object_bytes:
        raise StorageError(f"{key}: the storage lost the copy", during=UPLOAD, transient=True)
    _put(target, backup.name + MANIFEST, data)
    return True


def _object_arrives(source: Repository, backup: Backup, target: Repository, key: str, manifest: Outline) -> bool:
    """Copy the object, unless the place has all of it from a copy or a backup that was interrupted."""
    if found := target.store.stat(key, UPLOAD):
        if found.size_bytes != manifest.object_bytes or _sha256(target.store.open_range(key)) != manifest.sha256:
            raise StorageError(f"{key}: another object has this name", during=UPLOAD, hint=_TAKEN)
        return True
    other = target.store.key(object_file(backup.name, encrypted=not backup.encrypted))
    upload = Upload(target.store, key, manifest.object_bytes, beside=other)
    if not upload.claim():
        return False
    try:
        digest = hashlib.sha256()
        for chunk in source.read(backup):
            digest.update(chunk)
            upload.write(chunk)
        _insist(upload.written_bytes, digest.hexdigest(), manifest)
        upload.complete()
    except BaseException:
        upload.abort()
        raise
    return True


def _insist(size_bytes: int, sha256: str, manifest: Outline) -> None:
    if size_bytes != manifest.object_bytes:
        said = f"it has {size_bytes} bytes, the manifest says {manifest.object_bytes}"
        raise BackupDamaged(said, check=checks.SIZE)
    if sha256 != manifest.sha256:
        raise BackupDamaged("its SHA-256 is not the one in the manifest", check=checks.SIZE)


def _copy_companion(source: Repository, target: Repository, backup: Backup, manifest: Outline) -> None:
    record, file = manifest.companion, companion_file(backup.name, encrypted=backup.encrypted)
    if record is None:
        return
    data = source.companion(file)
    if len(data) != record.object_bytes or hashlib.sha256(data).hexdigest() != record.sha256:
        raise BackupDamaged(f"{file} is not what was stored", check=checks.GLOBALS)
    _put(target, file, data, "application/gzip")


def _put(target: Repository, file: str, data: bytes, content_type: str = "application/json") -> None:
    """Store a document, unless the same is there: what is there is never overwritten."""
    key = target.store.key(file)
    if not target.store.put_new(key, data, content_type):
        raise StorageError(f"{key}: another object has this name", during=UPLOAD, hint=_TAKEN)


def _sha256(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def copy_from_any(sources: Sequence[Repository], target: Repository, backup: Backup) -> bool:
    """Copy a backup from the first place whose bytes are right; raises the last error if there is none."""
    for number, source in enumerate(sources, 1):
        try:
            return copy_backup(source, target, backup)
        except (BackupDamaged, StorageError):
            # Whose fault it is shows with the next source: the target's comes again.
            if number == len(sources):
                raise
    return False
