"""The single gateway to S3: objects and uploads in a bucket, or in a folder of one."""

from __future__ import annotations

import hmac
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
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
    StorageDenied,
    StorageError,
    StorageUnreachable,
)
from blocks.s3 import conditions
from blocks.s3.errors import AlreadyThere, EmptyRange, translated
from blocks.s3.marks import is_ours, marked
from blocks.s3.providers import Provider, ProviderKey, provider_of, region_in
from blocks.s3.retry_after import heed_retry_after
from blocks.s3.session import client_of, client_of_sdk
from blocks.s3.terms import Credentials, Hold, Terms, hold_in
from blocks.s3.uploads import Uploads

AWS = "https://s3.amazonaws.com"

READ_BYTES = 1 << 20
# A manifest of 100,000 tables is about half of this.
DOCUMENT_BYTES = 64 << 20
_BREAKS = 5


@dataclass(frozen=True)
class StoredObject:
    """An object as shown by a listing or a HEAD request; only the latter shows our mark, and a lock if the keys may see it."""

    key: str
    size_bytes: int
    modified_at: datetime
    ours: bool = False
    etag: str = ""
    hold: Hold | None = None

    @property
    def version(self) -> str:
        """A text that changes with the object's contents; empty if the storage does not say."""
        return f"{self.etag} {self.size_bytes} {self.modified_at.timestamp()}" if self.etag else ""


# Takes a client's configuration and the region to sign requests for; returns a client of botocore.
Connect = Callable[[dict[str, Any], str], Any]


@dataclass
class ObjectStore(Uploads):
    """A bucket, or a folder in one, on any S3-compatible storage.

    `config` contains client options set by the user, which take precedence over ours; `terms` are those under which
    objects are kept.
    """

    endpoint: str
    bucket: str
    folder: str
    connect: Connect = field(repr=False, compare=False)
    provider: Provider
    region: str
    config: dict[str, Any] = field(default_factory=dict)
    secret: SecretStr | None = field(default=None, repr=False, compare=False)
    terms: Terms = field(default_factory=Terms)

    @classmethod
    def at(  # noqa: PLR0913  (by name only)
        cls, *, endpoint: str, bucket: str, prefix: str, key_id: str, secret: SecretStr, token: SecretStr | None = None,
        region: str | None = None, provider: ProviderKey | None = None, credentials: Credentials = "keys",
        terms: Terms | None = None,
    ) -> ObjectStore:  # fmt: skip
        """Create a store from the specification's settings; keys that are given come before those that the SDK finds."""

        def connect(config: dict[str, Any], signed_for: str) -> Any:
            if credentials == "sdk" and not key_id:
                return client_of_sdk(signed_for, config, endpoint_url=endpoint)
            return client_of(key_id, secret, token, signed_for, config, endpoint_url=endpoint)

        return cls.by(
            connect, endpoint=endpoint, bucket=bucket, folder=prefix, region=region, provider=provider, secret=secret,
            terms=terms,
        )  # fmt: skip

    @classmethod
    def by(  # noqa: PLR0913  (by name only)
        cls, connect: Connect, *, endpoint: str, bucket: str, folder: str, region: str | None = None,
        provider: ProviderKey | None = None, config: dict[str, Any] | None = None, secret: SecretStr | None = None,
        terms: Terms | None = None,
    ) -> ObjectStore:  # fmt: skip
        """Create a store whose clients `connect` makes; the region defaults to the endpoint's or the provider's."""
        known = provider_of(endpoint, provider)
        signed_for = region or region_in(known, endpoint) or known.region
        return cls(endpoint, bucket, folder, connect, known, signed_for, config or {}, secret, terms or Terms())

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

    @cached_property
    def conditional(self) -> bool:
        """Whether the storage honours If-None-Match: a check here found out, or else the provider documents it."""
        found = conditions.known(self.endpoint, self.bucket)
        return self.provider.if_none_match if found is None else found

    def put(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        """Store a small object in a single request, which makes it atomic; it replaces one of that name."""
        self._put(key, data, content_type, self.terms.encrypted())

    def put_new(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        """Store a small object that is never replaced; return False if another one has the name.

        Where the storage honours If-None-Match no other can be overwritten; elsewhere none that a request sees before.
        An object of the same contents is taken for this one, whose response was lost.
        """
        kept, once = self.terms.kept(datetime.now(UTC)), {"IfNoneMatch": "*"} if self.conditional else {}
        if not once and self._exists(key):
            return self._holds(key, data)
        try:
            self._put(key, data, content_type, {**kept, **once})
        except AlreadyThere as refused:
            return self._holds(key, data, unsure=refused.attempts > 0)
        return True

    def _put(self, key: str, data: bytes, content_type: str, more: dict[str, Any]) -> None:
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            self.client.put_object(
                Bucket=self.bucket, Key=key, Body=data, ContentType=content_type, Metadata=marked(),
                **self.digest(data), **more,
            )  # fmt: skip

    def _exists(self, key: str) -> bool:
        """Whether an object has the name; False for keys that may not look."""
        try:
            return self.stat(key, UPLOAD) is not None
        except StorageDenied:
            return False

    def _holds(self, key: str, data: bytes, *, unsure: bool = False) -> bool:
        """Whether what has the name are these bytes; keys that may not read can't tell after an `unsure` attempt."""
        try:
            return self.get(key, len(data)) == data
        except BackupDamaged:
            return False
        except StorageDenied:
            if unsure:
                raise StorageUnreachable(f"{self.bucket}/{key}: its response was lost", during=UPLOAD) from None
            return False

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
        ours = is_ours(answer.get("Metadata", {}))
        return StoredObject(key, int(answer["ContentLength"]), answer["LastModified"], ours, hold=hold_in(answer))

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

    def remove(self, key: str) -> bool:
        """Delete one object; return False if it stays: a lock holds it, or others remove what is old.

        It is not an error if it is already gone. No version is ever named, and no lock bypassed: in a bucket with
        versions, what is deleted is hidden, and stays until a lifecycle rule removes it.
        """
        if not self.terms.removes:
            return False
        try:
            with translated(REQUEST, f"{self.bucket}/{key}"):
                self.client.delete_object(Bucket=self.bucket, Key=key)
        except StorageDenied:
            if self._is_held(key):
                return False
            raise
        return True

    def _is_held(self, key: str) -> bool:
        with suppress(StorageError):
            found = self.stat(key)
            return bool(found and found.hold and found.hold.holds(datetime.now(UTC)))
        return False


def _wait_after(breaks: int) -> None:
    """Wait half a second to a second, then longer and longer, with jitter so that clients don't retry together."""
    time.sleep(2.0 ** (breaks - 1) * random.uniform(0.5, 1))  # noqa: S311
