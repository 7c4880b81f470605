"""Read the files of the evidence alike from a bucket and from a folder that somebody downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from blocks.errors import UPLOAD, EvidenceBroken, ObjectMissing, StorageError
from blocks.s3.client import DOCUMENT_BYTES
from tasks.engine.repository.names import EVIDENCE
from tasks.engine.repository.store import Store

SIGNATURE_BYTES = 64


class Files(Protocol):
    """Files by name."""

    @property
    def address(self) -> str:
        """The folder whose evidence they are; empty if unknown."""

    def listed(self) -> dict[str, datetime | None]:
        """List them, each with the moment when it was stored, if that is known."""

    def read(self, name: str, limit_bytes: int = DOCUMENT_BYTES) -> bytes | None:
        """Return the contents of one; None if it is gone. Raises BackupDamaged, or cuts it off, if it is larger."""


@dataclass(frozen=True)
class StoredFiles:
    """The evidence in a bucket."""

    store: Store

    @property
    def address(self) -> str:
        """The bucket and the folder of the backups."""
        return self.store.address

    def names(self) -> list[str]:
        """List the files, in the order of their names."""
        return sorted(self.listed())

    def listed(self) -> dict[str, datetime | None]:
        """List the files, each with the moment when it was stored."""
        folder = self.store.key(EVIDENCE)
        objects = self.store.list_objects(beginning=EVIDENCE)
        return {found.key.removeprefix(folder): found.modified_at for found in objects}

    def read(self, name: str, limit_bytes: int = DOCUMENT_BYTES) -> bytes | None:
        """Return the contents of one; None if it is gone. Raises BackupDamaged if it is larger."""
        try:
            return self.store.get(self.store.key(EVIDENCE + name), limit_bytes)
        except ObjectMissing:
            return None

    def write(self, name: str, data: bytes, content_type: str) -> None:
        """Store one, once: its name says what is in it."""
        key = self.store.key(EVIDENCE + name)
        if not self.store.put_new(key, data, content_type):
            raise StorageError(f"{key}: another file has this name", during=UPLOAD)


@dataclass(frozen=True)
class DownloadedFiles:
    """The evidence in a folder; raises EvidenceBroken if that cannot be read."""

    folder: Path
    address: str = ""

    def listed(self) -> dict[str, datetime | None]:
        """List the files; their dates are those of the download."""
        return dict.fromkeys(self._files())

    def read(self, name: str, limit_bytes: int = DOCUMENT_BYTES) -> bytes | None:
        """Return the contents of one; what is larger is cut off, a byte too late to be taken for whole."""
        try:
            with (self.folder / name).open("rb") as file:
                return file.read(limit_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EvidenceBroken(f"{self.folder / name}: {error.strerror}") from None

    def _files(self) -> Iterator[str]:
        try:
            yield from (path.name for path in self.folder.iterdir() if path.is_file())
        except OSError as error:
            raise EvidenceBroken(f"{self.folder}: {error.strerror}") from None
