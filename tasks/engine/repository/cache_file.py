"""Keep facts between commands in a file that nobody can forge who could not delete the backups anyway."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blocks.config.environment import cache_folder
from tasks.engine.repository.store import Store
from tasks.engine.wording import tool_version

# More than a cache holds, because JSON escapes what is not ASCII.
_FILE_BYTES = 64 << 20
_SEAL_BYTES = hashlib.sha256().digest_size
# A pipe in the file's place must not block a command, nor a link lead it elsewhere.
_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class CacheFile:
    """A file of facts under a seal: retention relies on them, so a file that was changed or damaged counts as empty.

    The seal covers the folder and the version of pg-roundtrip, which decides what facts mean. The file only saves time,
    so no error in reading or writing it matters.
    """

    path: Path
    key: bytes = field(repr=False)

    def load(self) -> dict[str, str]:
        """Return the facts; none if the file is missing, unreadable or not sealed by us."""
        with contextlib.suppress(OSError, ValueError):
            with os.fdopen(os.open(self.path, os.O_RDONLY | _CAREFULLY), "rb") as file:
                data = file.read(_FILE_BYTES)
            seal, facts = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
            if hmac.compare_digest(seal, self._seal(facts)):
                return dict(json.loads(facts))
        return {}

    def save(self, facts: Mapping[str, str]) -> None:
        """Replace the file, if its place is writable."""
        data, new = json.dumps(facts).encode(), self.path.with_suffix(".new")
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # One name for all: two commands may spoil it for each other, which the seal shows, and a kill leaves one.
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _CAREFULLY, 0o600), "wb") as file:
                file.write(self._seal(data) + data)
            new.replace(self.path)

    def _seal(self, facts: bytes) -> bytes:
        return hmac.digest(self.key, f"{self.path.name} {tool_version()} ".encode() + facts, "sha256")


def cache_file_of(store: Store) -> CacheFile | None:
    """Return the file for a folder; None if this machine has no place for caches, or the storage's keys are unknown."""
    folder, key = cache_folder(), store.seal_key
    if folder is None or not key:
        return None
    return CacheFile(folder / hashlib.sha256(f"{store.endpoint} {store.address}".encode()).hexdigest()[:32], key)
