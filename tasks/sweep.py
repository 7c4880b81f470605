"""Clear away uploads that killed runs left in the bucket: they are invisible, but cost money."""

from __future__ import annotations

from collections.abc import Collection

from blocks.errors import StorageError
from tasks.clock import utc_now
from tasks.engine.repository.destinations import Destinations
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.sets import Sets
from tasks.orchestration import get_run_logger, task
from tasks.retries import ONCE


def sweep_everywhere(there: Destinations, blind: Collection[str] = ()) -> dict[str, list[str]]:
    """Abort stale uploads in each place that is not known to be away; returns their keys by the place's name.

    Into `blind` ones the keys may not look.
    """
    return {name: sweep_stale_uploads(repository) for name, repository in there.there.items() if name not in blind}


@task("sweep stale uploads", ONCE)
def sweep_stale_uploads(place: Repository | Sets) -> list[str]:
    """Abort uploads that killed runs left unfinished a day ago or earlier; returns the keys that they were for.

    Only warn if the storage denies the request, fails, or does not support it: stale parts cost money, but must never
    cost a backup.
    """
    swept: list[str] = []
    try:
        for key in place.sweep(utc_now()):
            swept.append(key)  # noqa: PERF402  (what was aborted before an error counts)
    except StorageError as error:
        get_run_logger().warning("Could not look for stale uploads: %s", error.sentence)
    if swept:
        get_run_logger().info("Aborted %d stale uploads", len(swept))
    return swept
