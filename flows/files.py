"""Write the files that commands are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.errors import ConfigurationError, Problem


def write_private(path: Path, text: str) -> None:
    """Write a private key to a file that was not there: an overwritten one could not be made again."""
    with writable(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Say which file cannot be written."""
    try:
        yield
    except OSError as error:
        problem = Problem(f"{path} cannot be written [{error.strerror}]", "give another file")
        raise ConfigurationError([problem]) from None
