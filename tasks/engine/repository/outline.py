"""What is told of a backup without its keys: totals, and no names of what is in it.

Whatever lists, prunes, shows or reports backups works with outlines, so that it does the same with and without a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from tasks.engine.repository.manifest import Anomaly, Count, Document, GlobalsRecord, Manifest

# The kinds of anomalies that are about a whole backup: their sentences have totals only.
_OF_TOTALS = ("fewer rows", "smaller", "slower")
UNNAMED = "tables of it are unusual: which ones, only its sealed part says"


class StoredFile(Document):
    """The companion with roles and settings as it is stored, which is all that whoever copies it needs."""

    file: str
    object_bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, record: GlobalsRecord) -> StoredFile:
        """Take them from what the manifest says of it."""
        return cls(file=record.file, object_bytes=record.object_bytes, sha256=record.sha256)


@dataclass(frozen=True)
class Outline:
    """What a manifest says in the open; of a plain backup, `warnings` and `anomalies` name what they are about."""

    name: str
    plan: str
    database: str
    system_identifier: str
    database_oid: int
    compared_with: int
    selection: str
    anomalies: tuple[Anomaly, ...]
    server_version: str
    client_version: str
    tool_version: str
    started_at: datetime
    ended_at: datetime
    raw_bytes: int
    object_bytes: int
    sha256: str
    compression: str
    rows: int
    tables: int
    warning_count: int
    warnings: tuple[str, ...]
    without: str
    companion: StoredFile | None
    globals_left_out: str
    recipients: tuple[str, ...] = ()

    @property
    def has_globals(self) -> bool:
        """Whether roles and settings are beside it."""
        return self.companion is not None

    @property
    def encrypted(self) -> bool:
        """Whether the rest is sealed; `recipients` are the fingerprints of the keys that open it."""
        return bool(self.recipients)


def outline_of(made: Manifest) -> Outline:
    """Return what may be told of a backup, as it is read from the bucket without a key."""
    veils = bool(made.recipients)
    return Outline(
        name=made.name, plan=made.plan, database=made.database, system_identifier=made.system_identifier,
        database_oid=made.database_oid, compared_with=made.compared_with, selection=made.selection,
        anomalies=unnamed(made.anomalies) if veils else made.anomalies, server_version=made.server_version,
        client_version=made.client_version, tool_version=made.tool_version, started_at=made.started_at,
        ended_at=made.ended_at, raw_bytes=made.raw_bytes, object_bytes=made.object_bytes, sha256=made.sha256,
        compression=made.compression, rows=made.rows, tables=len(made.tables), warning_count=len(made.warnings),
        warnings=warned(len(made.warnings)) if veils else made.warnings, without=made.without, companion=StoredFile.of(made.globals) if made.globals else None,
        globals_left_out="" if veils else made.globals_left_out, recipients=made.fingerprints,
    )  # fmt: skip


def unnamed(anomalies: Sequence[Anomaly]) -> tuple[Anomaly, ...]:
    """Return anomalies without what names a table: those about tables become one."""
    of_all = [a for a in anomalies if a.kind in _OF_TOTALS and not a.table]
    return (
        *([Anomaly(kind="sealed", sentence=UNNAMED, before=0, now=0)] if len(of_all) < len(anomalies) else []),
        *of_all,
    )


def warned(count: int) -> tuple[str, ...]:
    """Return in place of warnings how many there are: what they are about has a name."""
    return (f"{count} that only the sealed part has",) if count else ()
