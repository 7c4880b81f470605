"""The one door to the cryptography of encrypted backups: what age v1 is made of, from a library."""

# ruff: noqa: PLC0415  (few commands encrypt anything, and the library takes a while to load)

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.padding import OAEP as _OAEP
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEY_BYTES, TAG_BYTES = 32, 16
_NO_NONCE = bytes(12)
_PRIME = 2**255 - 19


class Refused(ValueError):
    """Something encrypted or signed is not what was written, or was written for another key."""


def random_bytes(size: int) -> bytes:
    """Return bytes that nobody can guess."""
    return secrets.token_bytes(size)


def derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """Derive a key of 32 bytes: HKDF with SHA-256 (RFC 5869)."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def mac(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-256."""
    return hmac.digest(key, data, "sha256")


def same(one: bytes, other: bytes) -> bool:
    """Compare without telling by the time it takes where they differ."""
    return hmac.compare_digest(one, other)


def cipher(key: bytes) -> ChaCha20Poly1305:
    """Return the cipher with this key."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key)


def opened(sealed: ChaCha20Poly1305, nonce: bytes, data: bytes) -> bytes:
    """Decrypt; raises Refused unless every bit is as it was written with this key and nonce."""
    from cryptography.exceptions import InvalidTag

    try:
        return sealed.decrypt(nonce, data, None)
    except InvalidTag:
        raise Refused("not authentic") from None


def wrapped(key: bytes, file_key: bytes) -> bytes:
    """Encrypt a file's key under a key that is used once, so that its nonce can be zero."""
    return cipher(key).encrypt(_NO_NONCE, file_key, None)


def unwrapped(key: bytes, body: bytes) -> bytes:
    """Undo `wrapped`; raises Refused."""
    return opened(cipher(key), _NO_NONCE, body)


def x25519(secret: bytes, point: bytes) -> bytes:
    """Return the shared secret; raises Refused for points of small order, which would make it zero."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:
        raise Refused("a point of small order") from None


def x25519_public(secret: bytes) -> bytes:
    """Return the public key of a private one."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def x25519_of_ed25519(public: bytes) -> bytes:
    """Return the point that encrypts to an Ed25519 public key: u = (1 + y) / (1 - y); raises Refused for y = 1."""
    y = (int.from_bytes(public, "little") & ((1 << 255) - 1)) % _PRIME
    if y == 1:
        raise Refused("a point of small order")
    return ((1 + y) * pow(1 - y, -1, _PRIME) % _PRIME).to_bytes(32, "little")


def x25519_secret_of_ed25519(seed: bytes) -> bytes:
    """Return the secret that decrypts what is encrypted to an Ed25519 key (RFC 8032, 5.1.5)."""
    return hashlib.sha512(seed).digest()[:32]


def rsa_wrapped(ssh_line: str, file_key: bytes, label: bytes) -> bytes:
    """Encrypt to an ssh-rsa key with OAEP; raises Refused if the library takes it for no key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        key = load_ssh_public_key(ssh_line.encode())
        assert isinstance(key, RSAPublicKey)
        return key.encrypt(file_key, _oaep(label))
    except (ValueError, UnsupportedAlgorithm):
        raise Refused("not an RSA key that can encrypt") from None


def rsa_unwrapped(key: RSAPrivateKey, body: bytes, label: bytes) -> bytes:
    """Undo `rsa_wrapped`; raises Refused."""
    try:
        return key.decrypt(body, _oaep(label))
    except ValueError:
        raise Refused("not authentic") from None


def _oaep(label: bytes) -> _OAEP:
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA256

    return OAEP(MGF1(SHA256()), SHA256(), label)
