"""The single gateway to S3: objects and uploads in a bucket, or in a folder of one."""

from __future__ import annotations

import hashlib
import hmac
import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from pydantic import SecretStr

from blocks.errors import (
    DOWNLOAD,
    REQUEST,
    UPLOAD,
    BackupDamaged,
    BucketMissing,
    ObjectMissing,
    Operation,
    StorageError,
)
from blocks.s3.errors import EmptyRange, translated
from blocks.s3.providers import Provider, ProviderKey, provider_of, region_in
from blocks.s3.retry_after import heed_retry_after
from blocks.s3.session import client_of

AWS = "https://s3.amazonaws.com"

READ_BYTES = 1 << 20
# A manifest of 100,000 tables is about half of this.
DOCUMENT_BYTES = 64 << 20
# Distinguishes our objects from another tool's objects of the same name.
_MARK = {"made-by": "pg-roundtrip"}
_BREAKS = 5


@dataclass(frozen=True)
class StoredObject:
    """An object as shown by a listing or a HEAD request; only the latter shows whether it bears our mark."""

    key: str
    size_bytes: int
    modified_at: datetime
    ours: bool = False
    etag: str = ""

    @property
    def version(self) -> str:
        """A text that changes with the object's contents; empty if the storage does not say."""
        return f"{self.etag} {self.size_bytes} {self.modified_at.timestamp()}" if self.etag else ""


# Takes a client's configuration and the region to sign requests for; returns a client of botocore.
Connect = Callable[[dict[str, Any], str], Any]


