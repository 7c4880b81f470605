"""Look at a name, as far as the keys may: those that may only write can't tell whether it is taken."""

from __future__ import annotations

from blocks.errors import UPLOAD, StorageDenied
from tasks.engine.repository.store import Store


def is_taken(store: Store, key: str) -> bool:
    """Whether an object has the name; False for keys that may not look.

    Then only the storage can prevent that an object is replaced, and does where it honours If-None-Match.
    """
    try:
        return store.stat(key, UPLOAD) is not None
    except StorageDenied:
        return False
