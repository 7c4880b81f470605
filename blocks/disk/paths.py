"""Turn keys into paths that stay within a root, whatever a name says and wherever a link leads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from blocks.errors import StorageError

# Where uploads grow, and what tells our objects from another tool's; never listed.
HIDDEN = ".pg-roundtrip"
UPLOAD, MADE, TEMPORARY = ".upload", ".made", ".put"
_NAME_BYTES = 255
_LINK = "name the folder that the link leads to, or mount that disk there"


def is_usable(name: str) -> bool:
    """Whether a file of this name can be one of ours: names that no key can have are left alone."""
    if name in ("", ".", "..", HIDDEN) or "\0" in name:
        return False
    try:
        return len(name.encode()) <= _NAME_BYTES
    except UnicodeEncodeError:
        return False


def path_in(root: Path, key: str) -> Path:
    """Return the path of a key; raises StorageError if it would be outside of the root."""
    parts = key.split("/")
    if not all(map(is_usable, parts)):
        hint = "a file's name has at most 255 bytes, and no part of it is empty, . or .."
        raise StorageError(f"{key!a:.300}: no file can have this name", hint=hint)
    path = root.joinpath(*parts)
    require_inside(root, path.parent)
    return path


def require_inside(root: Path, folder: Path) -> None:
    """Raise StorageError if a link on the way to a folder leads elsewhere; the root itself may be a link."""
    if folder.resolve() != root.resolve() / folder.relative_to(root):
        raise StorageError(f"{folder}: a link leads out of the folder", hint=_LINK)


def hidden_file(key: str, folder: str, rest: str) -> str:
    """Return the name of a hidden file that belongs to a key: its name in our folder, as a single name."""
    return quote(key.removeprefix(f"{folder}/" if folder else ""), safe="") + rest


def uploads_in(names: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield the file in our folder and the id of each upload among hidden files."""
    for name in names:
        file, _, upload_id = name.removesuffix(UPLOAD).rpartition(".")
        if name.endswith(UPLOAD) and file and upload_id:
            yield unquote(file), upload_id
