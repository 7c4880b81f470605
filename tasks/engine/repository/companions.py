"""Remove the roles and settings whose backup is gone, so that no removal that was interrupted leaves any for ever."""

from __future__ import annotations

from datetime import datetime

from tasks.engine.repository.names import GLOBALS, MANIFEST, OBJECT, taken_at
from tasks.engine.repository.repository import STALE_UPLOAD, Repository


def is_orphan(repository: Repository, name: str, now: datetime) -> bool:
    """Whether the companion of a backup that is gone can go, too; False if a closer look leaves any doubt of that.

    A listing can lag, so everything is asked for by name. Whoever copies a folder may not have come to the object yet, and
    a run may be writing it: a companion has to be a day old, by its name and by the storage, and made by us.
    """
    store, taken = repository.store, taken_at(name)
    found = store.stat(store.key(name + GLOBALS))
    if taken is None or found is None or not found.ours or now - max(taken, found.modified_at) < STALE_UPLOAD:
        return False
    # First what may still become an object: it could become one between the two questions.
    return not store.uploads_of(repository.key(name)) and not any(
        store.stat(store.key(name + end)) for end in (OBJECT, MANIFEST)
    )


def remove_orphan(repository: Repository, name: str, now: datetime) -> bool:
    """Delete the companion of a backup that is gone; return False if it has to stay."""
    return is_orphan(repository, name, now) and repository.store.remove(repository.store.key(name + GLOBALS))
