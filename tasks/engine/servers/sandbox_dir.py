"""Hold a private folder for a throwaway server, and sweep folders whose owners were killed.

An owner keeps its folder's lock file locked for as long as it lives, so a free lock means that the owner died.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tasks.engine.process import User
from tasks.engine.servers.orphans import clear_after_server

_PREFIX = "pg-roundtrip-server-"
_LOCK = "lock"


def sweep_folders(user: User | None) -> list[str]:
    """Remove folders whose owners were killed, and kill what still runs in them; return their names.

    Only touch a folder with a lock of ours that belongs to us or to the user that servers run as.
    """
    swept = []
    owners = {os.geteuid(), user.uid if user else os.geteuid()}
    for folder in sorted(Path(tempfile.gettempdir()).glob(_PREFIX + "*")):
        with contextlib.suppress(OSError), _open_lock(folder, _LOCK, os.O_RDONLY) as lock:
            ours = folder.lstat().st_uid in owners and os.fstat(lock.fileno()).st_uid == os.geteuid()
            if ours and not folder.is_symlink() and _take(lock):
                _remove(folder)
                swept.append(folder.name)
    return swept


@contextmanager
def own_folder(user: User | None) -> Iterator[Path]:
    """Create a folder that is locked while the context lasts and gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    folder.chmod(0o700)  # whatever the umask
    try:
        lock = _open_lock(folder, "new", os.O_WRONLY | os.O_CREAT)
        with lock:
            _take(lock)
            # Lock the file before giving it its name: a concurrent sweep must not find it free.
            (folder / "new").rename(folder / _LOCK)
            if user:
                os.chown(folder, user.uid, user.gid)
            yield folder
    finally:
        _remove(folder)


def _open_lock(folder: Path, name: str, flags: int) -> IO[bytes]:
    return os.fdopen(os.open(folder / name, flags | os.O_NOFOLLOW, mode=0o600), "wb" if flags & os.O_WRONLY else "rb")


def _take(lock: IO[bytes]) -> bool:
    """Lock a file unless it is locked already; the lock ends with the process, however that ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    """Remove a folder and kill what runs in it. Remove the lock last: what cannot be removed now is swept later."""
    clear_after_server(folder)
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)
        if [path.name for path in folder.iterdir()] in ([], [_LOCK]):
            shutil.rmtree(folder, ignore_errors=True)
