"""Read a backup from one place, and go on in another that has the same one when the first fails in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from blocks.errors import ObjectMissing, StorageError
from tasks.engine.repository.store import Store

# What is said of a place that failed: its name, the name of the next, the bytes read so far, and the error.
Tell = Callable[[str, str, int, StorageError], None]


class _ContinuedStore:
    """The store of a place whose files are read from others, too; everything else is the first place's alone."""

    def __init__(self, stores: Mapping[str, Store], tell: Tell) -> None:
        self._places, self._tell = list(stores.items()), tell
        self._first = self._places[0][1]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # of a copy that has nothing yet
            raise AttributeError(name)
        return getattr(self._first, name)

    def open_range(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream an object; after an error, the next place gives the rest of it, from the byte where the last one ended."""
        position, end = start, None if length is None else start + length
        for _ in range(len(self._places)):
            try:
                for chunk in self._now.open_range(self._key(key), position, None if end is None else end - position):
                    position += len(chunk)
                    yield chunk
            except StorageError as error:
                self._next(position, error)
            else:
                return

    def get(self, key: str, limit_bytes: int = 64 << 20) -> bytes:
        """Return a whole small object. That it is missing is said by whichever place answers first."""
        for _ in self._places[1:]:
            try:
                return self._now.get(self._key(key), limit_bytes)
            except ObjectMissing:
                raise
            except StorageError as error:
                self._next(0, error)
        return self._now.get(self._key(key), limit_bytes)

    @property
    def _now(self) -> Store:
        return self._places[0][1]

    def _key(self, key: str) -> str:
        return self._now.key(key.removeprefix(self._first.key("")))

    def _next(self, position: int, error: StorageError) -> None:
        """Turn to the next place for good; raise the error if each has had its turn."""
        (failed, _), *others = self._places
        if not others:
            raise error
        self._tell(failed, others[0][0], position, error)
        self._places = others


def continued(stores: Mapping[str, Store], tell: Tell) -> Store:
    """Return the first of these stores; what is read of it comes from the others once it fails.

    Only the backup that they are known to share may be read through it.
    """
    return cast("Store", _ContinuedStore(stores, tell)) if len(stores) > 1 else next(iter(stores.values()))
