"""Read and write the header of an age file: who can open it. Nothing in it is believed before its MAC is checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from blocks.config.age_keys import from_unpadded, unpadded
from blocks.errors import EncryptionDamaged
from tasks.engine.age import primitives

# Far more than 32 recipients need; a reader holds this much before it believes anything.
HEADER_LIMIT_BYTES = 65536
MAX_STANZAS = 128
NONCE_BYTES = 16
_INTRODUCTION = b"age-encryption.org/v1\n"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_COLUMNS = 64
_ARGUMENTS = re.compile(rb"-> ([!-~]+(?: [!-~]+)*)")
_MAC = re.compile(rb"--- ([A-Za-z0-9+/]{43})")


@dataclass(frozen=True)
class Stanza:
    """One wrapping of the file's key: whom it is for, in that kind's own words, and the wrapped key."""

    arguments: tuple[str, ...]
    body: bytes

    @property
    def kind(self) -> str:
        """The kind of recipient; kinds that nobody here knows are skipped."""
        return self.arguments[0]

    def encoded(self) -> bytes:
        """The stanza's lines; the last is shorter than the others, and may be empty."""
        text = unpadded(self.body)
        lines = [text[n : n + _COLUMNS] for n in range(0, len(text) + 1, _COLUMNS)]
        return "".join(f"{line}\n" for line in [f"-> {' '.join(self.arguments)}", *lines]).encode()


@dataclass(frozen=True)
class Header:
    """A header as it was read; `covered` is what the MAC is of, `size_bytes` where the payload's nonce begins."""

    stanzas: tuple[Stanza, ...]
    covered: bytes
    mac: bytes
    size_bytes: int

    def is_of(self, file_key: bytes) -> bool:
        """Whether who had this key wrote the header, every byte of it."""
        return primitives.same(_mac(file_key, self.covered), self.mac)


def encoded(stanzas: Sequence[Stanza], file_key: bytes) -> bytes:
    """Write a header with these stanzas."""
    covered = _INTRODUCTION + b"".join(stanza.encoded() for stanza in stanzas) + b"---"
    return covered + f" {unpadded(_mac(file_key, covered))}\n".encode()


def ends(prefix: bytes) -> bool:
    """Whether a whole header may be at the start of these bytes, or can't be in any more of them."""
    start = prefix[: len(_INTRODUCTION)]
    if not _INTRODUCTION.startswith(start) or len(prefix) >= HEADER_LIMIT_BYTES:
        return True
    mark = prefix.find(b"\n--- ")
    return mark >= 0 and b"\n" in prefix[mark + 1 :]


def parsed(prefix: bytes) -> Header:
    """Read the header at the start of a file; raises EncryptionDamaged if it is not exactly as age writes it."""
    if not prefix.startswith(_INTRODUCTION):
        armored = prefix.lstrip().startswith(_ARMOR)
        raise _damaged("it is armored, which no backup of ours is" if armored else "it is no age v1 file")
    lines = _Lines(prefix[:HEADER_LIMIT_BYTES], len(_INTRODUCTION))
    stanzas: list[Stanza] = []
    while (line := lines.next()).startswith(b"->"):
        if len(stanzas) == MAX_STANZAS:
            raise _damaged("its header names too many recipients")
        stanzas.append(_stanza(line, lines))
    found = _MAC.fullmatch(line)
    if not found or not stanzas:
        raise _damaged("its header is malformed")
    covered = prefix[: lines.at - len(line) + len("---") - 1]
    return Header(tuple(stanzas), covered, _decoded(found[1]), lines.at)


class _Lines:
    """The lines of a header, one after the other; none is longer than the header may be."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def next(self) -> bytes:
        """Return the next line; raises EncryptionDamaged when the header ends too early."""
        end = self._data.find(b"\n", self.at)
        if end < 0:
            raise _damaged(
                "its header is cut off" if len(self._data) < HEADER_LIMIT_BYTES else "its header is too long"
            )
        line, self.at = self._data[self.at : end], end + 1
        return line


def _stanza(line: bytes, lines: _Lines) -> Stanza:
    found = _ARGUMENTS.fullmatch(line)
    if not found:
        raise _damaged("its header is malformed")
    body = b""
    while len(part := lines.next()) == _COLUMNS:
        body += part
    if len(part) > _COLUMNS:
        raise _damaged("its header is malformed")
    return Stanza(tuple(found[1].decode("ascii").split(" ")), _decoded(body + part))


def _decoded(text: bytes) -> bytes:
    try:
        return from_unpadded(text.decode("ascii"))
    except ValueError:
        raise _damaged("its header is malformed") from None


def _mac(file_key: bytes, covered: bytes) -> bytes:
    return primitives.mac(primitives.derived(file_key, b"", b"header"), covered)


def _damaged(reason: str) -> EncryptionDamaged:
    return EncryptionDamaged(reason)