@dataclass
class ObjectStore:
    """A bucket, or a folder in one, on any S3-compatible storage.

    `config` contains client options set by the user, which take precedence over ours.
    """

    endpoint: str
    bucket: str
    folder: str
    connect: Connect = field(repr=False, compare=False)
    provider: Provider
    region: str
    config: dict[str, Any] = field(default_factory=dict)
    secret: SecretStr | None = field(default=None, repr=False, compare=False)

    @classmethod
    def at(  # noqa: PLR0913  (by name only)
        cls, *, endpoint: str, bucket: str, prefix: str, key_id: str, secret: SecretStr, token: SecretStr | None = None,
        region: str | None = None, provider: ProviderKey | None = None,
    ) -> ObjectStore:  # fmt: skip
        """Create a store from the specification's settings."""

        def connect(config: dict[str, Any], signed_for: str) -> Any:
            return client_of(key_id, secret, token, signed_for, config, endpoint_url=endpoint)

        return cls.by(
            connect, endpoint=endpoint, bucket=bucket, folder=prefix, region=region, provider=provider, secret=secret
        )  # fmt: skip

    @classmethod
    def by(  # noqa: PLR0913  (by name only)
        cls, connect: Connect, *, endpoint: str, bucket: str, folder: str, region: str | None = None,
        provider: ProviderKey | None = None, config: dict[str, Any] | None = None, secret: SecretStr | None = None,
    ) -> ObjectStore:  # fmt: skip
        """Create a store whose clients `connect` makes; the region defaults to the endpoint's or the provider's."""
        known = provider_of(endpoint, provider)
        signed_for = region or region_in(known, endpoint) or known.region
        return cls(endpoint, bucket, folder, connect, known, signed_for, config or {}, secret)

    @cached_property
    def client(self) -> Any:
        """The S3 client; botocore is untyped, so the methods below convert its responses."""
        config = {
            # Newer SDKs add checksums that several providers reject. AWS rejected them too, in parts of an upload that
            # was created without any.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": self.provider.addressing_style},
            "retries": {"mode": "standard", "max_attempts": 5},
            "connect_timeout": 10,
            "read_timeout": 60,
            "max_pool_connections": 20,
            **self.config,
        }
        with translated(REQUEST, self.address):
            client = self.connect(config, self.region)
        heed_retry_after(client)
        return client

    @property
    def seal_key(self) -> bytes:
        """A key that only those know who hold the storage's keys; empty if the keys are found elsewhere."""
        secret = self.secret.get_secret_value() if self.secret else ""
        return hmac.digest(secret.encode(), b"pg-roundtrip: seal of a cache", "sha256") if secret else b""

    @property
    def address(self) -> str:
        """`bucket/prefix` for display."""
        return f"{self.bucket}/{self.folder}".rstrip("/")

    def within(self, folder: str) -> ObjectStore:
        """Return a folder in this one, through the same client if there is one already."""
        inner = replace(self, folder=self.key(folder))
        if "client" in vars(self):
            inner.client = self.client
        return inner

    def key(self, name: str) -> str:
        """Return the key of one of our objects: the prefix as a folder, then the name."""
        folder = self.folder.strip("/")
        return f"{folder}/{name}" if folder else name

    def put(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        """Store a small object in a single request, which makes it atomic."""
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            self.client.put_object(
                Bucket=self.bucket, Key=key, Body=data, ContentType=content_type, Metadata=_MARK,
                **self._digest(data),
            )  # fmt: skip

    def _digest(self, body: Any) -> dict[str, str]:
        """Return the Content-MD5 of an upload for providers that need it; the SDK does not add it by itself."""
        if not self.provider.content_md5:
            return {}
        if isinstance(body, bytes):
            found = hashlib.md5(body, usedforsecurity=False)
        else:
            found = hashlib.file_digest(body, lambda: hashlib.md5(usedforsecurity=False))
            body.seek(0)
        return {"ContentMD5": b64encode(found.digest()).decode()}

    def get(self, key: str, limit_bytes: int = DOCUMENT_BYTES) -> bytes:
        """Fetch a small object; raises BackupDamaged if it is larger, whatever size the storage reports."""
        data = bytearray()
        with translated(DOWNLOAD, f"{self.bucket}/{key}"):
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
            with closing(body):
                while len(data) <= limit_bytes and (chunk := body.read(min(READ_BYTES, limit_bytes + 1 - len(data)))):
                    data += chunk
        if len(data) > limit_bytes:
            raise BackupDamaged(f"{key} is larger than {limit_bytes:,} bytes", check="manifest")
        return bytes(data)

    def stat(self, key: str, during: Operation = REQUEST) -> StoredObject | None:
        """Return an object's size, time and mark, None if it is missing; `during` is the operation named on failure."""
        try:
            with translated(during, f"{self.bucket}/{key}"):
                answer = self.client.head_object(Bucket=self.bucket, Key=key)
        except ObjectMissing:
            return None
        ours = _MARK.items() <= dict(answer.get("Metadata", {})).items()
        return StoredObject(key, int(answer["ContentLength"]), answer["LastModified"], ours)

    def open_range(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read an object, or a part of it, as a stream that resumes where a broken connection left off.

        `start` and `length` in bytes. Raises StorageUnreachable after five breaks in a row without progress; the
        waits between them grow, because a storage that restarts needs a moment.
        """
        position, end, breaks = start, None if length is None else start + length, 0
        while end is None or position < end:
            wanted = f"bytes={position}-" + ("" if end is None else str(end - 1))
            try:
                with translated(DOWNLOAD, f"{self.bucket}/{key}"):
                    answer = self.client.get_object(Bucket=self.bucket, Key=key, Range=wanted)
                    end = min(end or 1 << 62, position + int(answer["ContentLength"]))
                    for chunk in answer["Body"].iter_chunks(READ_BYTES):
                        position, breaks = position + len(chunk), 0
                        yield chunk
            except StorageError as error:
                breaks += 1
                if not error.transient or breaks >= _BREAKS:
                    raise
                _wait_after(breaks)
            except EmptyRange:
                return

    def list_objects(self, during: Operation = REQUEST, beginning: str = "") -> Iterator[StoredObject]:
        """List everything in our folder, page by page; the folder's name is matched whole, not as a prefix.

        `during` is the operation named on failure; `beginning` narrows it to names in the folder that begin so.
        """
        pages = self.client.get_paginator("list_objects_v2")
        try:
            with translated(during, self.address):
                for page in pages.paginate(Bucket=self.bucket, Prefix=self.key(beginning)):
                    for found in page.get("Contents", ()):
                        etag = str(found.get("ETag", ""))
                        yield StoredObject(found["Key"], int(found["Size"]), found["LastModified"], etag=etag)
        except ObjectMissing:  # an empty folder is listed as empty
            raise BucketMissing(f"{self.endpoint} knows no bucket {self.bucket}", during=during) from None

    def remove(self, key: str) -> None:
        """Delete one object; it is not an error if it is already gone."""
        with translated(REQUEST, f"{self.bucket}/{key}"):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def begin_upload(self, key: str) -> str:
        """Start a multipart upload; nothing is visible until it is completed."""
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            answer = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=key, ContentType="application/gzip", Metadata=_MARK
            )
            return str(answer["UploadId"])

    def put_part(self, key: str, upload_id: str, number: int, body: Any) -> str:
        """Upload one part (numbers start at 1) and return its ETag."""
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            answer = self.client.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body,
                **self._digest(body),
            )  # fmt: skip
            return str(answer["ETag"])

    def complete_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Combine the parts into one object, which becomes visible only now."""
        self._completed(key, upload_id, tags)

    def _completed(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )

    def replace_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Combine the parts into one object, which takes the place of the one that is there."""
        self._completed(key, upload_id, tags)

    def copy_part(self, key: str, upload_id: str, number: int, bounds: tuple[int, int], etag: str) -> str:
        """Let the storage copy a part of the object that is to be replaced; empty if it refuses."""
        try:
            with translated(UPLOAD, f"{self.bucket}/{key}"):
                answer = self.client.upload_part_copy(
                    Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number,
                    CopySource={"Bucket": self.bucket, "Key": key}, CopySourceIfMatch=etag,
                    CopySourceRange=f"bytes={bounds[0]}-{bounds[1] - 1}",
                )  # fmt: skip
                return str(answer["CopyPartResult"]["ETag"])
        except (KeyError, StorageError):
            return ""

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort an upload and free its parts; it is not an error if it is already gone."""
        try:
            with translated(UPLOAD, f"{self.bucket}/{key}"):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except ObjectMissing:
            return

    def uploads_of(self, key: str) -> set[str]:
        """Return the ids of the incomplete uploads of one object."""
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            pages = self.client.get_paginator("list_multipart_uploads")
            found = [
                upload for page in pages.paginate(Bucket=self.bucket, Prefix=key) for upload in page.get("Uploads", ())
            ]
        return {str(upload["UploadId"]) for upload in found if upload["Key"] == key}

    def list_uploads(self, older_than: timedelta, now: datetime) -> list[tuple[str, str]]:
        """Find incomplete uploads in our folder that started long enough ago, as (key, upload id)."""
        found = []
        with translated(REQUEST, self.address):
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.key("")):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < now - older_than:
                        found.append((str(upload["Key"]), str(upload["UploadId"])))  # noqa: PERF401  (two loops deep)
        return found


def _wait_after(breaks: int) -> None:
    """Wait half a second to a second, then longer and longer, with jitter so that clients don't retry together."""
    time.sleep(2.0 ** (breaks - 1) * random.uniform(0.5, 1))  # noqa: S311
