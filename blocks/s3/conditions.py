"""Remember on this machine which storages refuse to overwrite: a check finds out by trying, and a backup relies on it."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from blocks.config.environment import cache_folder

_HONOURED, _IGNORED = b"If-None-Match is honoured\n", b"If-None-Match is ignored\n"


def known(endpoint: str, bucket: str) -> bool | None:
    """Whether a check found that the storage honours `If-None-Match: *`; None if none was made here."""
    place, said = _place(endpoint, bucket), b""
    if place:
        with contextlib.suppress(OSError), place.open("rb") as file:
            said = file.read(len(_HONOURED) + 1)
    return {_HONOURED: True, _IGNORED: False}.get(said)


def remember(endpoint: str, bucket: str, *, honoured: bool) -> None:
    """Remember what a check found, if this machine has a place for caches: it only saves a request, or closes a gap."""
    if place := _place(endpoint, bucket):
        with contextlib.suppress(OSError):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.write_bytes(_HONOURED if honoured else _IGNORED)


def _place(endpoint: str, bucket: str) -> Path | None:
    folder = cache_folder()
    name = hashlib.sha256(f"{endpoint} {bucket}".encode()).hexdigest()[:32]
    return folder / f"if-none-match-{name}" if folder else None
