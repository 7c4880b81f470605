"""Hold a private folder for a throwaway server, and sweep folders whose owners were killed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.engine.folder_lock import left_folders, lock_folder, remove_folder
from tasks.engine.process import User
from tasks.engine.servers.orphans import clear_after_server

_PREFIX = "pg-roundtrip-server-"


def sweep_folders(user: User | None) -> list[str]:
    """Remove folders whose owners were killed, and kill what still runs in them; return their names.

    They belong to us or to the user that servers run as.
    """
    swept = []
    for folder in left_folders(_PREFIX, {os.geteuid(), user.uid if user else os.geteuid()}):
        _remove(folder)
        swept.append(folder.name)
    return swept


@contextmanager
def own_folder(user: User | None) -> Iterator[Path]:
    """Create a folder that is locked while the context lasts and gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    folder.chmod(0o700)  # whatever the umask
    try:
        with lock_folder(folder):
            if user:
                os.chown(folder, user.uid, user.gid)
            yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    clear_after_server(folder)
    remove_folder(folder)
