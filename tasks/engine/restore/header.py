"""Read the beginning of a dump for what another tool's backup says about itself there."""

from __future__ import annotations

import re
from itertools import islice

from tasks.engine.dump.schema_text import ENCODING
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.repository import Repository
from tasks.engine.stream.gzip_members import decompress

_HEADER_BYTES = 1 << 16
# What is encrypted comes in chunks of that size, after a header as long as that at most; the last one is held back.
_SEALED_BYTES = 4 * _HEADER_BYTES
_VERSIONS = re.compile(rb"^-- Dumped (?:from database|by pg_dump) version (\d{1,3})(?!\d)", re.MULTILINE)
# Encodings that a dump can be written in, but a database cannot have.
_CLIENTS_ONLY = {"BIG5", "GB18030", "GBK", "JOHAB", "SHIFT_JIS_2004", "SJIS", "UHC"}


def read_header(repository: Repository, backup: Backup) -> bytes:
    """Return the beginning of a backup's SQL; raises BackupDamaged or EmptyBackup if it cannot be read."""
    read = repository.read(backup, 0, _SEALED_BYTES if backup.encrypted else _HEADER_BYTES)
    start = next(repository.plain(backup, read), b"")
    return b"".join(islice(decompress([start]), 1))


def major_in(header: bytes) -> int:
    """Return the major version of the dumped server, or of pg_dump if that is newer; 0 if the header does not say."""
    return max((int(found) for found in _VERSIONS.findall(header)), default=0)


def encoding_in(header: bytes) -> str:
    """Return the dump's encoding if a database can have it; empty if not, or if the header does not say."""
    found = ENCODING.search(header)
    encoding = found[1].decode() if found else ""
    return "" if encoding in _CLIENTS_ONLY else encoding
