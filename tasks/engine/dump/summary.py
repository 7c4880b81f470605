"""Hold what the scanner learns about a dump: counts and sums, and nothing of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tasks.engine.dump import schema_text as schema
from tasks.engine.dump.schema_parts import part_of


@dataclass
class TableCount:
    """The counts of one table. `start` is the offset of its COPY statement in the raw stream."""

    name: str
    columns: tuple[str, ...]
    start: int
    rows: int = 0
    raw_bytes: int = 0
    total: int = 0

    @property
    def digest(self) -> str:
        """The sum of the rows' hashes, independent of their order."""
        return schema.hex_digest(self.total)


@dataclass
class PartCount:
    """The counts of one part of the schema."""

    statements: int = 0
    total: int = 0

    def add(self, digest: int) -> None:
        """Count one more statement."""
        self.statements += 1
        self.total += digest

    @property
    def digest(self) -> str:
        """The sum of the statements' hashes, independent of their order."""
        return schema.hex_digest(self.total)


@dataclass
class DumpSummary:
    """Everything the scanner learned from a dump."""

    tables: dict[str, TableCount] = field(default_factory=dict)
    sequences: dict[str, tuple[int, bool]] = field(default_factory=dict)
    extensions: set[str] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    tablespaces: set[str] = field(default_factory=set)
    large_objects: int = 0
    large_object_total: int = 0
    schema_statements: int = 0
    schema_total: int = 0
    parts: dict[str, PartCount] = field(default_factory=dict)
    schema_kept: dict[int, bytes] = field(default_factory=dict)
    schema_as_dumped: dict[int, bytes] = field(default_factory=dict)  # of those kept, what was normalised
    schema_cut: bool = False  # whether the schema was larger than what is kept
    encoding: str = ""
    server_version: str = ""
    client_version: str = ""
    raw_bytes: int = 0
    inserts: int = 0  # rows that come as INSERT statements, as in dumps of other tools
    refused: str = ""  # the first statement that must not be restored, and why
    unknown_commands: list[str] = field(default_factory=list)
    problem: str = "the dump has not ended"

    @property
    def rows(self) -> int:
        """The number of rows in all tables."""
        return sum(t.rows for t in self.tables.values())

    @property
    def printers(self) -> tuple[str, str]:
        """The major versions that word its statements: pg_dump writes some of them, its source server the others."""
        return self.client_version.partition(".")[0], self.server_version.partition(".")[0]

    @property
    def schema_digest(self) -> str:
        """The sum of the hashes of the normalised statements, independent of their order."""
        return schema.hex_digest(self.schema_total)

    @property
    def large_object_digest(self) -> str:
        """The sum of the hashes of the large objects' pieces."""
        return schema.hex_digest(self.large_object_total)

    def exchanged(self, gone: Iterable[int], come: Mapping[int, bytes]) -> DumpSummary:
        """The same dump with other statements: without those of some digests, and with others, by digest, instead."""
        parts = {name: PartCount(part.statements, part.total) for name, part in self.parts.items()}
        kept, total, statements = dict(self.schema_kept), self.schema_total, self.schema_statements
        changes = [*((digest, kept.pop(digest), -1) for digest in gone), *((d, text, 1) for d, text in come.items())]
        for digest, text, sign in changes:
            part = parts.setdefault(part_of(text), PartCount())
            part.statements, part.total = part.statements + sign, part.total + sign * digest
            total, statements = total + sign * digest, statements + sign
        kept.update(come)
        return replace(self, schema_kept=kept, schema_total=total, schema_statements=statements, parts=parts)
