"""A folder on a disk with the layout of a bucket, so that backups need no server to be kept."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from blocks.disk.errors import require_root, translated
from blocks.disk.files import (
    READ_BYTES,
    create,
    flush,
    flush_folder,
    make_folders,
    open_file,
    private,
    publish,
    publish_new,
    write_new,
)
from blocks.disk.growing import GrowingFile
from blocks.disk.listing import objects_in, stored
from blocks.disk.paths import HIDDEN, MADE, TEMPORARY, UPLOAD, hidden_file, path_in, require_inside, uploads_in
from blocks.errors import DOWNLOAD, REQUEST, BackupDamaged, NameTaken, ObjectMissing, Operation, StorageError
from blocks.errors import UPLOAD as UPLOADING
from blocks.s3.client import DOCUMENT_BYTES, StoredObject
from blocks.s3.providers import Provider

_DOCUMENT = "application/json"
FOLDER = Provider("a folder", endpoint="file:///mnt/backups", max_parts=1_000_000, min_part_bytes=1)


@dataclass
class FolderStore:
    """A folder below an existing one, the root; it keeps every promise of `blocks.s3.client.ObjectStore`.

    A file gets its name once it is complete and on the disk. Nothing leaves the root, whatever a name says.
    """

    root: Path
    folder: str = ""
    # The uploads that this process has begun, shared with the stores of folders within.
    growing: dict[str, GrowingFile] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def at(cls, address: str, folder: str = "") -> FolderStore:
        """Create a store from a path, or from an address like `file:///mnt/backups`."""
        path = unquote(urlsplit(address).path) if address.startswith("file:") else address
        return cls(Path(path), folder.strip("/"))

    @property
    def endpoint(self) -> str:
        """The root as an address."""
        return f"file://{quote(str(self.root))}"

    @property
    def bucket(self) -> str:
        """A folder is in no bucket."""
        return ""

    @property
    def address(self) -> str:
        """The folder's path, for people."""
        return str(self.root / self.folder)

    @property
    def provider(self) -> Provider:
        """Parts of any size, and practically any number of them."""
        return FOLDER

    @property
    def seal_key(self) -> bytes:
        """No key protects a folder, and what is in one is read quickly: nothing of it is kept in a cache."""
        return b""

    @property
    def secret(self) -> None:
        """A folder has no keys."""

    @property
    def region(self) -> str:
        """A folder is in no region."""
        return ""

    def within(self, folder: str) -> FolderStore:
        """Return a folder in this one."""
        return replace(self, folder=self.key(folder))

    def key(self, name: str) -> str:
        """Return the key of one of our files: the folder, then the name."""
        return f"{self.folder}/{name}" if self.folder else name

    # Reading

    def list_objects(self, during: Operation = REQUEST, beginning: str = "") -> Iterator[StoredObject]:
        """List everything in the folder in the order of a bucket, or what begins with a text."""
        with translated(self.root, self.root / self.folder, during):
            require_root(self.root)
            require_inside(self.root, self.root / self.folder)
            yield from objects_in(self.root, self.folder, self.key(beginning))

    def stat(self, key: str, during: Operation = REQUEST) -> StoredObject | None:
        """Return one object, with its mark; None if it is missing."""
        try:
            with self._opened(key, during) as opened:
                found = stored(key, os.fstat(opened))
        except ObjectMissing:
            return None
        return replace(found, ours=self._is_ours(key, found.size_bytes))

    def get(self, key: str, limit_bytes: int = DOCUMENT_BYTES) -> bytes:
        """Return a whole small object; raises ObjectMissing, or BackupDamaged if it exceeds the limit."""
        data = bytearray()
        with self._opened(key, DOWNLOAD) as opened:
            while len(data) <= limit_bytes and (piece := os.read(opened, min(READ_BYTES, limit_bytes + 1 - len(data)))):
                data += piece
        if len(data) > limit_bytes:
            raise BackupDamaged(f"{key} is larger than {limit_bytes:,} bytes", check="manifest")
        return bytes(data)

    def open_range(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream an object, or a part of it."""
        position, end = start, None if length is None else start + length
        while end is None or position < end:
            # Open it for each piece: a stream that nobody reads to its end holds nothing, and a server that was
            # restarted knows the file again.
            with self._opened(key, DOWNLOAD) as opened:
                piece = os.pread(opened, READ_BYTES if end is None else min(READ_BYTES, end - position), position)
            if not piece:
                return
            position += len(piece)
            yield piece

    @contextlib.contextmanager
    def _opened(self, key: str, during: Operation) -> Iterator[int]:
        path = self._path(key)
        with translated(self.root, path, during):
            opened = open_file(path)
            try:
                yield opened
            finally:
                os.close(opened)

    # Writing

    def put(self, key: str, data: bytes, content_type: str = _DOCUMENT) -> None:
        """Store a small object, completely or not at all."""
        path = self._path(key)
        with self._temporary(key, path, data, content_type) as temporary:
            publish(temporary, path)

    def put_new(self, key: str, data: bytes, content_type: str = _DOCUMENT) -> bool:
        """Store a small object where nothing is; return False if another is there."""
        path = self._path(key)
        with self._temporary(key, path, data, content_type) as temporary:
            new = publish_new(temporary, path)
        return new or self._holds(key, data)

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether what is there are these bytes: an attempt before this one wrote them."""
        try:
            return self.get(key, len(data)) == data
        except BackupDamaged:
            return False

    @contextlib.contextmanager
    def _temporary(self, key: str, path: Path, data: bytes, content_type: str) -> Iterator[Path]:
        with translated(self.root, path, UPLOADING):
            self._make_room(key)
            temporary = self._hidden(key, f".{secrets.token_hex(8)}{TEMPORARY}")
            try:
                write_new(temporary, data)
                if content_type != _DOCUMENT:
                    self._mark(key, len(data))
                yield temporary
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink()

    def remove(self, key: str) -> bool:
        """Delete an object; it is not an error if it is already gone."""
        path = self._path(key)
        with translated(self.root, path, REQUEST):
            require_root(self.root)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
                flush_folder(path.parent)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._hidden(key, MADE).unlink()
        return True

    # Uploads

    def begin_upload(self, key: str) -> str:
        """Start an upload; nothing is visible until it is completed."""
        upload_id, path = secrets.token_hex(16), self._path(key)
        with translated(self.root, path, UPLOADING):
            self._make_room(key)
            create(file := self._upload(key, upload_id))
        self.growing[upload_id] = GrowingFile(file)
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, body: Any) -> str:
        """Append one part (numbers start at 1) and return a tag."""
        with translated(self.root, self._path(key), UPLOADING):
            return str(self._known(key, upload_id).add(number, body))

    def complete_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Give the parts the name of the object; never replace another one."""
        self._complete(key, upload_id, tags, publish_new)

    def replace_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Give the parts the name of the object, which takes the place of the one that is there."""

        def replaced(temporary: Path, path: Path) -> bool:
            publish(temporary, path)
            return True

        self._complete(key, upload_id, tags, replaced)

    def copy_part(self, key: str, upload_id: str, number: int, bounds: tuple[int, int], etag: str) -> str:  # noqa: ARG002
        """Copy nothing: whoever asks sends the part, and reads it from the same disk."""
        return ""

    def _complete(self, key: str, upload_id: str, tags: Iterable[str], published: Callable[[Path, Path], bool]) -> None:
        path, file = self._path(key), self._known(key, upload_id)
        if list(tags) != [str(size) for size in file.sizes]:
            raise StorageError(f"{path}: parts are missing", during=UPLOADING, hint="run the backup again")
        with translated(self.root, path, UPLOADING):
            flush(file.path)
            self._mark(key, sum(file.sizes))
            if not published(file.path, path):
                raise NameTaken.at(str(path))
        self.growing.pop(upload_id, None)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort an upload and free its space; it is not an error if it is already gone."""
        self.growing.pop(upload_id, None)
        with translated(self.root, self._path(key), UPLOADING):
            upload = self._upload(key, upload_id).name
            for name in self._hidden_files():
                if name == upload or name.startswith(f"{upload}."):
                    with contextlib.suppress(FileNotFoundError):
                        (self._hidden_folder / name).unlink()

    def uploads_of(self, *keys: str) -> set[str]:
        """Return the ids of the incomplete uploads of one object, or of some."""
        with translated(self.root, self._path(keys[0]), UPLOADING):
            require_root(self.root)
            return {upload_id for file, upload_id in uploads_in(iter(self._hidden_files())) if self.key(file) in keys}

    def idle_uploads(self, key: str, older_than: timedelta, now: datetime) -> list[str]:
        """Return the ids of the incomplete uploads of one object that have not grown for so long."""
        with translated(self.root, self._path(key), REQUEST):
            require_root(self.root)
            idle = [name for name, at in self._hidden_files().items() if at < (now - older_than).timestamp()]
            return [upload_id for file, upload_id in uploads_in(iter(idle)) if self.key(file) == key]

    def list_uploads(self, older_than: timedelta, now: datetime) -> list[tuple[str, str]]:
        """List the uploads that have not grown for that long, as (key, upload id); remove what else is left of writes."""
        with translated(self.root, self.root / self.folder, REQUEST):
            require_root(self.root)
            stale = [name for name, at in self._hidden_files().items() if at < (now - older_than).timestamp()]
            for name in stale:
                # A part that waited for another one, or a document: nobody has known its name since its run ended.
                if not name.endswith((UPLOAD, MADE)):
                    with contextlib.suppress(FileNotFoundError):
                        (self._hidden_folder / name).unlink()
        return [(self.key(file), upload_id) for file, upload_id in uploads_in(iter(stale))]

    def _known(self, key: str, upload_id: str) -> GrowingFile:
        if upload_id not in self.growing:
            raise ObjectMissing(f"{self._path(key)}: there is no such upload")
        return self.growing[upload_id]

    # Where things are

    def _path(self, key: str) -> Path:
        return path_in(self.root, key)

    @property
    def _hidden_folder(self) -> Path:
        return self.root / self.folder / HIDDEN

    def _hidden(self, key: str, rest: str) -> Path:
        return self._hidden_folder / hidden_file(key, self.folder, rest)

    def _upload(self, key: str, upload_id: str) -> Path:
        return self._hidden(key, f".{Path(upload_id).name}{UPLOAD}")

    def _hidden_files(self) -> dict[str, float]:
        """Return the names of the hidden files, and when each was last written to."""
        found = dict[str, float]()
        with contextlib.suppress(FileNotFoundError), os.scandir(self._hidden_folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    found[entry.name] = entry.stat(follow_symlinks=False).st_mtime
        return found

    def _make_room(self, key: str) -> None:
        """Create the folders for a key and for hidden files, but never the root."""
        require_root(self.root)
        make_folders(self.root, key.split("/")[:-1])
        make_folders(self.root, [*filter(None, self.folder.split("/")), HIDDEN])

    def _mark(self, key: str, size_bytes: int) -> None:
        """Note that an object of this size is ours: file systems keep no other mark reliably."""
        with open(self._hidden(key, MADE), "w", opener=private) as mark:
            mark.write(str(size_bytes))

    def _is_ours(self, key: str, size_bytes: int) -> bool:
        with contextlib.suppress(OSError), self._hidden(key, MADE).open() as mark:
            return mark.read(32) == str(size_bytes)
        return False
