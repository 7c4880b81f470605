"""Fetch the roles and settings beside a backup, and check them before anything is done with them."""

from __future__ import annotations

import hashlib
import zlib

from blocks.errors import BackupDamaged, ObjectMissing, StatementRefused
from tasks.engine.dump.global_statements import NotAllowed, read_statements
from tasks.engine.dump.globals import MOST_BYTES, Globals
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import GlobalsRecord, Manifest
from tasks.engine.repository.names import companion_file
from tasks.engine.repository.repository import GLOBALS_BYTES, Repository

_GZIP = 31  # zlib's number for gzip with its header and checksum


def unpacked(repository: Repository, manifest: Manifest) -> Globals:
    """Fetch and check the companion of a backup, whose manifest must have a record of it.

    Raises BackupDamaged if it is not what was stored, StatementRefused if it has a statement that ours never have.
    """
    record = manifest.globals
    assert record
    try:
        statements = read_statements(_text(repository, manifest, record), manifest.database)
    except NotAllowed as error:
        raise StatementRefused(f"{_file_of(manifest)}: {error}") from None
    return Globals(tuple(statements), record.superuser, record.client_version)


def _file_of(manifest: Manifest) -> str:
    return companion_file(manifest.name, encrypted=bool(manifest.recipients))


def _text(repository: Repository, manifest: Manifest, record: GlobalsRecord) -> bytes:
    file = _file_of(manifest)
    try:
        data = repository.companion(file)
    except ObjectMissing:
        raise BackupDamaged(f"{file} is not there", check=checklist.GLOBALS) from None
    if len(data) != record.object_bytes or hashlib.sha256(data).hexdigest() != record.sha256:
        sizes = f"{len(data)} bytes, the manifest says {record.object_bytes}, or another SHA-256"
        raise BackupDamaged(f"{file} is not what was stored: {sizes}", check=checklist.GLOBALS)
    if record.raw_bytes > MOST_BYTES:
        raise BackupDamaged(f"{file} is too large: {record.raw_bytes} bytes", check=checklist.GLOBALS)
    if manifest.recipients:
        data = repository.keys.opened(data, GLOBALS_BYTES)
    try:
        member = zlib.decompressobj(wbits=_GZIP)
        text = member.decompress(data, record.raw_bytes + 1)
    except zlib.error:
        raise BackupDamaged(f"{file} cannot be unpacked", check=checklist.GLOBALS) from None
    # gunzip would go on with another member, which nobody has looked at.
    if len(text) != record.raw_bytes or not member.eof or member.unused_data:
        raise BackupDamaged(f"{file} has not the size that the manifest says", check=checklist.GLOBALS)
    return text


def fetched(repository: Repository, manifest: Manifest) -> Globals:
    """Read the companion of a backup; what looks damaged is read twice."""
    try:
        return unpacked(repository, manifest)
    except BackupDamaged:
        return unpacked(repository, manifest)
