"""The one door to signatures: Ed25519 keys, as OpenSSL reads and writes them."""

# ruff: noqa: PLC0415  (few commands sign anything, and the library takes a while to load)

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blocks.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


@dataclass(frozen=True)
class PublicKey:
    """A key that checks signatures; its fingerprint is the SHA-256 of its DER."""

    fingerprint: str
    pem: str
    _key: Ed25519PublicKey = field(repr=False, compare=False)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether the private key of this one signed the data."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key, which nothing shows."""

    public: PublicKey
    _key: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, data: bytes) -> bytes:
        """Return the signature: 64 bytes."""
        return self._key.sign(data)


def signer_of(der: bytes) -> Signer:
    """Load a private key; raises ValueError if it is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    key = load_der_private_key(der, None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 private key")  # noqa: TRY004  (it is a value that a user gave)
    return Signer(_public(key.public_key()), key)


def public_keys_in(pem: bytes, source: str) -> list[PublicKey]:
    """Load the public keys in a PEM file; raises ConfigurationError if there is anything else in it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    end = b"-----END PUBLIC KEY-----"
    found = []
    try:
        for part in pem.split(end)[:-1]:
            key = load_pem_public_key(part + end)
            if isinstance(key, Ed25519PublicKey):
                found.append(_public(key))
    except ValueError:
        found = []
    if not found:
        raise ConfigurationError([Problem(f"There is no Ed25519 public key in {source}", "give the file with the PUBLIC KEY block that `pg-roundtrip evidence key` printed")])  # fmt: skip
    return found


def new_key() -> tuple[str, PublicKey]:
    """Make a private key, in PEM, and its public key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode(), _public(key.public_key())


def _public(key: Ed25519PublicKey) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(der).hexdigest(), pem.decode(), key)
