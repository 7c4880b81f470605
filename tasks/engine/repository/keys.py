"""The keys of a repository: public ones for what is written to it, private ones for what is read.

Cryptography is loaded only where something is encrypted or decrypted.
"""

# ruff: noqa: PLC0415  (the library takes a while to load, and most backups are plain)

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from blocks.config.age_identity import has_identity, identity_text
from blocks.config.age_keys import Recipient
from blocks.config.encryption import Encryption
from blocks.errors import ConfigurationError, KeyMissing, Problem

if TYPE_CHECKING:
    from tasks.engine.age.identities import Identity
    from tasks.engine.age.payload import Encryptor

_NAMED = 8
_NONE_HERE = (
    "set AGE_IDENTITY_FILE to a file with the private key of one of its recipients, where drills and restores run"
)


@dataclass(frozen=True)
class Keys:
    """Whom what is written is encrypted to. Private keys are in the environment of whoever reads."""

    encryption: Encryption = field(default_factory=Encryption)

    @property
    def encrypts(self) -> bool:
        """Whether what is written is encrypted."""
        return bool(self.encryption)

    @property
    def at_hand(self) -> bool:
        """Whether there is any private key here, whatever it opens."""
        return has_identity()

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The public keys; raises ConfigurationError."""
        return self.encryption.recipients

    def stage(self) -> Encryptor | None:
        """Return the stage that encrypts an object; None if objects are plain. Raises ConfigurationError."""
        if not self.encrypts:
            return None
        from tasks.engine.age.files import encryptor

        return encryptor(self.recipients)

    def sealed(self, data: bytes, recipients: Sequence[Recipient] = ()) -> bytes:
        """Encrypt something small, to these recipients or else to the repository's."""
        from tasks.engine.age.files import encrypt

        return encrypt(data, recipients or self.recipients)

    def opened(self, data: bytes, limit_bytes: int) -> bytes:
        """Decrypt something small; raises KeyMissing, or BackupDamaged."""
        from tasks.engine.age.files import decrypt

        return decrypt(data, self.identities(), limit_bytes)

    def decrypted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Decrypt an object as it flows; raises KeyMissing, or EncryptionDamaged before anything wrong is yielded."""
        from tasks.engine.age.files import decrypting

        return decrypting(chunks, self.identities())

    def identities(self) -> Sequence[Identity]:
        """Return the private keys at hand; raises KeyMissing if there is none, ConfigurationError if it is unusable."""
        if not self.at_hand:
            raise KeyMissing("no private key is set here", hint=_NONE_HERE)
        text, variable = identity_text()
        try:
            return _parsed(text)
        except ValueError as error:
            raise ConfigurationError([Problem(f"{variable} has no usable private key [{error}]", _NONE_HERE)]) from None

    def require_one_of(self, fingerprints: Iterable[str]) -> None:
        """Raise KeyMissing unless a private key at hand is one of those that open a backup."""
        wanted = tuple(fingerprints)
        here = {identity.fingerprint for identity in self.identities()}
        if wanted and here.isdisjoint(wanted):
            more = f" and {len(wanted) - _NAMED} more" if len(wanted) > _NAMED else ""
            raise KeyMissing(
                f"it is encrypted to {', '.join(wanted[:_NAMED])}{more}; here is {', '.join(sorted(here))}"
            )


@lru_cache(4)
def _parsed(text: str) -> Sequence[Identity]:
    from tasks.engine.age.identities import identities_in

    return tuple(identities_in(text.replace("\\n", "\n")))
