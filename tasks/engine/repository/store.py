"""Say what a repository needs of the place that its objects are in, so that any such place will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Protocol

from blocks.errors import REQUEST, Operation
from blocks.s3.client import DOCUMENT_BYTES, StoredObject
from blocks.s3.providers import Provider


class Store(Protocol):
    """A folder of objects. Each method raises StorageError when the place does not answer, or refuses.

    `blocks.s3.client.ObjectStore` is one, and says what each method promises.
    """

    @property
    def endpoint(self) -> str:
        """Where it is."""

    @property
    def bucket(self) -> str:
        """The bucket that it is in."""

    @property
    def address(self) -> str:
        """Bucket and folder, for people."""

    @property
    def provider(self) -> Provider:
        """How many parts an upload may have, and of which sizes."""

    def key(self, name: str) -> str:
        """The key of a file in the folder."""

    def list_objects(self, during: Operation = REQUEST) -> Iterator[StoredObject]:
        """Everything in the folder; `during` is what a failure says was asked."""

    def stat(self, key: str, during: Operation = REQUEST) -> StoredObject | None:
        """One object, with its mark; None when it is not there."""

    def get(self, key: str, limit_bytes: int = DOCUMENT_BYTES) -> bytes:
        """A small object whole; raises ObjectMissing, or BackupDamaged beyond the limit."""

    def open_range(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """An object, or a part of it, as a stream."""

    def put(self, key: str, data: bytes, content_type: str = ...) -> None:
        """Store a small object: it is there whole, or not at all."""

    def remove(self, key: str) -> None:
        """Delete an object; one that is gone already is no fault."""

    def begin_upload(self, key: str) -> str:
        """Start an upload in parts; nothing is visible until it is completed."""

    def put_part(self, key: str, upload_id: str, number: int, body: Any) -> str:
        """Send one part; returns the tag that completes the upload."""

    def complete_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Make the parts one object."""

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Give an upload up; one that is gone already is no fault."""

    def list_uploads(self, older_than: timedelta, now: datetime) -> list[tuple[str, str]]:
        """The uploads that nobody completed, begun long enough ago: (key, upload id)."""
