"""The payload of an age file: chunks of 64 KiB, each sealed with its number and with whether it is the last.

No byte of a chunk is returned before all of it was verified; a chunk that is missing, repeated, moved or cut off is
refused, and so is an end without a last chunk. Memory holds a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blocks.errors import EncryptionDamaged
from tasks.engine.age import primitives
from tasks.engine.age.header import NONCE_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

CHUNK_BYTES = 65536
SEALED_BYTES = CHUNK_BYTES + primitives.TAG_BYTES


@dataclass(frozen=True)
class PayloadKey:
    """What decrypts one file's payload, and where in the object the first chunk starts."""

    payload_offset: int
    _cipher: ChaCha20Poly1305 = field(repr=False, compare=False)

    def chunk_range(self, start: int, end: int | None = None) -> tuple[int, int | None]:
        """Where in the object the chunks with these plain bytes are; the end is exclusive, and None is the object's."""
        first = self.payload_offset + start // CHUNK_BYTES * SEALED_BYTES
        return first, None if end is None else self.payload_offset + -(-end // CHUNK_BYTES) * SEALED_BYTES

    def opened(self, number: int, sealed: bytes, *, last: bool) -> bytes:
        """Decrypt one chunk; raises EncryptionDamaged unless it is this one."""
        if last and number and len(sealed) == primitives.TAG_BYTES:
            raise EncryptionDamaged("its last chunk is empty")
        try:
            return primitives.opened(self._cipher, _nonce(number, last=last), sealed)
        except primitives.Refused:
            raise EncryptionDamaged(f"chunk {number} is not the one that was written") from None


def payload_key(file_key: bytes, nonce: bytes, header_bytes: int) -> PayloadKey:
    """Derive the key of a payload from the file's key and the nonce after the header."""
    if len(nonce) != NONCE_BYTES:
        raise EncryptionDamaged("it is cut off after its header")
    return PayloadKey(header_bytes + NONCE_BYTES, primitives.cipher(primitives.derived(file_key, nonce, b"payload")))


class Encryptor:
    """A stage that encrypts what passes through it; the header goes before the first bytes."""

    def __init__(self, header: bytes, file_key: bytes) -> None:
        nonce = primitives.random_bytes(NONCE_BYTES)
        self._ahead = header + nonce
        self._cipher = primitives.cipher(primitives.derived(file_key, nonce, b"payload"))
        self._held = bytearray()
        self._number = 0

    def write(self, data: bytes) -> bytes:
        """Encrypt whole chunks; the last one is held back, because it is sealed as the last."""
        parts, self._ahead = [self._ahead], b""
        view, at = memoryview(data), 0
        while len(self._held) + len(view) - at > CHUNK_BYTES:
            take = CHUNK_BYTES - len(self._held)
            self._held += view[at : at + take]
            at += take
            parts.append(self._sealed(last=False))
        self._held += view[at:]
        return b"".join(parts)

    def finish(self) -> bytes:
        """Return the last chunk, which says that it is the last."""
        ahead, self._ahead = self._ahead, b""
        return ahead + self._sealed(last=True)

    def _sealed(self, *, last: bool) -> bytes:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), bytes(self._held), None)
        self._held.clear()
        self._number += 1
        return sealed


def decrypted(
    chunks: Iterator[bytes], key: PayloadKey, *, plain_offset: int = 0, to_end: bool = True
) -> Iterator[bytes]:
    """Decrypt what `key.chunk_range(plain_offset)` yields, from exactly that plain byte on.

    With `to_end=False` the bytes may stop at the end of any chunk, as a range of the object does.
    """
    number, skip = divmod(plain_offset, CHUNK_BYTES)
    held = bytearray()
    for data in chunks:
        held += data
        at = 0
        while len(held) - at > SEALED_BYTES:
            plain = key.opened(number, bytes(memoryview(held)[at : at + SEALED_BYTES]), last=False)
            yield plain[skip:]
            number, skip, at = number + 1, 0, at + SEALED_BYTES
        del held[:at]
    yield _last(key, number, bytes(held), to_end=to_end)[skip:]


def _last(key: PayloadKey, number: int, sealed: bytes, *, to_end: bool) -> bytes:
    if not to_end and len(sealed) == SEALED_BYTES:
        try:
            return key.opened(number, sealed, last=False)
        except EncryptionDamaged:
            return key.opened(number, sealed, last=True)
    if not to_end and not sealed:
        return b""
    if len(sealed) < primitives.TAG_BYTES:
        raise EncryptionDamaged("it is cut off")
    return key.opened(number, sealed, last=True)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
