"""Translate what the system says about a disk into our own errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.errors import FolderDenied, FolderFailed, FolderFull, FolderMissing, ObjectMissing, Operation, StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
ABSENT = (errno.ENOENT, errno.ENOTDIR)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
# The name itself is unusable, so a retry cannot help.
_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.EXDEV)


@contextmanager
def translated(root: Path, path: Path, during: Operation) -> Iterator[None]:
    """Translate the errors of one operation; what is absent is a vanished disk if the root is absent, too."""
    try:
        yield
    except OSError as error:
        raise _translate(error, root, path, during) from None


def require_root(root: Path) -> None:
    """Raise FolderMissing if the root of the store is not there: it is never created, because a disk may not be mounted."""
    if not root.is_dir():
        raise FolderMissing(str(root))


def _translate(error: OSError, root: Path, path: Path, during: Operation) -> StorageError:
    said = f"{path}: {error.strerror or type(error).__name__}"
    if error.errno in ABSENT:
        return ObjectMissing(str(path)) if root.is_dir() else FolderMissing(str(root))
    if error.errno in FULL:
        return FolderFull(said)
    if error.errno in _DENIED:
        return FolderDenied(said)
    if error.errno in _NAME:
        hint = "something else is in the place of this file or folder; look at it, and move it away"
        return StorageError(said, during=during, hint=hint)
    return FolderFailed(said)
