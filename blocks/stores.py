"""Choose what keeps backups: a bucket, or a folder on a disk. Nothing else asks which of the two it is."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath

from pydantic import SecretStr

from blocks.disk.folder_store import FolderStore
from blocks.disk.listing import folders_in
from blocks.s3.client import ObjectStore
from blocks.s3.folders import MOST_FOLDERS
from blocks.s3.folders import folders_beside as _in_the_bucket
from blocks.s3.providers import ProviderKey
from blocks.s3.rules import Rules, ask_rules
from blocks.s3.terms import Credentials, Terms

Storage = ObjectStore | FolderStore
FILE = "file:"


def is_folder(address: str) -> bool:
    """Whether an address is that of a folder on a disk."""
    return address.startswith(FILE)


def storage_at(  # noqa: PLR0913  (by name only)
    *, endpoint: str, prefix: str, bucket: str = "", key_id: str = "", secret: SecretStr | None = None,
    token: SecretStr | None = None, region: str | None = None, provider: ProviderKey | None = None,
    credentials: Credentials = "keys", terms: Terms | None = None,
) -> Storage:  # fmt: skip
    """Return the storage at an address: `file:///mnt/backups` is a folder, which needs no bucket and no keys."""
    if is_folder(endpoint):
        return FolderStore.at(endpoint, prefix)
    return ObjectStore.at(
        endpoint=endpoint, bucket=bucket, prefix=prefix, key_id=key_id, secret=secret or SecretStr(""), token=token,
        region=region, provider=provider, credentials=credentials, terms=terms,
    )  # fmt: skip


def removes(storage: Storage) -> bool:
    """Whether old backups are removed by us, and not by a lifecycle rule."""
    return storage.terms.removes if isinstance(storage, ObjectStore) else True


def rules_of(storage: Storage) -> Rules | None:
    """Ask a bucket for its own rules about what is in it; None if it is no bucket."""
    return ask_rules(storage) if isinstance(storage, ObjectStore) else None


def whereabouts(storage: Storage) -> str:
    """Return the whole address of a storage, for people."""
    if isinstance(storage, FolderStore):
        return FolderStore.at(storage.address).endpoint
    return f"{storage.endpoint} {storage.address}"


def overlap(one: Storage, other: Storage) -> bool:
    """Whether two storages are the same folder, however it is written, or one is within the other."""
    (place, path), (other_place, other_path) = _identity(one), _identity(other)
    return place == other_place and (path.is_relative_to(other_path) or other_path.is_relative_to(path))


def _identity(storage: Storage) -> tuple[tuple[str, str], PurePath]:
    if isinstance(storage, FolderStore):
        return (FILE, ""), (storage.root / storage.folder).resolve()
    return (storage.endpoint.lower().rstrip("/"), storage.bucket), PurePosixPath(storage.folder.strip("/"))


def folders_beside(store: Storage, beginning: str, *, inside: bool = False) -> list[Storage]:
    """Return the folders beside ours, or those in it, that hold an object whose name begins so; raises StorageError.

    Only the first MOST_FOLDERS are looked at.
    """
    if isinstance(store, ObjectStore):
        return list(_in_the_bucket(store, beginning, inside=inside))
    above = store.folder if inside else store.folder.rpartition("/")[0]
    others = [FolderStore(store.root, key) for key in folders_in(store.root, above) if key != store.folder]
    return [other for other in others[:MOST_FOLDERS] if _holds(other, beginning)]


def _holds(store: FolderStore, beginning: str) -> bool:
    return next(store.list_objects(beginning=beginning), None) is not None
