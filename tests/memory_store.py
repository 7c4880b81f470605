"""An in-memory storage that never fails, for tests of what is built on top of the storage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

from blocks.errors import BackupDamaged, ObjectMissing
from blocks.s3.client import DOCUMENT_BYTES, StoredObject
from blocks.s3.providers import OTHER, Provider


def etag_of(data: bytes) -> str:
    """Return the ETag of an object that was stored in one request."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass
class MemoryStore:
    """A folder of objects, and the uploads in progress. `foreign` objects lack our mark."""

    folder: str = "backups"
    objects: dict[str, bytes] = field(default_factory=dict)
    moments: dict[str, datetime] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    uploads: dict[str, tuple[str, datetime, dict[int, bytes]]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    endpoint: str = "memory:"
    bucket: str = "memory"
    provider: Provider = OTHER
    seal_key: bytes = b""

    @property
    def address(self) -> str:
        """The address shown to people."""
        return f"{self.bucket}/{self.folder}"

    def key(self, name: str) -> str:
        """Return the key of a file in the folder."""
        return f"{self.folder}/{name}"

    def within(self, folder: str) -> MemoryStore:
        """Return a folder in this one, with the same objects."""
        return replace(self, folder=f"{self.folder}/{folder}")

    def list_objects(self, during: object = None, beginning: str = "") -> Iterator[StoredObject]:
        """Return everything in the folder, in S3's order."""
        del during
        self.calls.append(("list", ""))
        found = sorted(k for k in self.objects if k.startswith(self.key(beginning)))
        return (StoredObject(k, len(self.objects[k]), self._moment(k), etag=etag_of(self.objects[k])) for k in found)

    def stat(self, key: str, during: object = None) -> StoredObject | None:  # noqa: ARG002  (the sentence of a failure)
        """Return one object's metadata."""
        self.calls.append(("stat", key))
        if key not in self.objects:
            return None
        return StoredObject(key, len(self.objects[key]), self._moment(key), key not in self.foreign)

    def get(self, key: str, limit_bytes: int = DOCUMENT_BYTES) -> bytes:
        """Return a small object."""
        self.calls.append(("get", key))
        if key not in self.objects:
            raise ObjectMissing(key)
        if len(self.objects[key]) > limit_bytes:
            raise BackupDamaged(f"{key} is larger than {limit_bytes:,} bytes", check="manifest")
        return self.objects[key]

    def open_range(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a range of an object, in small chunks."""
        self.calls.append(("read", key))
        if key not in self.objects:
            raise ObjectMissing(key)
        data = BytesIO(self.objects[key][start : None if length is None else start + length])
        while piece := data.read(1 << 16):
            yield piece

    def put(self, key: str, data: bytes, content_type: str = "application/json") -> None:  # noqa: ARG002
        """Store an object."""
        self.calls.append(("put", key))
        self.objects[key], self.moments[key] = data, datetime.now(UTC)
        self.foreign.discard(key)

    def put_new(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        """Store an object, unless another has the name."""
        if key in self.objects:
            return self.objects[key] == data
        self.put(key, data, content_type)
        return True

    def remove(self, key: str) -> bool:
        """Delete an object."""
        self.calls.append(("remove", key))
        self.objects.pop(key, None)
        return True

    def begin_upload(self, key: str) -> str:
        """Start an upload."""
        upload_id = f"upload {len(self.uploads)}"
        self.uploads[upload_id] = (key, datetime.now(UTC), {})
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, body: Any) -> str:  # noqa: ARG002
        """Accept one part."""
        data = body if isinstance(body, bytes) else body.read()
        self.uploads[upload_id][2][number] = data
        return str(len(data))

    def complete_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Assemble the parts into one object."""
        parts = self.uploads.pop(upload_id)[2]
        assert [str(len(parts[n])) for n in sorted(parts)] == list(tags)
        self.put(key, b"".join(parts[n] for n in sorted(parts)))

    def replace_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Assemble the parts into one object, in the place of the one that is there."""
        self.complete_upload(key, upload_id, tags)

    def copy_part(self, key: str, upload_id: str, number: int, bounds: tuple[int, int], etag: str) -> str:
        """Copy a part of the object that is there."""
        self.calls.append(("copy", key))
        data = self.objects[key]
        return self.put_part(key, upload_id, number, data[slice(*bounds)]) if etag == etag_of(data) else ""

    def abort_upload(self, key: str, upload_id: str) -> None:  # noqa: ARG002
        """Abort an upload."""
        self.uploads.pop(upload_id, None)

    def uploads_of(self, *keys: str) -> set[str]:
        """Return the incomplete uploads of some objects."""
        return {i for i, (of, _, _) in self.uploads.items() if of in keys}

    def idle_uploads(self, key: str, older_than: timedelta, now: datetime) -> list[str]:
        """Return the incomplete uploads of an object, by when they began."""
        return [i for i, (of, begun, _) in self.uploads.items() if of == key and begun < now - older_than]

    def list_uploads(self, older_than: timedelta, now: datetime) -> list[tuple[str, str]]:
        """Return the incomplete uploads."""
        return [(key, i) for i, (key, begun, _) in self.uploads.items() if begun < now - older_than]

    def _moment(self, key: str) -> datetime:
        return self.moments.get(key, datetime(2026, 1, 1, tzinfo=UTC))
