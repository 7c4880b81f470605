"""Write files so that each is there whole or not at all, also after a power cut, and never follow a link out of a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import IO

READ_BYTES = 1 << 20
# Nobody but the user that makes the backups can read them.
_FILE_MODE, _FOLDER_MODE = 0o600, 0o700
# File systems without hard links: FAT, and some that are reached over a network.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
# Those that cannot flush a folder need not.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


def private(path: str, flags: int) -> int:
    """Open a file that only its owner can read, for `open`."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)


def create(path: Path) -> None:
    """Create an empty file that nobody else has; raises FileExistsError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE))


def write_new(path: Path, body: bytes | IO[bytes]) -> int:
    """Write a file that was not there, and flush it; return its size."""
    create(path)
    return append(path, body, flush=True)


def append(path: Path, body: bytes | IO[bytes], *, flush: bool = False) -> int:
    """Append bytes, or the rest of a file, and return how many; if that fails, the file is as long as before."""
    target = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        before = os.fstat(target).st_size
        try:
            written = _write(target, body)
            if flush:
                os.fsync(target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(target, before)
            raise
    finally:
        os.close(target)
    return written


def _write(target: int, body: bytes | IO[bytes]) -> int:
    written = 0
    while piece := body[written : written + READ_BYTES] if isinstance(body, bytes) else body.read(READ_BYTES):
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]
        written += len(piece)
    return written


def flush(path: Path) -> None:
    """Wait until a file is on the disk."""
    opened = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def flush_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(opened)


def publish(temporary: Path, path: Path) -> None:
    """Give a flushed file its name, replacing what had it."""
    temporary.replace(path)
    flush_folder(path.parent)


def publish_new(temporary: Path, path: Path) -> bool:
    """Give a flushed file its name; return False, and leave it, if something has that name."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        # NFS sends a request again if the answer was lost, and the second answer is that the file exists.
        if not temporary.samefile(path):
            return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            return False
        temporary.replace(path)
    temporary.unlink(missing_ok=True)
    flush_folder(path.parent)
    return True


def make_folders(root: Path, names: list[str]) -> None:
    """Create folders within a root, which is never created."""
    path = root
    for name in names:
        above, path = path, path / name
        try:
            path.mkdir(_FOLDER_MODE)
        except FileExistsError:
            continue
        flush_folder(above)


def open_file(path: Path) -> int:
    """Open a regular file for reading: never wait for a pipe, never follow a link."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return opened
