"""Encrypt and decrypt whole age files, as streams and in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocks.config.age_keys import Recipient
from blocks.errors import BackupDamaged, EncryptionDamaged, KeyMissing
from tasks.engine.age import header, primitives
from tasks.engine.age.identities import Identity
from tasks.engine.age.payload import Encryptor, PayloadKey, decrypted, payload_key
from tasks.engine.age.wrapping import FILE_KEY_BYTES, wrapped_for

# Reading this much of an object is enough to open it.
PREFIX_BYTES = header.HEADER_LIMIT_BYTES + header.NONCE_BYTES
# Readers skip what they don't know.
_FILLER = header.Stanza(("pg-roundtrip-rekeyed",), b"")
_PASSPHRASE = "scrypt"  # noqa: S105  (the stanza's name)


def encryptor(recipients: Sequence[Recipient]) -> Encryptor:
    """Return a stage that encrypts one file to these recipients; each file has a key of its own."""
    file_key = primitives.random_bytes(FILE_KEY_BYTES)
    return Encryptor(header.encoded(wrapped_for(recipients, file_key), file_key), file_key)


def encrypt(data: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Encrypt something small."""
    stage = encryptor(recipients)
    return stage.write(data) + stage.finish()


def decrypt(data: bytes, identities: Sequence[Identity], limit_bytes: int) -> bytes:
    """Decrypt something small; raises KeyMissing, or BackupDamaged if it is larger than anything of ours."""
    plain = bytearray()
    for part in decrypting(iter((data,)), identities):
        plain += part
        if len(plain) > limit_bytes:
            raise BackupDamaged(f"what is encrypted has more than {limit_bytes} bytes")
    return bytes(plain)


def decrypting(chunks: Iterator[bytes], identities: Sequence[Identity]) -> Iterator[bytes]:
    """Decrypt a whole file as it flows; raises KeyMissing or EncryptionDamaged."""
    prefix = bytearray()
    for data in chunks:
        prefix += data
        if header.ends(bytes(prefix[: header.HEADER_LIMIT_BYTES])) and _has_nonce(prefix):
            break
    key = open_header(bytes(prefix), identities)
    yield from decrypted(_after(bytes(prefix[key.payload_offset :]), chunks), key)


def open_header(prefix: bytes, identities: Sequence[Identity]) -> PayloadKey:
    """Open a file by its first bytes (`PREFIX_BYTES` are enough); raises KeyMissing or EncryptionDamaged."""
    read = header.parsed(prefix)
    start = read.size_bytes
    return payload_key(file_key_of(read, identities), prefix[start : start + header.NONCE_BYTES], start)


def opens(prefix: bytes, identities: Sequence[Identity]) -> bool:
    """Whether any of these keys opens a file with these first bytes; raises EncryptionDamaged."""
    try:
        open_header(prefix, identities)
    except KeyMissing:
        return False
    return True


def opened_by(prefix: bytes, identities: Sequence[Identity]) -> Identity | None:
    """Return the first of these keys that opens a file with these first bytes; raises EncryptionDamaged."""
    for identity in identities:
        if opens(prefix, [identity]):
            return identity
    return None


def rewrapped(prefix: bytes, identities: Sequence[Identity], recipients: Sequence[Recipient]) -> tuple[bytes, int]:
    """Return a new header for other recipients, and where the old file goes on behind its own.

    The payload with its nonce stays as it is, because the file's key does. The new header never has the old one's
    size, so that a file's size tells which of the two it has.
    """
    read = header.parsed(prefix)
    file_key = file_key_of(read, identities)
    stanzas = wrapped_for(recipients, file_key)
    new = header.encoded(stanzas, file_key)
    if len(new) == read.size_bytes:
        new = header.encoded([*stanzas, _FILLER], file_key)
    return new, read.size_bytes


def file_key_of(read: header.Header, identities: Sequence[Identity]) -> bytes:
    """Return the file's key by the first identity that it is wrapped for; raises KeyMissing or EncryptionDamaged."""
    if any(stanza.kind == _PASSPHRASE for stanza in read.stanzas):
        if len(read.stanzas) > 1:
            raise EncryptionDamaged("its header mixes a passphrase with keys")
        raise KeyMissing("it is encrypted with a passphrase, which can't be used here")
    for identity in identities:
        for stanza in read.stanzas:
            file_key = identity.unwrap(stanza)
            if file_key is None:
                continue
            if not read.is_of(file_key):
                raise EncryptionDamaged("its header was changed")
            return file_key
    raise KeyMissing


def _has_nonce(prefix: bytearray) -> bool:
    """Whether the nonce after the header is there, too; a header that can't be read has none to wait for."""
    try:
        return len(prefix) >= header.parsed(bytes(prefix)).size_bytes + header.NONCE_BYTES
    except EncryptionDamaged:
        return True


def _after(start: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from chunks
