"""Remove the roles and settings whose backup is gone, so that no removal that was interrupted leaves any for ever."""

from __future__ import annotations

from datetime import datetime

from tasks.engine.repository.names import COMPANIONS, MANIFEST, OBJECTS, taken_at
from tasks.engine.repository.repository import STALE_UPLOAD, Repository


def is_orphan(repository: Repository, name: str, now: datetime) -> bool:
    """Whether the companion of a backup that is gone can go, too; False if a closer look leaves any doubt of that.

    A listing can lag, so everything is asked for by name. Whoever copies a folder may not have come to the object yet, and
    a run may be writing it: a companion has to be a day old, by its name and by the storage, and made by us.
    """
    store, taken = repository.store, taken_at(name)
    found = [one for one in (store.stat(store.key(name + end)) for end in COMPANIONS) if one]
    if taken is None or not found or not all(one.ours for one in found):
        return False
    if now - max(taken, *(one.modified_at for one in found)) < STALE_UPLOAD:
        return False
    # First what may still become an object: it could become one between the two questions.
    return not store.uploads_of(*(store.key(name + end) for end in OBJECTS)) and not any(
        store.stat(store.key(name + end)) for end in (*OBJECTS, MANIFEST)
    )


def remove_orphan(repository: Repository, name: str, now: datetime) -> bool:
    """Delete the companion of a backup that is gone; return False if it has to stay."""
    if not is_orphan(repository, name, now):
        return False
    return all(repository.store.remove(repository.store.key(name + end)) for end in COMPANIONS)
