"""The JSON documents beside a backup: the manifest, and a report of each drill.

`docs/format.md` describes both for other programs that read them; a change of meaning needs a new format number.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Protocol, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from blocks.config.age_keys import recipient_in
from blocks.errors import BackupDamaged
from tasks.engine.repository.omissions import Name, Omissions, in_words, without_in_brackets

FORMAT: Literal[1] = 1
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
_SHOWN = 80


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the moment is out of range") from None


def _is_empty(value: object) -> bool:
    """Leave out what most documents don't have: those of earlier versions stay what they were, byte for byte."""
    return not value


class _Named(Protocol):
    @property
    def name(self) -> str: ...


M = TypeVar("M", bound=_Named)
# A moment without a zone could not be compared with any other.
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Document(BaseModel):
    """A document in the bucket."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    # Fields that are not written while they are empty, so that a document without them looks as it always did.
    _seldom: ClassVar[frozenset[str]] = frozenset()

    def encode(self) -> bytes:
        """Encode the document as stored: indented JSON, because people read it in an emergency."""
        empty = {name for name in self._seldom if not getattr(self, name)}
        return self.model_dump_json(indent=1, exclude=empty).encode() + b"\n"


class TableRecord(Document):
    """What the stream holds of one table, and where its COPY statement begins in the object."""

    name: str
    columns: tuple[str, ...]
    rows: Count
    digest: Digest
    raw_bytes: Count
    member_offset: Count = Field(description="The offset in the object of the gzip member in which the table begins.")
    skip_bytes: Count = Field(description="The number of uncompressed bytes in that member before the table.")


class SequenceRecord(Document):
    """The value of a sequence."""

    name: str
    value: int
    called: bool


class PartRecord(Document):
    """The number of statements in a part of the schema, and the sum of their hashes."""

    statements: Count
    digest: Digest


class MembershipRecord(Document):
    """A membership in another role."""

    role: str
    admin: bool = False
    inherit: bool = True
    set_role: bool = True


class RoleRecord(Document):
    """The attributes and memberships of a role on the source. Passwords are never read."""

    name: str
    superuser: bool = False
    bypass_rls: bool = False
    inherit: bool = True
    create_role: bool = False
    create_database: bool = False
    member_of: tuple[MembershipRecord, ...] = ()


class GlobalsRecord(Document):
    """The companion of a backup, which holds roles, tablespaces and the database's own settings."""

    file: str
    raw_bytes: Count
    object_bytes: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    client_version: str
    superuser: str = Field(default="", description="The role that the server was created with.")
    statements: Count = 0
    roles: Count = 0
    memberships: Count = 0
    tablespaces: Count = 0
    settings: Count = 0


class Anomaly(Document):
    """What is odd about a backup's contents, in a sentence and in the two numbers that it is about."""

    kind: str
    table: str = ""
    sentence: str
    before: Annotated[int, Field(ge=0)]
    now: Annotated[int, Field(ge=0)]


