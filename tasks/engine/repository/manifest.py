"""The two JSON documents that stand beside a backup: the manifest, and the newest drill report.

`docs/format.md` describes both for readers other than ourselves; a change of meaning needs a new format number.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import BackupDamaged

FORMAT: Literal[1] = 1
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
_SHOWN = 80


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("no moment of ours") from None


# One without a zone could be compared with no other.
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def encode(self) -> bytes:
        """The document as it is stored: indented JSON, because people read it in an emergency."""
        return self.model_dump_json(indent=1).encode() + b"\n"


class TableRecord(_Document):
    """What went into the stream of one table, and where its COPY statement begins in the object."""

    name: str
    columns: tuple[str, ...]
    rows: Count
    digest: Digest
    raw_bytes: Count
    member_offset: Count = Field(description="Where in the object the gzip member begins that the table begins in.")
    skip_bytes: Count = Field(description="How many bytes of that member come before the table, uncompressed.")


class SequenceRecord(_Document):
    """Where a sequence stood."""

    name: str
    value: int
    called: bool


class PartRecord(_Document):
    """How many statements make a part of the schema, and the sum of their hashes."""

    statements: Count
    digest: Digest


class MembershipRecord(_Document):
    """A role that another one is a member of."""

    role: str
    admin: bool = False
    inherit: bool = True
    set_role: bool = True


class RoleRecord(_Document):
    """What a role of the source may do. Passwords are never read."""

    name: str
    superuser: bool = False
    bypass_rls: bool = False
    inherit: bool = True
    create_role: bool = False
    create_database: bool = False
    member_of: tuple[MembershipRecord, ...] = ()


class Manifest(_Document):
    """What a backup contains; written last, so that its presence means that the backup is whole."""

    format: Literal[1] = FORMAT
    tool: str = "pg-roundtrip"
    tool_version: str
    plan: str
    name: str
    database: str
    system_identifier: str = Field(default="", pattern=r"^(-?[0-9]{1,20})?$", description="Of the source's server.")
    database_oid: Count = 0
    server_version: str
    client_version: str
    encoding: str
    lc_monetary: str = Field(default="", description="Under which money was written; empty: as the source showed it.")
    source_lc_monetary: str = Field(default="", description="Under which the source showed money.")
    source_settings: dict[str, str] = Field(default={}, description="By which the source computed values.")
    settings_left_out: tuple[str, ...] = Field(
        default=(), description="Names of settings that a restore will not have."
    )
    collation: str
    character_type: str
    locale_provider: str = "c"
    locale: str = ""
    collation_version: str = Field(default="", description="Of the library that orders text on the source.")
    started_at: Moment
    ended_at: Moment
    raw_bytes: Count
    object_bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    compression: str
    schema_digest: Digest
    schema_statements: Count
    schema_rules: int = Field(default=1, description="By which rules statements were normalised, to be comparable.")
    schema_parts: dict[str, PartRecord] = {}
    tables: tuple[TableRecord, ...]
    sequences: tuple[SequenceRecord, ...]
    large_objects: Count
    large_object_digest: Digest
    extensions: dict[str, str]
    roles: tuple[str, ...]
    warnings: tuple[str, ...] = Field(default=(), description="What pg_dump warned of, and what it left out.")
    role_attributes: tuple[RoleRecord, ...] = Field(default=(), description="Of all roles of the source's server.")

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return sum(t.rows for t in self.tables)


class Verdict(StrEnum):
    """What a drill may say."""

    PROVEN = "PROVEN"
    FAILED = "FAILED"
    INCONCLUSIVE = "INCONCLUSIVE"


class Check(_Document):
    """One thing that a drill looked at. A warning is worth knowing and no fault of the backup."""

    name: str
    result: Literal["passed", "failed", "warning", "not possible"]
    evidence: str = ""
    seconds: float = Field(default=0.0, description="Of the pass that it was made in; checks may share one.")


class DrillReport(_Document):
    """What a drill found; the newest one of each backup is kept beside it."""

    format: Literal[1] = FORMAT
    tool_version: str
    backup: str
    verdict: Verdict
    cause: str = Field(description="Why the verdict is not PROVEN; empty when it is.")
    code: str = Field(default="", max_length=40, description="The stable code of that cause; reports of 1.0 have none.")
    checks: tuple[Check, ...]
    place: str = Field(default="", description="Where it was restored: sandbox or database.")
    target_version: str = ""
    started_at: Moment
    age_seconds: float = Field(default=0.0, description="How old the backup was: what a loss now would have cost.")
    tables: Count = 0
    rows: Count = 0
    raw_bytes: Count = 0
    restore_seconds: float
    compare_seconds: float = 0.0
    seconds: float
    warnings: tuple[str, ...] = Field(default=(), description="What the backup's manifest warns of.")

    @property
    def contents_hold(self) -> bool:
        """Whether the backup restores to what was dumped, whatever else was found: its age is no fault of it."""
        failed = {c.name for c in self.checks if c.result == "failed"}
        return self.verdict is Verdict.PROVEN or (self.verdict is Verdict.FAILED and failed == {"backup age"})

    def summary(self) -> dict[str, object]:
        """What scripts get: `pg-roundtrip drill --json`."""
        return self.model_dump(
            mode="json", include={"verdict", "backup", "cause", "checks", "restore_seconds", "seconds", "warnings"}
        )


def read_manifest(data: bytes, name: str) -> Manifest:
    """Decode the manifest of the backup `name`; raises BackupDamaged when it is not that."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        faults = ", ".join(_shown(name) for name in sorted({_place(e["loc"]) or e["type"] for e in error.errors()})[:3])
        raise BackupDamaged(f"the manifest of {name} cannot be read: {faults}", check="manifest") from None
    if manifest.name != name:
        raise BackupDamaged(f"the manifest beside {name} belongs to {_shown(manifest.name)}", check="manifest")
    return manifest


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def _shown(text: str) -> str:
    """What a document says of itself, as far as a log should repeat it."""
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])


def read_report(data: bytes) -> DrillReport | None:
    """Decode a drill report; None for one that cannot be read, which proves nothing."""
    try:
        return DrillReport.model_validate_json(data)
    except ValidationError:
        return None
