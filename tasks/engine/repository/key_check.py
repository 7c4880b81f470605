"""Find out which kept backups the keys at hand open: only the first bytes of each are read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from blocks.errors import EncryptionDamaged, ObjectMissing
from tasks.engine.age.files import PREFIX_BYTES, opened_by
from tasks.engine.age.header import ends
from tasks.engine.age.identities import Identity
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted
from tasks.engine.repository.repository import Repository

ENCRYPTED = ".age"
# The newest, the oldest, and so many between them.
SAMPLE = 12
_FIRST_BYTES = 4096  # holds the header of a few recipients
_AT_ONCE = 8
_NAMED = 5


@dataclass(frozen=True)
class Opened:
    """What became of one backup: the fingerprint of the key that opens it, or else why none does."""

    backup: str
    key: str = ""
    problem: str = ""


@dataclass(frozen=True)
class KeyCheck:
    """What a check found; `encrypted` and `plain` count all kept backups, also those that were not in the sample.

    `at_hand` are the fingerprints of the keys that were tried.
    """

    opened: tuple[Opened, ...]
    encrypted: int
    plain: int
    at_hand: tuple[str, ...] = ()

    @property
    def locked(self) -> tuple[Opened, ...]:
        """Those that no key at hand opens."""
        return tuple(one for one in self.opened if not one.key)

    @property
    def sentence(self) -> str:
        """What was found, on one line."""
        if not self.encrypted:
            return f"None of {counted(self.plain, 'backup')} is encrypted"
        keys = list(dict.fromkeys(one.key for one in self.opened if one.key))
        which = f" with key {keys[0]}" if len(keys) == 1 else f" with {counted(len(keys), 'key')}" if keys else ""
        good, all_ = len(self.opened) - len(self.locked), len(self.opened)
        of = f", a sample of {self.encrypted}" if all_ < self.encrypted else ""
        more = f"; {counted(self.plain, 'more backup')} not encrypted" if self.plain else ""
        return f"{good} of {counted(all_, 'backup')} can be opened{which}{of}{more}"

    @property
    def which(self) -> str:
        """Name those that can't be opened, and why not."""
        named = ", ".join(f"{one.backup} ({one.problem})" for one in self.locked[:_NAMED])
        return named + (f" and {len(self.locked) - _NAMED} more" if len(self.locked) > _NAMED else "")

    def document(self) -> dict[str, Any]:
        """What scripts get."""
        return {
            "good": not self.locked, "checked": len(self.opened), "encrypted": self.encrypted, "plain": self.plain,
            "keys": list(self.at_hand), "sentence": self.sentence,
            "backups": [{"backup": o.backup, "key": o.key or None, "problem": o.problem or None} for o in self.opened],
        }  # fmt: skip

    def __add__(self, other: KeyCheck) -> KeyCheck:
        """Put what was found of several databases together."""
        return KeyCheck(self.opened + other.opened, self.encrypted + other.encrypted, self.plain + other.plain)


def is_encrypted(backup: Backup) -> bool:
    """Whether a backup is encrypted: its object's name says so."""
    return backup.key.endswith(ENCRYPTED)


def sample_of(backups: Sequence[Backup], most: int = SAMPLE) -> list[Backup]:
    """Choose the newest, the oldest, and some between them at equal distances; `backups` are in order of age."""
    if len(backups) <= most:
        return list(backups)
    return [backups[number * (len(backups) - 1) // (most - 1)] for number in range(most)]


def check_keys(
    repository: Repository, backups: Sequence[Backup], identities: Sequence[Identity], *, every: bool = False, label: str = ""
) -> KeyCheck:  # fmt: skip
    """Try the keys on a sample of the encrypted backups, or on every one. `label` goes before each backup's name."""
    encrypted = [backup for backup in backups if is_encrypted(backup)]
    chosen = encrypted if every else sample_of(encrypted)
    with ThreadPoolExecutor(_AT_ONCE, "keys") as pool:
        found = pool.map(lambda backup: _tried(repository, backup, identities, label), chosen)
        opened = tuple(one for one in found if one)
    return KeyCheck(opened, len(encrypted) - (len(chosen) - len(opened)), len(backups) - len(encrypted))


def _tried(repository: Repository, backup: Backup, identities: Sequence[Identity], label: str) -> Opened | None:
    try:
        key = opened_by(read_prefix(repository, backup), identities)
    except ObjectMissing:
        return None  # removed since the listing
    except EncryptionDamaged as error:
        return Opened(label + backup.name, problem=error.context)
    return Opened(label + backup.name, key.fingerprint) if key else Opened(label + backup.name, problem="other keys")


def read_prefix(repository: Repository, backup: Backup) -> bytes:
    """Read as much of an encrypted backup as opens it: mostly one small request."""
    data = b"".join(repository.read(backup, 0, _FIRST_BYTES))
    if len(data) == _FIRST_BYTES and not ends(data[:-32]):
        data += b"".join(repository.read(backup, _FIRST_BYTES, PREFIX_BYTES - _FIRST_BYTES))
    return data
