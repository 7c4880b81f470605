"""Try on an object of a check what a storage does with conditions and locks; what it says of itself proves little."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from blocks.errors import UPLOAD, StorageError
from blocks.s3 import conditions
from blocks.s3.client import ObjectStore
from blocks.s3.errors import AlreadyThere, translated
from blocks.s3.marks import marked
from blocks.s3.terms import Hold

# Long enough to be seen, short enough to be over when somebody wonders why the object is still there.
_LOCK = timedelta(minutes=1)


def try_conditions(store: ObjectStore, key: str) -> bool:
    """Whether the storage refuses to overwrite an existing object, in one request and in parts; remembered on this machine.

    Raises StorageError if it does not answer.
    """
    honoured = _refuses_object(store, key) and _refuses_upload(store, key)
    conditions.remember(store.endpoint, store.bucket, honoured=honoured)
    store.__dict__.pop("conditional", None)
    return honoured


def _refuses_object(store: ObjectStore, key: str) -> bool:
    try:
        with translated(UPLOAD, f"{store.bucket}/{key}"):
            store.client.put_object(
                Bucket=store.bucket, Key=key, Body=b"again", IfNoneMatch="*", Metadata=marked(),
                **store.digest(b"again"), **store.terms.encrypted(),
            )  # fmt: skip
    except AlreadyThere:
        return True
    except StorageError as error:
        if error.transient:
            raise
    return False


def _refuses_upload(store: ObjectStore, key: str) -> bool:
    with translated(UPLOAD, f"{store.bucket}/{key}"):
        answer = store.client.create_multipart_upload(
            Bucket=store.bucket, Key=key, Metadata=marked(), **store.terms.encrypted()
        )
    upload_id = str(answer["UploadId"])
    try:
        parts = [{"PartNumber": 1, "ETag": store.put_part(key, upload_id, 1, b"again")}]
        with translated(UPLOAD, f"{store.bucket}/{key}"):
            store.client.complete_multipart_upload(
                Bucket=store.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
    except AlreadyThere:
        return True
    except StorageError as error:
        if error.transient:
            raise
    finally:
        store.abort_upload(key, upload_id)
    return False


def try_lock(store: ObjectStore, key: str) -> Hold | None:
    """Store an object that is locked for a minute, and return the lock that it shows; raises StorageError."""
    lock = {"ObjectLockMode": store.terms.lock_mode.upper(), "ObjectLockRetainUntilDate": datetime.now(UTC) + _LOCK}
    body = b"locked for a minute by pg-roundtrip check\n"
    with translated(UPLOAD, f"{store.bucket}/{key}"):
        store.client.put_object(
            Bucket=store.bucket, Key=key, Body=body, Metadata=marked(), **store.digest(body), **store.terms.encrypted(),
            **lock,
        )  # fmt: skip
    found = store.stat(key)
    return found.hold if found else None
