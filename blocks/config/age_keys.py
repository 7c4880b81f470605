"""Read the public keys that backups are encrypted to, and the text around private ones; no cryptography is needed.

The forms are those of age (https://age-encryption.org/v1): `age1…`, and the public keys of OpenSSH.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

X25519, SSH_ED25519, SSH_RSA = "X25519", "ssh-ed25519", "ssh-rsa"
SECRET_KEY = "AGE-SECRET-KEY-"  # noqa: S105  (how one begins)
# More would only be a mistake; each costs a stanza in every file.
MAX_RECIPIENTS = 32
_MAX_TEXT = 65536
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_RSA_BITS = range(2048, 16385)


@dataclass(frozen=True)
class Recipient:
    """A public key: its kind, its bytes (32 of X25519, or OpenSSH's encoding), and how people write it."""

    kind: str
    key: bytes
    text: str

    @property
    def fingerprint(self) -> str:
        """Name the key in documents that anyone may read; of an SSH key it is what `ssh-keygen -l` prints."""
        return "SHA256:" + unpadded(hashlib.sha256(self.key).digest())

    @property
    def ssh_tag(self) -> str:
        """How age names an SSH key in a header: four bytes of its hash."""
        return unpadded(hashlib.sha256(self.key).digest()[:4])


def x25519_recipient(key: bytes) -> Recipient:
    """Return the recipient with this X25519 public key."""
    return Recipient(X25519, key, bech32_encoded("age", key))


def recipient_in(line: str) -> Recipient:
    """Read one public key, `age1…` or a line of OpenSSH; raises ValueError with the reason."""
    text = line.strip()
    if text.upper().startswith(SECRET_KEY) or "PRIVATE KEY" in text:
        raise ValueError("this is a private key: where backups are made, only public ones belong")
    if text.startswith(("ssh-", "ecdsa-", "sk-")):
        return _ssh_recipient(text)
    if not text.lower().startswith("age1"):
        raise ValueError("a recipient is a public key: age1…, ssh-ed25519 … or ssh-rsa …")
    prefix, key = bech32_decoded(text)
    if prefix != "age":
        raise ValueError("keys of plugins and post-quantum keys are not supported: use one that age-keygen printed")
    if len(key) != 32:
        raise ValueError("an age1… key has 32 bytes: this one was cut off or changed")
    return Recipient(X25519, key, text.lower())


def recipients_in(text: str) -> list[Recipient]:
    """Read public keys, one a line, `#` begins a comment; duplicates count once. Raises ValueError."""
    if len(text) > _MAX_TEXT:
        raise ValueError("this is too long for a list of public keys")
    found = {}
    for number, line in lines_in(text):
        try:
            recipient = recipient_in(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        found[recipient.key] = recipient
    if len(found) > MAX_RECIPIENTS:
        raise ValueError(f"there are {len(found)} public keys; at most {MAX_RECIPIENTS} can be used")
    return list(found.values())


def lines_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with something in them, and their numbers; comments are skipped, as age does."""
    for number, line in enumerate(text.splitlines(), 1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield number, stripped


def unpadded(data: bytes) -> str:
    """Encode as age does: base64 without the padding."""
    return base64.b64encode(data).decode().rstrip("=")


def from_unpadded(text: str) -> bytes:
    """Decode base64 without padding; raises ValueError unless it is exactly what `unpadded` would write."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if unpadded(data) != text:
        raise ValueError("not canonical base64")
    return data


def bech32_encoded(prefix: str, data: bytes) -> str:
    """Write bytes as Bech32 (BIP 173, without its limit on length), in small letters."""
    words = _regrouped(data, 8, 5, pad=True)
    check = _polymod([*_expanded(prefix), *words, 0, 0, 0, 0, 0, 0]) ^ 1
    words += [(check >> 5 * (5 - n)) & 31 for n in range(6)]
    return f"{prefix}1{''.join(_LETTERS[word] for word in words)}"


def bech32_decoded(text: str) -> tuple[str, bytes]:
    """Read Bech32: the prefix in small letters, and the bytes; raises ValueError if a letter is wrong."""
    if text not in (text.lower(), text.upper()):
        raise ValueError("the key mixes small and capital letters")
    prefix, one, data = text.lower().rpartition("1")
    words = [_LETTERS.find(letter) for letter in data]
    if not one or not prefix or len(words) < 6 or min(words) < 0 or not all("!" <= c <= "~" for c in prefix):
        raise ValueError("this is no key in age's form")
    if _polymod([*_expanded(prefix), *words]) != 1:
        raise ValueError("the key's check digits are wrong: a letter was changed or left out")
    return prefix, bytes(_regrouped(words[:-6], 5, 8, pad=False))


def _ssh_recipient(text: str) -> Recipient:
    kind, _, rest = text.partition(" ")
    if kind not in (SSH_ED25519, SSH_RSA):
        raise ValueError("of SSH keys, only ssh-ed25519 and ssh-rsa can encrypt")
    encoded = rest.split()[0] if rest.split() else ""
    try:
        key = base64.b64decode(encoded, validate=True)
        fields = ssh_fields(key)
    except (binascii.Error, ValueError):
        raise ValueError("the SSH key was cut off or changed") from None
    if not fields or fields[0] != kind.encode():
        raise ValueError("the SSH key was cut off or changed")
    _checked(kind, fields[1:])
    return Recipient(kind, key, f"{kind} {encoded}")


def _checked(kind: str, fields: Sequence[bytes]) -> None:
    if kind == SSH_ED25519 and (len(fields) != 1 or len(fields[0]) != 32):
        raise ValueError("an ssh-ed25519 key has 32 bytes")
    if kind == SSH_RSA and (len(fields) != 2 or int.from_bytes(fields[1], "big").bit_length() not in _RSA_BITS):
        raise ValueError("an ssh-rsa key needs 2048 bits or more")


def ssh_fields(key: bytes) -> list[bytes]:
    """Split an SSH public key into its fields, each with its length before it; raises ValueError."""
    fields = []
    while key:
        size = int.from_bytes(key[:4], "big")
        if len(key) < 4 + size:
            raise ValueError("cut off")
        fields.append(key[4 : 4 + size])
        key = key[4 + size :]
    return fields


def _expanded(prefix: str) -> list[int]:
    return [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix)]


def _polymod(values: Sequence[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= generator
    return check


def _regrouped(values: Sequence[int], had: int, wants: int, *, pad: bool) -> list[int]:
    """Cut bits into groups of another size; padding that is not of zeros is refused."""
    held, bits, groups = 0, 0, []
    for value in values:
        held, bits = (held << had) | value, bits + had
        while bits >= wants:
            bits -= wants
            groups.append((held >> bits) & ((1 << wants) - 1))
        held &= (1 << bits) - 1
    if pad and bits:
        groups.append((held << (wants - bits)) & ((1 << wants) - 1))
    elif not pad and (bits >= had or held):
        raise ValueError("the key's last letter is wrong")
    return groups
