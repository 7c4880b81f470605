"""Tell a temporary folder in use from one that a killed process left: its owner keeps a file in it locked.

The lock ends with its owner, however that ends, so a free lock means that the owner is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

_LOCK = "lock"


def lock_folder(folder: Path) -> IO[bytes]:
    """Mark a new folder as in use for as long as the returned file is open."""
    lock = _open(folder, "new", os.O_WRONLY | os.O_CREAT)
    _take(lock)
    # Lock the file before giving it its name: a concurrent sweep must not find it free.
    (folder / "new").rename(folder / _LOCK)
    return lock


def left_folders(prefix: str, owners: Collection[int]) -> Iterator[Path]:
    """Yield the temporary folders whose owners are gone, each locked while it is looked at.

    Only folders of these users, with a lock of ours, are anyone's to remove.
    """
    for folder in sorted(Path(tempfile.gettempdir()).glob(prefix + "*")):
        with contextlib.suppress(OSError), _open(folder, _LOCK, os.O_RDONLY) as lock:
            ours = folder.lstat().st_uid in owners and os.fstat(lock.fileno()).st_uid == os.geteuid()
            if ours and not folder.is_symlink() and _take(lock):
                yield folder


def remove_folder(folder: Path) -> None:
    """Remove a folder, its lock last: what cannot be removed now is swept later."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)
        if [path.name for path in folder.iterdir()] in ([], [_LOCK]):
            shutil.rmtree(folder, ignore_errors=True)


def _open(folder: Path, name: str, flags: int) -> IO[bytes]:
    return os.fdopen(os.open(folder / name, flags | os.O_NOFOLLOW, mode=0o600), "wb" if flags & os.O_WRONLY else "rb")


def _take(lock: IO[bytes]) -> bool:
    """Lock a file unless it is locked already."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
