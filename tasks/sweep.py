"""Clear away uploads that killed runs left in the bucket: they are invisible, but cost money."""

from __future__ import annotations

from blocks.errors import StorageError
from tasks.clock import utc_now
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.sets import Sets
from tasks.orchestration import get_run_logger, task
from tasks.retries import ONCE


@task("sweep stale uploads", ONCE)
def sweep_stale_uploads(place: Repository | Sets) -> int:
    """Abort uploads that killed runs left unfinished a day ago or earlier; returns how many.

    Only warn if the storage denies the request, fails, or does not support it: stale parts cost money, but must never
    cost a backup.
    """
    swept = 0
    try:
        for _ in place.sweep(utc_now()):
            swept += 1
    except StorageError as error:
        get_run_logger().warning("Could not look for stale uploads: %s", error.sentence)
    if swept:
        get_run_logger().info("Aborted %d stale uploads", swept)
    return swept
