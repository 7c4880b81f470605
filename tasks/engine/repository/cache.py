"""Remember what documents in the bucket said, so that each is read once: the listing shows which of them changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from tasks.engine.repository.cache_file import CacheFile
from tasks.engine.repository.catalog import Backup

T = TypeVar("T")

# A fact about one backup takes a few hundred bytes, so this is enough for 10,000 backups and more.
CACHE_BYTES = 16 << 20
_FACT_BYTES = 16 << 10
_AT_ONCE = 16
_UNREADABLE = ""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of fact about backups: its type, and the version of the file that it is derived from."""

    name: str
    type: TypeAdapter[T]
    version: Callable[[Backup], str]

    def key(self, backup: Backup) -> str:
        """Return what identifies a fact; empty if the storage does not tell one version of the file from another."""
        version = self.version(backup)
        return f"{self.name} {backup.name} {version}" if version else ""


class FactCache:
    """Facts about the backups of one folder, encoded as JSON; the least recently used ones are forgotten first."""

    def __init__(self, file: CacheFile | None = None) -> None:
        self._file = file
        self._facts = file.load() if file else {}
        self._size_bytes = sum(len(key) + len(text) for key, text in self._facts.items())
        self._lock = Lock()

    def facts(
        self, kind: Kind[T], backups: Sequence[Backup], read: Callable[[Backup], T | None], at_once: int = _AT_ONCE
    ) -> dict[str, T]:
        """Return a fact about each backup by its name, read unless it is remembered; none about one that is unreadable."""
        known = {backup.name: self._recall(kind.key(backup)) for backup in backups}
        facts = {name: kind.type.validate_json(text) for name, text in known.items() if text}
        missing = [backup for backup in backups if known[backup.name] is None]
        with ThreadPoolExecutor(at_once, "facts") as pool:
            for backup, fact in zip(missing, pool.map(read, missing), strict=True):
                if fact is not None:
                    facts[backup.name] = fact
                self._remember(kind.key(backup), _UNREADABLE if fact is None else kind.type.dump_json(fact).decode())
        if missing:
            self._save()
        return facts

    def _save(self) -> None:
        """Save what was read; a document that is unreadable now gets another chance."""
        if self._file:
            with self._lock:
                self._file.save({key: text for key, text in self._facts.items() if text != _UNREADABLE})

    def _recall(self, key: str) -> str | None:
        with self._lock:
            text = self._facts.pop(key, None)
            if text is not None:
                self._facts[key] = text  # now the most recently used
            return text

    def _remember(self, key: str, text: str) -> None:
        if not key or len(text) > _FACT_BYTES:
            return
        with self._lock:
            self._forget(key)
            self._facts[key] = text
            self._size_bytes += len(key) + len(text)
            while self._size_bytes > CACHE_BYTES:
                self._forget(next(iter(self._facts)))

    def _forget(self, key: str) -> None:
        if (text := self._facts.pop(key, None)) is not None:
            self._size_bytes -= len(key) + len(text)
