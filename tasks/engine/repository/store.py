"""Define what a repository needs from its object storage, so that any storage that provides it will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Protocol

from blocks.errors import REQUEST, Operation
from blocks.s3.client import DOCUMENT_BYTES, StoredObject
from blocks.s3.providers import Provider


class Store(Protocol):
    """A folder of objects. Each method raises StorageError if the storage does not answer or refuses.

    `blocks.s3.client.ObjectStore` implements it and documents what each method promises.
    """

    @property
    def endpoint(self) -> str:
        """The address of the service."""

    @property
    def bucket(self) -> str:
        """The bucket that it is in."""

    @property
    def address(self) -> str:
        """Bucket and folder, for people."""

    @property
    def seal_key(self) -> bytes:
        """A key that only those know who hold the storage's keys; empty if there is none."""

    @property
    def provider(self) -> Provider:
        """How many parts an upload may have, and of which sizes."""

    def key(self, name: str) -> str:
        """Return the key of a file in the folder."""

    def list_objects(self, during: Operation = REQUEST, beginning: str = "") -> Iterator[StoredObject]:
        """List everything in the folder, or what begins with a text; `during` is the operation that an error names."""

    def stat(self, key: str, during: Operation = REQUEST) -> StoredObject | None:
        """Return one object, with its mark; None if it does not exist."""

    def get(self, key: str, limit_bytes: int = DOCUMENT_BYTES) -> bytes:
        """Return a whole small object; raises ObjectMissing, or BackupDamaged if it exceeds the limit."""

    def open_range(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream an object, or a part of it."""

    def put(self, key: str, data: bytes, content_type: str = ...) -> None:
        """Store a small object, completely or not at all; it replaces one of that name."""

    def put_new(self, key: str, data: bytes, content_type: str = ...) -> bool:
        """Store a small object that is never replaced; return False if another one has the name."""

    def remove(self, key: str) -> bool:
        """Delete an object; return False if a lock holds it, or others remove what is old. One that is gone is deleted."""

    def begin_upload(self, key: str) -> str:
        """Start a multipart upload; nothing is visible until it is completed."""

    def put_part(self, key: str, upload_id: str, number: int, body: Any) -> str:
        """Send one part; return its tag, which `complete_upload` needs."""

    def complete_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Assemble the parts into one object; raises NameTaken if another is there, where the storage tells."""

    def replace_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Assemble the parts into one object in the place of the one that is there, at one moment."""

    def copy_part(self, key: str, upload_id: str, number: int, bounds: tuple[int, int], etag: str) -> str:
        """Take one part from the object that is to be replaced, without sending it; `bounds` are its first byte and the one after its last.

        Return its tag, or an empty text if this storage can't do it, or the object no longer has this `etag`.
        """

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort an upload; it is not an error if it is already gone."""

    def uploads_of(self, *keys: str) -> set[str]:
        """Return the ids of the incomplete uploads of one object, or of some whose names begin alike."""

    def idle_uploads(self, key: str, older_than: timedelta, now: datetime) -> list[str]:
        """Return the ids of the incomplete uploads of one object that nothing was added to for so long."""

    def list_uploads(self, older_than: timedelta, now: datetime) -> list[tuple[str, str]]:
        """List the incomplete uploads that began long enough ago, as (key, upload id)."""
