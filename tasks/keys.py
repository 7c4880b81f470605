"""Open a plan's repository with its keys, find the key of a backup, and keep names out of what a run leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import ConfigurationError, PgRoundtripError, SetIncomplete, StorageError
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.key_at_hand import require_key
from tasks.engine.repository.of_plan import repository_of
from tasks.engine.repository.repository import Repository
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK

__all__ = ["find_key", "repository_of", "veiling"]
# Their words are about the configuration, the storage and keys, and never quote a database.
_OPEN = (ConfigurationError, StorageError, SetIncomplete)


@task("find the key", QUICK)
def find_key(repository: Repository, backup: Backup) -> None:
    """Raise KeyMissing unless a private key at hand opens a backup."""
    require_key(repository, backup)


@contextmanager
def veiling(*, encrypted: bool) -> Iterator[None]:
    """Log an error about an encrypted backup in full, and let what others store and send of it name nothing in the database."""
    try:
        yield
    except PgRoundtripError as error:
        if encrypted and not isinstance(error, _OPEN):
            if not error.logged:
                get_run_logger().error("%s", error)
                error.logged = True
            error.veil()
        raise
