"""Private keys: read them as age and OpenSSH write them, and unwrap what is wrapped for them."""

# ruff: noqa: PLC0415  (few commands decrypt anything, and the library takes a while to load)

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blocks.config.age_keys import (
    SECRET_KEY,
    SSH_ED25519,
    SSH_RSA,
    X25519,
    Recipient,
    bech32_decoded,
    bech32_encoded,
    from_unpadded,
    lines_in,
    recipient_in,
    x25519_recipient,
)
from blocks.errors import EncryptionDamaged
from tasks.engine.age import primitives
from tasks.engine.age.header import Stanza
from tasks.engine.age.wrapping import FILE_KEY_BYTES, LABELS, tweaked

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAX_IDENTITIES = 64
_MAX_TEXT = 262144
_WRAPPED_BYTES = FILE_KEY_BYTES + primitives.TAG_BYTES
_NEEDS_TYPING = (
    "the private key is protected by a passphrase: nobody is there to type it when a drill is due, "
    "so keep a key without one in a file that only this user can read"
)


@dataclass(frozen=True)
class Identity:
    """A private key, which nothing shows, and the public one that belongs to it."""

    recipient: Recipient
    _secret: bytes = field(repr=False, compare=False, default=b"")
    _rsa: RSAPrivateKey | None = field(repr=False, compare=False, default=None)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the public key."""
        return self.recipient.fingerprint

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """Return the file's key, or None if it is wrapped for somebody else.

        Raises EncryptionDamaged for a stanza that nobody can have written for this kind of key.
        """
        if stanza.kind != self.recipient.kind:
            return None
        try:
            file_key = self._unwrapped(stanza)
        except primitives.Refused:
            if self.recipient.kind == X25519:
                return None  # such a stanza doesn't say whom it is for
            raise EncryptionDamaged("what is wrapped for the key at hand can't be unwrapped") from None
        except ValueError:
            raise EncryptionDamaged("its header is malformed") from None
        if file_key is not None and len(file_key) != FILE_KEY_BYTES:
            raise EncryptionDamaged("its header is malformed")
        return file_key

    def _unwrapped(self, stanza: Stanza) -> bytes | None:
        named = stanza.arguments[1:]
        if len(named) != {X25519: 1, SSH_ED25519: 2, SSH_RSA: 1}[stanza.kind]:
            raise ValueError("arguments")
        if stanza.kind != X25519 and named[0] != self.recipient.ssh_tag:
            return None
        if self._rsa is not None:
            return primitives.rsa_unwrapped(self._rsa, stanza.body, LABELS[SSH_RSA])
        share = from_unpadded(named[-1])
        if len(share) != primitives.KEY_BYTES or len(stanza.body) != _WRAPPED_BYTES:
            raise ValueError("sizes")
        try:
            shared = primitives.x25519(self._secret, share)
        except primitives.Refused:
            raise ValueError("a point of small order") from None
        if stanza.kind == SSH_ED25519:
            shared = tweaked(self.recipient.key, shared)
        point = primitives.x25519_public(self._secret)
        return primitives.unwrapped(primitives.derived(shared, share + point, LABELS[stanza.kind]), stanza.body)


def new_identity() -> tuple[str, Identity]:
    """Make a private key: its line, as in age's files, and the identity."""
    secret = primitives.random_bytes(primitives.KEY_BYTES)
    return bech32_encoded(SECRET_KEY.lower(), secret).upper(), _x25519(secret)


def identities_in(text: str) -> list[Identity]:
    """Read private keys: age's lines with comments between them, or one key of OpenSSH; raises ValueError.

    The reason in the error never quotes the text.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError("this is too long for a file of private keys")
    start = text.lstrip()
    if start.startswith(("age-encryption.org/", "-----BEGIN AGE ENCRYPTED FILE-----")):
        raise ValueError(_NEEDS_TYPING)
    if start.startswith("-----BEGIN"):
        return [_ssh_identity(start)]
    found = [_age_identity(number, line) for number, line in lines_in(text)]
    if not found:
        raise ValueError("there is no private key in it")
    if len(found) > MAX_IDENTITIES:
        raise ValueError(f"there are more than {MAX_IDENTITIES} private keys in it")
    return found


def _age_identity(number: int, line: str) -> Identity:
    if line.lower().startswith("age1"):
        raise ValueError(f"line {number}: this is a public key; the private one begins with {SECRET_KEY}1")
    if line.upper().startswith(("AGE-PLUGIN-", f"{SECRET_KEY}PQ-")):
        raise ValueError(f"line {number}: keys of plugins and post-quantum keys are not supported")
    if not line.upper().startswith(SECRET_KEY):
        raise ValueError(f"line {number}: a private key begins with {SECRET_KEY}1, or is a whole file of OpenSSH")
    try:
        prefix, secret = bech32_decoded(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    if prefix != SECRET_KEY.lower() or len(secret) != primitives.KEY_BYTES:
        raise ValueError(f"line {number}: the private key was cut off or changed")
    return _x25519(secret)


def _x25519(secret: bytes) -> Identity:
    return Identity(x25519_recipient(primitives.x25519_public(secret)), secret)


def _ssh_identity(text: str) -> Identity:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
        load_ssh_private_key,
    )

    load = load_ssh_private_key if "OPENSSH PRIVATE KEY" in text[:64] else load_pem_private_key
    try:
        key = load(text.encode(), password=None)
    except TypeError:  # how the library says so
        raise ValueError(_NEEDS_TYPING) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(_NEEDS_TYPING if "ENCRYPTED" in text else "the private key cannot be read") from None
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        raise ValueError("of SSH keys, only ssh-ed25519 and ssh-rsa can decrypt")  # noqa: TRY004  (a value, as above)
    recipient = recipient_in(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
    if isinstance(key, RSAPrivateKey):
        return Identity(recipient, _rsa=key)
    return Identity(recipient, primitives.x25519_secret_of_ed25519(key.private_bytes_raw()))
