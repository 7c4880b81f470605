"""List a folder as a bucket would be listed: in the order of whole keys, and only what can be an object."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from blocks.disk.paths import is_usable
from blocks.s3.client import StoredObject

# Our own layout is three folders deep, in a prefix that may be several more.
_DEEPEST = 32


def objects_in(root: Path, folder: str, beginning: str, deeper: int = _DEEPEST) -> Iterator[StoredObject]:
    """Yield the objects of a folder whose keys begin so; links, pipes and our hidden files are none."""
    for entry in _entries(root / folder):
        key = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            if deeper and (f"{key}/".startswith(beginning) or beginning.startswith(f"{key}/")):
                yield from objects_in(root, key, beginning, deeper - 1)
        elif key.startswith(beginning) and (found := _file(entry)):
            yield stored(key, found)


def folders_in(root: Path, folder: str) -> list[str]:
    """Return the keys of the folders in a folder."""
    found = [e.name for e in _entries(root / folder) if e.is_dir(follow_symlinks=False)]
    return [f"{folder}/{name}" if folder else name for name in found]


def stored(key: str, found: os.stat_result) -> StoredObject:
    """Describe a file as an object; the mark of its version changes whenever it is replaced or written to."""
    modified_at = datetime.fromtimestamp(found.st_mtime, UTC)
    return StoredObject(key, found.st_size, modified_at, etag=f'"{found.st_ino:x}-{found.st_mtime_ns:x}"')


def _entries(path: Path) -> list[os.DirEntry[str]]:
    """Return the entries in the order of keys, in which a folder's name ends with a slash; none if there is no folder."""
    try:
        with os.scandir(path) as found:
            usable = [entry for entry in found if is_usable(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(usable, key=lambda e: f"{e.name}/" if e.is_dir(follow_symlinks=False) else e.name)


def _file(entry: os.DirEntry[str]) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):  # removed since
        known = entry.stat(follow_symlinks=False)
        return known if stat.S_ISREG(known.st_mode) else None
    return None
