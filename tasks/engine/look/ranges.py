"""Read a part of a backup's SQL where it is in the object, so that the rest isn't downloaded.

An object is a series of gzip members that don't depend on each other; if it is encrypted, they are inside of age's
chunks, which can be decrypted each by itself (docs/format.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from blocks.errors import BackupDamaged
from tasks.engine.age.files import PREFIX_BYTES, open_header
from tasks.engine.age.payload import SEALED_BYTES, PayloadKey, decrypted
from tasks.engine.age.primitives import TAG_BYTES
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.repository import Repository
from tasks.engine.stream.gzip_members import decompress

# How a member of ours begins (RFC 1952, section 2.3: magic, deflate, no optional fields).
_MEMBER = re.compile(rb"\x1f\x8b\x08\x00")


@dataclass
class SqlRanges:
    """A backup's SQL, by ranges; `read_bytes` counts what was read of the object."""

    repository: Repository
    backup: Backup
    read_bytes: int = 0

    def sql_from(self, member_offset: int) -> Iterator[bytes]:
        """Yield the SQL from the beginning of a member on; stop when there is enough.

        Raises BackupDamaged, KeyMissing or EncryptionDamaged.
        """
        return decompress(self._compressed(member_offset))

    def last_sql(self, size_bytes: int, limit_bytes: int) -> bytes | None:
        """Return the SQL of the members that begin within the last bytes; None if none does, or if it is too much."""
        tail = b"".join(self._compressed(max(0, self._compressed_bytes - size_bytes)))
        for found in _MEMBER.finditer(tail):
            try:
                return _joined(decompress([tail[found.start() :]]), limit_bytes)
            except BackupDamaged:
                continue  # the same bytes within a member
        return None

    @cached_property
    def _key(self) -> PayloadKey | None:
        if not self.backup.encrypted:
            return None
        prefix = b"".join(self._counted(self.repository.read(self.backup, 0, PREFIX_BYTES)))
        return open_header(prefix, self.repository.keys.identities())

    @property
    def _compressed_bytes(self) -> int:
        if self._key is None:
            return self.backup.object_bytes
        sealed = self.backup.object_bytes - self._key.payload_offset
        return sealed - -(-sealed // SEALED_BYTES) * TAG_BYTES

    def _compressed(self, start: int) -> Iterator[bytes]:
        if self._key is None:
            return self._counted(self.repository.read(self.backup, start))
        first, _ = self._key.chunk_range(start)
        return decrypted(self._counted(self.repository.read(self.backup, first)), self._key, plain_offset=start)

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.read_bytes += len(chunk)
            yield chunk


def _joined(blocks: Iterator[bytes], limit_bytes: int) -> bytes | None:
    joined = bytearray()
    for block in blocks:
        joined += block
        if len(joined) > limit_bytes:
            return None
    return bytes(joined)
