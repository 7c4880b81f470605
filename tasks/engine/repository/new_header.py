"""Give a stored backup a header for other keys; its payload is not touched, and mostly not even sent again.

The object is replaced at one moment: until then the old one is there, whole, and from then on the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blocks.config.age_keys import Recipient
from blocks.errors import UPLOAD, BackupDamaged, StorageError
from blocks.s3.providers import part_size_bytes
from tasks.engine.age.files import PREFIX_BYTES, rewrapped
from tasks.engine.age.identities import Identity
from tasks.engine.repository.store import Store

_CHANGED = "another process changed it; find out which, then run it again"


@dataclass(frozen=True)
class NewHeader:
    """A header, where the object goes on behind its own, and the digests and sizes of the old and the new object."""

    ahead: bytes
    goes_on: int
    old_sha256: str
    old_bytes: int
    sha256: str

    @property
    def size_bytes(self) -> int:
        """The size of the new object."""
        return len(self.ahead) + self.old_bytes - self.goes_on


def new_header(store: Store, key: str, identities: Sequence[Identity], recipients: Sequence[Recipient]) -> NewHeader:
    """Make the header, and read the whole object once for the digests; raises KeyMissing or EncryptionDamaged."""
    ahead, goes_on = rewrapped(b"".join(store.open_range(key, 0, PREFIX_BYTES)), identities, recipients)
    old, new, size, skip = hashlib.sha256(), hashlib.sha256(ahead), 0, goes_on
    for data in store.open_range(key):
        old.update(data)
        new.update(memoryview(data)[skip:])
        size, skip = size + len(data), max(0, skip - len(data))
    return NewHeader(ahead, goes_on, old.hexdigest(), size, new.hexdigest())


def put_in_place(store: Store, key: str, new: NewHeader) -> None:
    """Replace the object; raises StorageError, and leaves the old one, if what is there is not what was read."""
    part = part_size_bytes(store.provider, -(-new.size_bytes // 2))
    # A small object is sent whole: the storage copies no part of less than 5 MiB.
    if new.size_bytes <= part or not _replaced(store, key, new, part, by_copy=True):
        _replaced(store, key, new, part, by_copy=False)
    found = store.stat(key, UPLOAD)
    _insist(found is not None and found.size_bytes == new.size_bytes, key)
    _insist(b"".join(store.open_range(key, 0, len(new.ahead))) == new.ahead, key)


def _replaced(store: Store, key: str, new: NewHeader, part: int, *, by_copy: bool) -> bool:
    """Send the new object in parts; return False, and leave nothing, if the storage can't copy what stays the same."""
    etag = _etag(store, key) if by_copy else ""
    if by_copy and not etag:
        return False
    upload_id = store.begin_upload(key)
    try:
        tags = _copied(store, key, upload_id, new, part, etag) if by_copy else _sent(store, key, upload_id, new, part)
        if tags:
            store.replace_upload(key, upload_id, tags)
            return True
    except BaseException:
        store.abort_upload(key, upload_id)
        raise
    store.abort_upload(key, upload_id)
    return False


def _copied(store: Store, key: str, upload_id: str, new: NewHeader, part: int, etag: str) -> list[str]:
    """Send the header and what fills its part; let the storage copy the rest. Return no tags if it can't."""
    at = new.goes_on + part - len(new.ahead)
    first = new.ahead + b"".join(store.open_range(key, new.goes_on, at - new.goes_on))
    tags = [store.put_part(key, upload_id, 1, first)]
    while at < new.old_bytes and tags[-1]:
        end = min(at + part, new.old_bytes)
        tags.append(store.copy_part(key, upload_id, len(tags) + 1, (at, end), etag))
        at = end
    return tags if tags[-1] else []


def _sent(store: Store, key: str, upload_id: str, new: NewHeader, part: int) -> list[str]:
    """Send all of it, and see before it becomes visible that it is what was read."""
    sent, tags = hashlib.sha256(), list[str]()
    for data in _pieces(store, key, new, part):
        sent.update(data)
        tags.append(store.put_part(key, upload_id, len(tags) + 1, data))
    _insist(sent.hexdigest() == new.sha256, key)
    return tags


def _pieces(store: Store, key: str, new: NewHeader, part: int) -> Iterator[bytes]:
    held = bytearray(new.ahead)
    for data in store.open_range(key, new.goes_on):
        held += data
        while len(held) >= part:
            yield bytes(held[:part])
            del held[:part]
    if held:
        yield bytes(held)


def _etag(store: Store, key: str) -> str:
    """Return what tells this object from one that replaces it; only listings have it everywhere."""
    name = key.removeprefix(store.key(""))
    return next((found.etag for found in store.list_objects(UPLOAD, name) if found.key == key), "")


def _insist(holds: bool, key: str) -> None:
    if not holds:
        raise StorageError(f"{key} is not what was read or written", during=UPLOAD, hint=_CHANGED)


def require_sound(new: NewHeader, sha256: str, key: str) -> None:
    """Refuse to go on with an object that is not what its manifest says; raises BackupDamaged."""
    if new.old_sha256 != sha256:
        raise BackupDamaged(f"{key} is not what its manifest says, so it keeps its keys")
