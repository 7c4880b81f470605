"""State in one document what a drill or a restore saw; `docs/format.md` describes it for auditors.

All numbers are whole and all durations are in milliseconds, so that the document has only one canonical form.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from tasks.engine.evidence.canonical import canonical
from tasks.engine.repository.manifest import Count, Digest, Moment, Verdict, contents_hold
from tasks.engine.wording import iso

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Second = Annotated[Moment, PlainSerializer(iso, return_type=str)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TableSeen(_Part):
    """The rows of a table and their digest, as they were read from the backup."""

    name: str
    rows: Count
    digest: Digest


class BackupSeen(_Part):
    """The backup that was restored: what its manifest says of its origin, and what was read from its object."""

    name: str
    database: str = ""
    system_identifier: str = ""
    server_version: str = ""
    object_bytes: Count
    object_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    rows: Count = 0
    tables: tuple[TableSeen, ...] = ()
    warnings: tuple[str, ...] = ()
    without: str | None = None


class CheckSeen(_Part):
    """The result of one check; its evidence is in the report."""

    name: str
    result: str


class GlobalsSeen(_Part):
    """The roles and settings beside the backup, and what became of them on a server of their own: the result of that check."""

    result: str
    file: str
    sha256: Sha256
    statements: Count
    roles: Count
    memberships: Count
    tablespaces: Count
    settings: Count


class Drill(_Part):
    """What a drill found; the report beside the backup has the details."""

    verdict: Verdict
    cause: str = ""
    code: str = ""
    place: str = ""
    target_version: str = ""
    age_s: Count = 0
    restore_ms: Count = 0
    compare_ms: Count = 0
    checks: tuple[CheckSeen, ...] = ()
    globals: GlobalsSeen | None = None
    report: str = ""
    report_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @property
    def contents_hold(self) -> bool:
        """Whether the backup restores to what was dumped, whatever else was found."""
        return contents_hold(self.verdict, {c.name for c in self.checks if c.result == "failed"})

    @property
    def globals_proven(self) -> bool:
        """Whether all roles and settings came back as they were stored."""
        return self.globals is not None and self.globals.result == "passed"


class Restore(_Part):
    """What a restore did: where to, and whether the restored rows were compared with the backup's."""

    target: str
    compared: bool
    restore_ms: Count


class Listed(_Part):
    """A backup that was listed when a certificate was made."""

    name: str
    object_bytes: Count


class Certificate(_Part):
    """One link of the chain: a drill or a restore, and the certificates before it.

    `backups` are those that were taken since the last one about this database, so that a report knows of backups that were removed.
    """

    format: Literal[1] = 1
    tool_version: str
    number: Annotated[int, Field(ge=1, lt=10**12)] = 1
    previous: tuple[Sha256, ...] = ()
    key: str = ""
    folder: str = ""
    plan: str
    started_at: Second
    ended_at: Second
    backup: BackupSeen
    drill: Drill | None = None
    restore: Restore | None = None
    backups: tuple[Listed, ...] = ()

    def encode(self) -> bytes:
        """Encode it as it is signed and stored. Raises ValueError for what has no canonical form."""
        return canonical(self.model_dump(mode="json", exclude_none=True))


def read_certificate(data: bytes) -> Certificate | None:
    """Decode a certificate; None for anything else."""
    try:
        return Certificate.model_validate_json(data)
    except ValidationError:
        return None


def whole_ms(seconds: float) -> int:
    """Return seconds as whole milliseconds."""
    return max(0, round(seconds * 1000))
