"""Write and read the manifest of an encrypted backup: an open part, and the whole manifest sealed to the recipients."""

from __future__ import annotations

import base64
import binascii
import zlib
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import from_json

from blocks.config.age_keys import Recipient, recipient_in
from blocks.errors import BackupDamaged
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.manifest import Anomaly, Count, Document, Manifest, Moment, faults_in, named, read_manifest
from tasks.engine.repository.outline import Outline, StoredFile, outline_of, warned

SEALED_FORMAT: Literal[2] = 2
# Far more than a manifest that fits into a document has.
_PLAIN_BYTES = 256 << 20
_GZIP = 31  # zlib's number for gzip with its header and checksum
_FINGERPRINT = r"^SHA256:[A-Za-z0-9+/]{43}$"
_CHECK = "manifest"


class SealedManifest(Document):
    """What anyone may read of an encrypted backup, in an order that has what tells its origin first; and the rest."""

    format: Literal[2] = SEALED_FORMAT
    tool: str = "pg-roundtrip"
    tool_version: str
    plan: str
    name: str
    database: str
    system_identifier: str = Field(default="", pattern=r"^(-?[0-9]{1,20})?$")
    database_oid: Count = 0
    compared_with: Count = 0
    selection: str = Field(default="", max_length=40)
    anomalies: tuple[Anomaly, ...] = Field(default=(), description="Without the names of tables.")
    server_version: str
    client_version: str
    started_at: Moment
    ended_at: Moment
    raw_bytes: Count
    object_bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    compression: str
    rows: Count = Field(description="Of all tables together.")
    tables: Count = Field(description="How many.")
    warning_count: Count = 0
    without: str = Field(default="", max_length=1000, description="What the selection left out, in numbers.")
    companion: StoredFile | None = Field(default=None, description="Beside it, with roles and settings.")
    recipients: tuple[Annotated[str, Field(pattern=_FINGERPRINT)], ...] = Field(
        min_length=1, description="The fingerprints of the keys that open it."
    )
    sealed: str = Field(description="The manifest, format 1, in gzip, encrypted with age, in base64.")

    @property
    def outline(self) -> Outline:
        """What it says in the open."""
        said = {name: getattr(self, name) for name in _OPEN}
        return Outline(**said, warnings=warned(self.warning_count), globals_left_out="")


_OPEN = [n for n in SealedManifest.model_fields if n not in ("format", "tool", "sealed")]


def encoded(made: Manifest, keys: Keys) -> bytes:
    """Return a manifest as it is stored: sealed to its recipients, if it has any."""
    if not made.recipients:
        return made.encode()
    outline = outline_of(made)
    sealed = _sealed(made.encode(), tuple(recipients_of(made)), keys)
    return SealedManifest(**{name: getattr(outline, name) for name in _OPEN}, sealed=sealed).encode()


# Sealed once: all copies get the same bytes, and so does a second attempt after a lost response.
@lru_cache(2)
def _sealed(text: bytes, recipients: tuple[Recipient, ...], keys: Keys) -> str:
    packer = zlib.compressobj(6, wbits=_GZIP)
    return base64.b64encode(keys.sealed(packer.compress(text) + packer.flush(), recipients)).decode()


def recipients_of(made: Manifest) -> list[Recipient]:
    """Return the public keys that a backup is encrypted to."""
    try:
        return [recipient_in(text) for text in made.recipients]
    except ValueError as error:
        raise BackupDamaged(f"the manifest of {made.name} names no keys: {error}", check=_CHECK) from None


def outline_in(data: bytes, name: str) -> Outline:
    """Return what the manifest of the backup `name` says in the open; raises BackupDamaged like `read_manifest`."""
    made = _read(data, name)
    return made.outline if isinstance(made, SealedManifest) else outline_of(made)


def opened(data: bytes, name: str, keys: Keys) -> Manifest:
    """Return the whole manifest of the backup `name`; raises BackupDamaged, or KeyMissing if it is sealed for others."""
    made = _read(data, name)
    if isinstance(made, Manifest):
        return made
    keys.require_one_of(made.recipients)
    try:
        sealed = keys.opened(base64.b64decode(made.sealed, validate=True), len(made.sealed))
        member = zlib.decompressobj(wbits=_GZIP)
        text = member.decompress(sealed, _PLAIN_BYTES)
    except (binascii.Error, ValueError, zlib.error):
        raise BackupDamaged(f"the sealed part of the manifest of {name} cannot be read", check=_CHECK) from None
    whole = read_manifest(text, name)
    if not member.eof or outline_of(whole) != made.outline:
        raise BackupDamaged(f"the open part of the manifest of {name} is not what was sealed", check=_CHECK)
    return whole


def _read(data: bytes, name: str) -> Manifest | SealedManifest:
    if _format_in(data) != SEALED_FORMAT:
        return read_manifest(data, name)
    try:
        return named(SealedManifest.model_validate_json(data), name)
    except ValidationError as error:
        raise BackupDamaged(f"the manifest of {name} cannot be read: {faults_in(error)}", check=_CHECK) from None


def _format_in(data: bytes) -> Any:
    try:
        head = from_json(data[:256], allow_partial=True)
    except ValueError:
        return None
    return head.get("format") if isinstance(head, dict) else None
