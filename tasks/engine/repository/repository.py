"""Keep backups in a place, and keep its two promises on the order of things.

What is written: the object first and its manifest last, so that what is listed with a manifest is whole. What is
removed: the manifest before its object, so that nothing that is listed as whole ever lacks a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from blocks.errors import REQUEST, UPLOAD, BackupDamaged, EmptyBackup, ObjectMissing, Operation, StorageError
from tasks.engine.repository.catalog import Backup, backups_in
from tasks.engine.repository.manifest import DrillReport, Manifest, Verdict, read_manifest, read_report
from tasks.engine.repository.names import MANIFEST, OBJECT, REPORT, name_at, taken_at
from tasks.engine.repository.store import Store
from tasks.engine.repository.upload import Upload

REPORT_BYTES = 4 << 20
# The fields that say whose a backup is come first, so that nobody need fetch all of a long manifest.
HEAD_BYTES = 4096
STALE_UPLOAD = timedelta(days=1)
_AT_ONCE = 8


@dataclass(frozen=True)
class Repository:
    """A place that keeps backups. Every method may raise StorageError."""

    store: Store

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return self.store.address

    def key(self, name: str) -> str:
        """The key of a backup's object."""
        return self.store.key(name + OBJECT)

    # What there is

    def backups(self, during: Operation = REQUEST) -> list[Backup]:
        """List the backups, oldest first; `during` is what a failure says was asked."""
        return list(backups_in(self.store.key(""), self.store.list_objects(during)))

    def manifest(self, backup: Backup) -> Manifest | None:
        """Fetch a backup's manifest; None for a foreign backup. Raises BackupDamaged for one that cannot be read."""
        if backup.foreign:
            return None
        return read_manifest(self.store.get(self.store.key(backup.name + MANIFEST)), backup.name)

    def manifest_even_unlisted(self, backup: Backup) -> Manifest | None:
        """The same for one backup that matters: a listing may lag, and show an object without the manifest that it has."""
        try:
            return self.manifest(replace(backup, has_manifest=True))
        except ObjectMissing:
            if backup.foreign:
                return None
            raise

    def manifest_head(self, name: str) -> bytes:
        """How a backup's manifest begins; raises ObjectMissing."""
        return b"".join(self.store.open_range(self.store.key(name + MANIFEST), 0, HEAD_BYTES))

    def report(self, backup: Backup) -> DrillReport | None:
        """Fetch a backup's newest drill report; None when it was never drilled, or the report cannot be read."""
        return self.report_even_unlisted(backup.name) if backup.has_report else None

    def report_even_unlisted(self, name: str) -> DrillReport | None:
        """The same whatever a listing says, which may lag."""
        try:
            return read_report(self.store.get(self.store.key(name + REPORT), REPORT_BYTES))
        except (ObjectMissing, BackupDamaged):
            return None

    def read(self, backup: Backup, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read a backup's object, or a part of it, as a stream."""
        return self.store.open_range(backup.key, start, length)

    def looked_into(self, backups: Sequence[Backup]) -> list[Backup]:
        """Add what only a request for each can tell: verdicts, and which objects of ours are unfinished.

        A listing may lag: what it does not show yet is asked for by its name, and what it shows still, and is gone, is left out.
        """
        with ThreadPoolExecutor(_AT_ONCE, "look") as pool:
            return [backup for backup in pool.map(self._looked_into, backups) if backup]

    def _looked_into(self, backup: Backup) -> Backup | None:
        report = self.report_even_unlisted(backup.name)
        if report and report.backup == backup.name:
            verdict = Verdict.PROVEN if report.contents_hold else report.verdict
            backup = replace(backup, has_report=True, verdict=verdict)
        if backup.has_manifest and (backup.verdict or not backup.has_report):
            return backup
        found = self.store.stat(backup.key)
        whole = self.store.stat(self.store.key(backup.name + MANIFEST)) is not None
        # What was drilled was finished once.
        unfinished = found is not None and found.ours and not whole and not backup.has_report
        return replace(backup, has_manifest=whole, unfinished=unfinished) if found else None

    def newest_proven(self, backups: Sequence[Backup]) -> Backup | None:
        """The newest of some backups, oldest first, whose last drill proved it; reads no more reports than it must."""
        for backup in reversed(backups):
            report = self.report(backup)
            if report and report.contents_hold and report.backup == backup.name:
                return backup
        return None

    # What comes

    def free_name(self, moment: datetime) -> str:
        """The name for a backup that begins at a moment; a second later when that one is taken already."""
        while self.store.stat(self.key(name_at(moment)), UPLOAD):
            moment += timedelta(seconds=1)
        return name_at(moment)

    def begin(self, name: str, expected_bytes: int) -> Upload:
        """Open the object of a new backup; it is no backup before `commit`."""
        return Upload(self.store, self.key(name), expected_bytes)

    def commit(self, manifest: Manifest) -> Backup:
        """Look that the object is there with all its bytes, then write the manifest: from here on it is a backup."""
        key = self.key(manifest.name)
        found = self.store.stat(key, UPLOAD)
        if found is None:
            next(
                self.store.list_objects(UPLOAD), None
            )  # a bucket that is gone is no empty object, and a HEAD does not tell
        if found is None or found.size_bytes == 0:
            raise EmptyBackup(key)
        if found.size_bytes != manifest.object_bytes:
            raise StorageError(
                f"{key}: {manifest.object_bytes} bytes were sent, {found.size_bytes} are there",
                during=UPLOAD,
                hint="the storage lost part of the upload; the next backup tries again",
            )
        self.store.put(self.store.key(manifest.name + MANIFEST), manifest.encode())
        taken = taken_at(manifest.name) or manifest.started_at
        return Backup(
            manifest.name,
            taken,
            key,
            found.size_bytes,
            has_manifest=True,
            has_report=False,
            stored_at=found.modified_at,
        )

    def store_report(self, report: DrillReport) -> bool:
        """Keep a drill's report beside its backup; returns whether it was.

        A drill that came to no verdict says nothing about the backup, so it does not replace the report of one that did.
        """
        if report.verdict is Verdict.INCONCLUSIVE:
            before = self.report_even_unlisted(report.backup)
            if before and before.verdict is not Verdict.INCONCLUSIVE:
                return False
        self.store.put(self.store.key(report.backup + REPORT), report.encode())
        return True

    # What goes

    def remove(self, backup: Backup) -> None:
        """Delete one backup: its manifest before its object.

        The report, which came last, goes first: what is left of a removal that breaks off is then decided about as it was
        before. One that says FAILED goes after the manifest, for without it the backup would be taken for a good one.
        """
        failed = backup.verdict is Verdict.FAILED
        for kind in (MANIFEST, REPORT, OBJECT) if failed else (REPORT, MANIFEST, OBJECT):
            self.store.remove(self.store.key(backup.name + kind))

    def sweep(self, now: datetime) -> Iterator[str]:
        """Abort the uploads that a killed run left unfinished a day ago or earlier; yields the key of each."""
        folder = self.store.key("")
        for key, upload_id in self.store.list_uploads(STALE_UPLOAD, now):
            if taken_at(key.removeprefix(folder).removesuffix(OBJECT)):
                self.store.abort_upload(key, upload_id)
                yield key
