"""Errors from the object storage."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.errors.base import PgRoundtripError


@dataclass(frozen=True)
class Operation:
    """A kind of storage request; the specification has a separate sentence for the failure of each."""

    message: str
    code: str
    cause: str


UPLOAD = Operation("S3 upload failed", "PGR-S3-UPLOAD", "s3_upload_failed")
DOWNLOAD = Operation("Failed to download backup from S3", "PGR-S3-DOWNLOAD", "s3_download_failed")
REQUEST = Operation("S3 request failed", "PGR-S3-REQUEST", "s3_request_failed")


class StorageError(PgRoundtripError):
    """Base class for errors from the object storage; `during` is the operation that failed."""

    message = REQUEST.message
    code = REQUEST.code
    cause = REQUEST.cause

    def __init__(
        self,
        context: str = "",
        *,
        during: Operation | None = None,
        hint: str | None = None,
        transient: bool | None = None,
    ) -> None:
        super().__init__(context, message=during.message if during else None, hint=hint, transient=transient)
        if during and self.code == REQUEST.code:
            self.code, self.cause = during.code, during.cause


class StorageUnreachable(StorageError):
    """The storage is unreachable or overloaded, perhaps only for a moment."""

    hint = "check S3_ENDPOINT and the network; the next interval tries again"
    transient = True


class StorageTimeout(StorageError):
    """The storage did not answer in time."""

    message = "Connection timed out"
    code = "PGR-S3-TIMEOUT"
    cause = "timeout"
    hint = "check S3_ENDPOINT and the network; the next interval tries again"
    transient = True


class StorageDenied(StorageError):
    """The keys are wrong or lack the permission."""

    # Whether the storage takes these keys for nothing at all, as far as it says so.
    wrong_keys = False
    message = "Access Denied"
    code = "PGR-S3-DENIED"
    cause = "s3_access_denied"
    hint = "check S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY and what they allow on the bucket (read, write, list, delete)"


class BucketMissing(StorageError):
    """There is no such bucket."""

    code = "PGR-S3-BUCKET-MISSING"
    hint = "create the bucket, or correct S3_BUCKET and S3_REGION"


class ObjectMissing(StorageError):
    """There is no such object."""

    message = "Backup file is empty or does not exist"
    code = "PGR-S3-OBJECT-MISSING"
    cause = "backup_empty_or_missing"
    hint = "run pg-roundtrip list to see the existing backups"


class NameTaken(StorageError):
    """Another run's object has the name of ours."""

    message = UPLOAD.message
    code = UPLOAD.code
    cause = UPLOAD.cause
    hint = "two backups started in the same second; give each database its own BACKUP_PREFIX"
    transient = True

    @classmethod
    def at(cls, key: str) -> NameTaken:
        """Return the error about a key."""
        return cls(f"{key}: another backup took this name")


class FolderMissing(StorageError):
    """The folder that keeps the backups does not exist, perhaps because its disk is not mounted."""

    message = "The folder for backups is not there"
    code = "PGR-FOLDER-MISSING"
    cause = "folder_missing"
    hint = "mount the disk that it is on, or create it; pg-roundtrip never does, because a disk may be missing"


class FolderDenied(StorageError):
    """The folder cannot be read or written."""

    message = "The folder for backups can't be used"
    code = "PGR-FOLDER-DENIED"
    cause = "folder_denied"
    hint = (
        "let the user that runs this read and write there; a read-only disk may have errors: look at the system's log"
    )


class FolderFull(StorageError):
    """The folder's disk is full, or a quota is used up."""

    message = "The disk for backups is full"
    code = "PGR-FOLDER-FULL"
    cause = "disk_full"
    hint = "free some space on that disk, or keep fewer backups; what is listed there is whole"


class FolderFailed(StorageError):
    """The folder's disk, or the network that it is reached over, has errors."""

    message = "The disk for backups has errors"
    code = "PGR-FOLDER-FAILED"
    cause = "folder_failed"
    hint = "look at the system's log, and at the server of a network disk; the next interval tries again"
    transient = True
