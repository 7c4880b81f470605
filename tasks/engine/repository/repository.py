"""Store backups in a place and keep two promises about ordering.

On write, the object comes first, then its companion with roles and settings if it has one, and its manifest last, so a
backup that is listed with a manifest is complete. On removal, the manifest goes before both, so a backup that is listed
as complete never lacks a part, and the object last, so that nothing is left which no listing shows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from blocks.errors import (
    REQUEST,
    UPLOAD,
    BackupDamaged,
    EmptyBackup,
    NameTaken,
    ObjectMissing,
    Operation,
    StorageDenied,
    StorageError,
)
from tasks.engine.repository.catalog import Backup, Listing, backups_in, listing_in
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.manifest import Acknowledgement, DrillReport, Manifest, Verdict, read_report
from tasks.engine.repository.names import (
    ACKNOWLEDGED,
    DRILL,
    MANIFEST,
    backup_of_report,
    companion_file,
    name_at,
    object_file,
    report_file,
    taken_at,
    without_ending,
)
from tasks.engine.repository.outline import Outline
from tasks.engine.repository.report_files import ReportFile, in_turn
from tasks.engine.repository.sealed_manifest import encoded, opened, outline_in
from tasks.engine.repository.store import Store
from tasks.engine.repository.unseen import is_taken
from tasks.engine.repository.upload import Upload

REPORT_BYTES = 4 << 20
GLOBALS_BYTES = 64 << 20
# The fields that identify a backup's origin come first, so there is no need to fetch all of a long manifest.
HEAD_BYTES = 4096
STALE_UPLOAD = timedelta(days=1)
_AT_ONCE = 16
# How often a new backup gives way to others, and how far apart two that met then are at most.
_MOST_CLAIMS, _APART_S = 20, 9
_CROWDED = "many backups of one folder begin in the same second; give each database its own BACKUP_PREFIX"


@dataclass(frozen=True)
class Repository:
    """A place that keeps backups, and the keys for what is in it. Any method can raise StorageError."""

    store: Store
    keys: Keys = field(default_factory=Keys)

    @property
    def address(self) -> str:
        """Its location, for people."""
        return self.store.address

    def key(self, name: str) -> str:
        """Return the key of the object of a backup that is taken now."""
        return self.store.key(object_file(name, encrypted=self.keys.encrypts))

    def other_key(self, name: str) -> str:
        """Return the key that the object of such a backup would have with encryption, or without: it must be free, too."""
        return self.store.key(object_file(name, encrypted=not self.keys.encrypts))

    def has(self, name: str) -> bool:
        """Whether there is an object of this name, encrypted or not."""
        return any(is_taken(self.store, key) for key in (self.key(name), self.other_key(name)))

    # Reading

    def backups(self, during: Operation = REQUEST) -> list[Backup]:
        """List the backups, oldest first; `during` is the operation that an error names."""
        return list(backups_in(self.store.key(""), self.store.list_objects(during)))

    def listing(self, now: datetime) -> Listing:
        """List the backups, and what is left of others."""
        return listing_in(self.store.key(""), self.store.list_objects(REQUEST), now)

    def manifest(self, backup: Backup) -> Manifest | None:
        """Fetch a backup's whole manifest; None for a foreign backup. Raises BackupDamaged or KeyMissing."""
        if backup.foreign:
            return None
        return opened(self.store.get(self.store.key(backup.name + MANIFEST)), backup.name, self.keys)

    def outline(self, backup: Backup) -> Outline | None:
        """Fetch what a backup's manifest says in the open; None for a foreign backup. Raises BackupDamaged."""
        if backup.foreign:
            return None
        return outline_in(self.store.get(self.store.key(backup.name + MANIFEST)), backup.name)

    def manifest_even_unlisted(self, backup: Backup) -> Manifest | None:
        """Fetch a manifest even if the listing lacks it: a listing can lag and show an object without its manifest."""
        try:
            return self.manifest(replace(backup, has_manifest=True))
        except ObjectMissing:
            if backup.foreign:
                return None
            raise

    def manifest_head(self, name: str) -> bytes:
        """Return the beginning of a backup's manifest; raises ObjectMissing."""
        return b"".join(self.store.open_range(self.store.key(name + MANIFEST), 0, HEAD_BYTES))

    def report(self, backup: Backup) -> DrillReport | None:
        """Fetch the drill report that counts: the newest that is not INCONCLUSIVE, if there is one.

        One that is unreadable, or about another backup, hides none of those before it. None if there is no other.
        """
        return self._counting(backup.name, backup.report_files)

    def newest_report(self, backup: Backup) -> DrillReport | None:
        """Fetch the report of a backup's newest drill; an INCONCLUSIVE one doesn't take back that the backup FAILED."""
        counts, newest = self.report(backup), backup.newest_report
        if newest is None or newest.conclusive or (counts and counts.verdict is Verdict.FAILED):
            return counts
        return self.read_report(newest.file) or counts

    def report_even_unlisted(self, name: str) -> DrillReport | None:
        """Fetch the report that counts now: it may be newer than a listing that was made before."""
        return self._counting(name, self.reports_of(name))

    def _counting(self, name: str, in_turn: Sequence[ReportFile]) -> DrillReport | None:
        undecided = None
        for found in in_turn:
            report = self.read_report(found.file)
            if report is None or report.backup != name:
                continue
            if report.verdict is not Verdict.INCONCLUSIVE or not found.conclusive:
                return report
            undecided = report  # of version 1.0, whose names don't tell
        return undecided

    def reports_of(self, name: str) -> tuple[ReportFile, ...]:
        """List a backup's drill reports, the one that counts first."""
        listed = self.store.list_objects(REQUEST, name + DRILL)
        found = (ReportFile(o.key.removeprefix(self.store.key("")), o.modified_at, o.version) for o in listed)
        return in_turn(report for report in found if backup_of_report(report.file) == name)

    def read_report(self, file: str) -> DrillReport | None:
        """Fetch one report; None if it is gone or unreadable."""
        try:
            return read_report(self.store.get(self.store.key(file), REPORT_BYTES))
        except (ObjectMissing, BackupDamaged):
            return None

    def read(self, backup: Backup, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a backup's object, or a part of it."""
        return self.store.open_range(backup.key, start, length)

    def read_sql(self, backup: Backup) -> Iterator[bytes]:
        """Stream a backup's object decrypted: what was compressed. Raises KeyMissing or EncryptionDamaged."""
        return self.plain(backup, self.read(backup))

    def plain(self, backup: Backup, stored: Iterator[bytes]) -> Iterator[bytes]:
        """Decrypt what was read of a backup, if it is encrypted."""
        return self.keys.decrypted(stored) if backup.encrypted else stored

    def companion(self, file: str) -> bytes:
        """Fetch roles and settings as stored; raises ObjectMissing, or BackupDamaged if they are too large."""
        return self.store.get(self.store.key(file), GLOBALS_BYTES)

    def looked_into(self, backups: Sequence[Backup]) -> list[Backup]:
        """Add what takes a request per backup to find out: verdicts, and which of our objects are unfinished.

        A listing can lag: request by name what it does not show yet, and drop what it still shows but is gone.
        """
        with ThreadPoolExecutor(_AT_ONCE, "look") as pool:
            return [backup for backup in pool.map(self._looked_into, backups) if backup]

    def _looked_into(self, backup: Backup) -> Backup | None:
        known = {report.file: report for report in (*backup.report_files, *self.reports_of(backup.name))}
        reports = in_turn(known.values())
        backup = replace(backup, report_files=reports, has_report=bool(reports))
        report = self.report(backup)
        if report:
            backup = replace(backup, verdict=Verdict.PROVEN if report.contents_hold else report.verdict)
        found = self.store.stat(backup.key)
        backup = replace(backup, hold=found.hold if found else None)
        if found and backup.has_manifest and (backup.verdict or not backup.has_report):
            return backup
        whole = self.store.stat(self.store.key(backup.name + MANIFEST)) is not None
        # A backup that was drilled must have been finished.
        unfinished = found is not None and found.ours and not whole and not backup.has_report
        return replace(backup, has_manifest=whole, unfinished=unfinished) if found else None

    # Writing

    def free_name(self, moment: datetime) -> str:
        """Return the name for a backup that begins at a moment; move on by a second while the name is taken."""
        while self.has(name_at(moment)):
            moment += timedelta(seconds=1)
        return name_at(moment)

    def begin(self, moment: datetime, expected_bytes: int) -> tuple[str, Upload]:
        """Claim the name of a backup that begins at a moment, and open its object; it is no backup before `commit`.

        A run that has to give way to another tries a second chosen by chance, so that two don't meet again.
        """
        for _ in range(_MOST_CLAIMS):
            name = self.free_name(moment)
            upload = Upload(self.store, self.key(name), expected_bytes, beside=self.other_key(name))
            if upload.claim():
                return name, upload
            moment += timedelta(seconds=random.randint(1, _APART_S))  # noqa: S311
        raise StorageError(f"{self.key(name)}: others take every name", during=UPLOAD, hint=_CROWDED, transient=True)

    @contextmanager
    def begun(self, moment: datetime, expected_bytes: int) -> Iterator[tuple[str, Upload]]:
        """Begin, and leave nothing behind if what follows fails or is told to stop before the object is complete."""
        name, upload = self.begin(moment, expected_bytes)
        try:
            yield name, upload
        except BaseException:
            upload.abort()
            raise

    def commit(self, manifest: Manifest, companion: bytes = b"") -> Backup:
        """Check that the object has all its bytes, store its companion if it has one, then write the manifest.

        From then on it is a backup.
        """
        key = self.key(manifest.name)
        stored_at = self._whole(key, manifest.object_bytes)
        if companion:
            beside = companion_file(manifest.name, encrypted=self.keys.encrypts)
            self._put_new(beside, companion, "application/gzip")
        self._put_new(manifest.name + MANIFEST, encoded(manifest, self.keys))
        taken = taken_at(manifest.name) or manifest.started_at
        return Backup(
            manifest.name,
            taken,
            key,
            manifest.object_bytes,
            has_manifest=True,
            has_report=False,
            stored_at=stored_at,
            globals_bytes=len(companion),
        )

    def _whole(self, key: str, sent_bytes: int) -> datetime | None:
        """Return when an object was stored; raises if it lacks bytes. None for keys that may not look: they only heard it."""
        try:
            found = self.store.stat(key, UPLOAD)
        except StorageDenied:
            return None
        if found is None:
            # Tell a missing bucket from an empty object: a HEAD request cannot.
            next(self.store.list_objects(UPLOAD), None)
        if found is None or found.size_bytes == 0:
            raise EmptyBackup(key)
        if found.size_bytes != sent_bytes:
            raise StorageError(
                f"{key}: {sent_bytes} bytes were sent, {found.size_bytes} were stored",
                during=UPLOAD,
                hint="the storage lost part of the upload; the next backup tries again",
            )
        return found.modified_at

    def _put_new(self, file: str, data: bytes, content_type: str = "application/json") -> None:
        key = self.store.key(file)
        if not self.store.put_new(key, data, content_type):
            raise NameTaken.at(key)

    def store_report(self, report: DrillReport) -> str:
        """Store a drill's report beside its backup, under a name that no other has; return the file's name.

        The name has the second in which the drill started; move on by a second while another report has that name.
        """
        moment, data = report.started_at, report.encode()
        while True:
            file = report_file(report.backup, moment, conclusive=report.verdict is not Verdict.INCONCLUSIVE)
            key = self.store.key(file)
            if self.store.put_new(key, data):
                return file
            moment += timedelta(seconds=1)

    def acknowledge(self, given: Acknowledgement) -> bool:
        """Store that the anomalies of a backup are known; return False if that was stored before."""
        key = self.store.key(given.backup + ACKNOWLEDGED)
        return not self.store.stat(key) and self.store.put_new(key, given.encode())

    # Removing

    def remove(self, backup: Backup) -> bool:
        """Delete one backup: its manifest before its object; return False if a lock holds it, or others remove it.

        The reports, which were written last, go first, and of them the one that counts last: if the removal is
        interrupted, retention then decides about the rest as it did before. If that one says FAILED, they go after the
        manifest: without it the backup would pass for a good one. That its anomalies are acknowledged holds as long as
        there is anything left.
        """
        reports, manifest, item = (
            backup.reports[::-1],
            backup.name + MANIFEST,
            object_file(backup.name, encrypted=backup.encrypted),
        )
        known = (backup.name + ACKNOWLEDGED,) if backup.acknowledged else ()
        # Ask for that of a backup with a manifest even if it is not listed: a listing can lag.
        beside = (
            (companion_file(backup.name, encrypted=backup.encrypted),)
            if backup.globals_bytes or backup.has_manifest
            else ()
        )
        first = (manifest, *reports) if backup.verdict is Verdict.FAILED else (*reports, manifest)
        return all(self.store.remove(self.store.key(file)) for file in (*first, *beside, *known, item))

    def sweep(self, now: datetime) -> Iterator[str]:
        """Abort uploads that a killed run left unfinished at least a day ago; yield the key of each."""
        folder = self.store.key("")
        for key, upload_id in self.store.list_uploads(STALE_UPLOAD, now):
            if taken_at(without_ending(key.removeprefix(folder))):
                self.store.abort_upload(key, upload_id)
                yield key