class Manifest(Document):
    """The contents of a backup; written last, so that its presence means that the backup is complete."""

    _seldom: ClassVar[frozenset[str]] = frozenset({"selection", "dump_options", "left_out", "recipients"})

    format: Literal[1] = FORMAT
    tool: str = "pg-roundtrip"
    tool_version: str
    plan: str
    name: str
    database: str
    system_identifier: str = Field(default="", pattern=r"^(-?[0-9]{1,20})?$", description="Of the source's server.")
    database_oid: Count = 0
    compared_with: Count = Field(default=0, description="How many backups it was compared with; 0: it was not.")
    selection: str = Field(default="", max_length=40, description="What tells its selection from others; empty: whole.")
    anomalies: tuple[Anomaly, ...] = Field(default=(), description="What is odd, compared with the backups before.")
    server_version: str
    client_version: str
    encoding: str
    lc_monetary: str = Field(default="", description="The lc_monetary of money values; empty: the source's own.")
    source_lc_monetary: str = Field(default="", description="The source's own lc_monetary.")
    source_settings: dict[str, str] = Field(
        default={}, description="The settings under which the source computed values."
    )
    settings_left_out: tuple[str, ...] = Field(
        default=(), description="Names of the source's settings that a restore will not have."
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
    schema_rules: int = Field(default=1, description="The version of the rules by which statements were normalised.")
    schema_parts: dict[str, PartRecord] = {}
    tables: tuple[TableRecord, ...]
    sequences: tuple[SequenceRecord, ...]
    large_objects: Count
    large_object_digest: Digest
    extensions: dict[str, str]
    roles: tuple[str, ...]
    warnings: tuple[str, ...] = Field(default=(), description="pg_dump's warnings, and what it left out.")
    role_attributes: tuple[RoleRecord, ...] = Field(default=(), description="Of all roles of the source's server.")
    partitions: dict[str, str] | None = Field(default=None, description="The topmost table of each partition.")
    globals: GlobalsRecord | None = Field(default=None, exclude_if=_is_empty)
    globals_left_out: str = Field(
        default="", exclude_if=_is_empty, description="Why there are no roles and settings beside it."
    )
    dump_options: tuple[Name, ...] = Field(default=(), description="The options of pg_dump that the plan added.")
    left_out: Omissions | None = Field(default=None, description="What the plan's selection left out.")
    recipients: tuple[str, ...] = Field(default=(), description="The public keys that it is encrypted to.")

    @property
    def without(self) -> str:
        """What the selection left out, in words; empty for a whole backup."""
        return in_words(self.left_out, self.dump_options)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints of the keys that it is encrypted to; those that can't be read are left out."""
        found = []
        for text in self.recipients:
            with suppress(ValueError):
                found.append(recipient_in(text).fingerprint)
        return tuple(found)

    @property
    def rows(self) -> int:
        """The number of rows in all tables."""
        return sum(t.rows for t in self.tables)


class Verdict(StrEnum):
    """The outcome of a drill."""

    PROVEN = "PROVEN"
    FAILED = "FAILED"
    INCONCLUSIVE = "INCONCLUSIVE"


def shown_verdict(verdict: Verdict, without: str) -> str:
    """Return a verdict as people read it: PROVEN says what it does not cover."""
    return f"{verdict.value}{without_in_brackets(without) if verdict is Verdict.PROVEN else ''}"


class Check(Document):
    """One check of a drill. A warning is worth knowing but is not a problem with the backup."""

    name: str
    result: Literal["passed", "failed", "warning", "not possible"]
    evidence: str = ""
    seconds: float = Field(default=0.0, description="The duration of its pass; several checks can share one.")


class DrillReport(Document):
    """The findings of a drill, kept beside its backup."""

    _seldom: ClassVar[frozenset[str]] = frozenset({"without", "encrypted", "sealed", "destination"})

    format: Literal[1] = FORMAT
    tool_version: str
    backup: str
    verdict: Verdict
    cause: str = Field(description="Why the verdict is not PROVEN; empty when it is.")
    code: str = Field(default="", max_length=40, description="The stable code of that cause; reports of 1.0 have none.")
    hint: str = Field(default="", description="What to do about that cause; reports of 1.0 have none.")
    checks: tuple[Check, ...]
    place: str = Field(default="", description="Where it was restored: sandbox or database.")
    destination: str = Field(default="", max_length=40, description="Of several places, the one that was drilled.")
    target_version: str = ""
    started_at: Moment
    age_seconds: float = Field(default=0.0, description="The backup's age: how much data a loss would have cost.")
    tables: Count = 0
    rows: Count = 0
    raw_bytes: Count = 0
    restore_seconds: float
    compare_seconds: float = 0.0
    seconds: float
    warnings: tuple[str, ...] = Field(default=(), description="What the backup's manifest warns of.")
    without: str = Field(default="", max_length=1000, description="What the backup's selection left out, in words.")
    encrypted: bool = Field(default=False, description="Whether the backup is: then names are only in the sealed part.")
    sealed: str = Field(default="", description="This report with all that it says, encrypted with age, in base64.")

    @property
    def contents_hold(self) -> bool:
        """Whether the backup restores to what was dumped, whatever else was found: its age doesn't make it bad."""
        return contents_hold(self.verdict, {c.name for c in self.checks if c.result == "failed"})

    def summary(self) -> dict[str, object]:
        """Return the output of `pg-roundtrip drill --json`, for scripts."""
        return self.model_dump(
            mode="json",
            include={
                "verdict",
                "without",
                "backup",
                "cause",
                "hint",
                "checks",
                "restore_seconds",
                "seconds",
                "warnings",
                *(("destination",) if self.destination else ()),
            },
        )


def contents_hold(verdict: Verdict, failed: set[str]) -> bool:
    """Whether a drill with these failed checks shows that the backup restores to what was dumped."""
    return verdict is Verdict.PROVEN or (verdict is Verdict.FAILED and failed == {"backup age"})


class Acknowledgement(Document):
    """That somebody knows of a backup's anomalies; written once, beside it."""

    format: Literal[1] = FORMAT
    tool_version: str
    backup: str
    acknowledged_at: Moment


def read_manifest(data: bytes, name: str) -> Manifest:
    """Decode the manifest of the backup `name`; raises BackupDamaged if it is unreadable or another backup's."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise BackupDamaged(f"the manifest of {name} cannot be read: {faults_in(error)}", check="manifest") from None
    return named(manifest, name)


def named(manifest: M, name: str) -> M:
    """Return a manifest if it is that of the backup `name`; raises BackupDamaged."""
    if manifest.name != name:
        raise BackupDamaged(f"the manifest beside {name} belongs to {_shown(manifest.name)}", check="manifest")
    return manifest


def faults_in(error: ValidationError) -> str:
    """Name the first fields that can't be read."""
    return ", ".join(_shown(name) for name in sorted({_place(e["loc"]) or e["type"] for e in error.errors()})[:3])


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def _shown(text: str) -> str:
    """Return a text from a document, cut and cleaned for the log."""
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])


def read_report(data: bytes) -> DrillReport | None:
    """Decode a drill report; None for an unreadable one, which proves nothing."""
    try:
        return DrillReport.model_validate_json(data)
    except ValidationError:
        return None
