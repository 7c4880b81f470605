"""Compare two backups by what their manifests say: policy without any reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.engine.dump.schema_parts import PARTS
from tasks.engine.repository.manifest import Manifest, TableRecord

Change = Literal["new", "gone", "grew", "shrank", "changed"]


@dataclass(frozen=True)
class TableChange:
    """What happened to a table between two backups; no rows and bytes where it isn't there."""

    name: str
    change: Change
    rows_before: int
    rows_now: int
    bytes_before: int
    bytes_now: int
    columns: str = ""  # what happened to them, in words


@dataclass(frozen=True)
class Comparison:
    """How two backups differ; `others` says in words, by what it is about, what else does."""

    tables: tuple[TableChange, ...]
    same_tables: int
    parts: tuple[str, ...]
    others: Mapping[str, str]

    @property
    def same(self) -> bool:
        """Whether both have the same contents."""
        return not (self.tables or self.parts or self.others)


def compare(before: Manifest, now: Manifest) -> Comparison:
    """Compare two manifests, the older one first."""
    old, new = ({table.name: table for table in manifest.tables} for manifest in (before, now))
    both = [(old[name], new[name]) for name in old.keys() & new.keys()]
    changed = [
        *(_change(table, None, "gone") for name, table in old.items() if name not in new),
        *(_change(None, table, "new") for name, table in new.items() if name not in old),
        *(_change(a, b, _kind(a, b)) for a, b in both if _differ(a, b)),
    ]
    ordered = tuple(sorted(changed, key=lambda c: (-abs(c.rows_now - c.rows_before), c.name)))
    return Comparison(ordered, sum(not _differ(a, b) for a, b in both), _parts(before, now), dict(_others(before, now)))


def _differ(a: TableRecord, b: TableRecord) -> bool:
    return (a.rows, a.digest, a.columns) != (b.rows, b.digest, b.columns)


def _kind(a: TableRecord, b: TableRecord) -> Change:
    return "changed" if a.rows == b.rows else "grew" if a.rows < b.rows else "shrank"


def _change(a: TableRecord | None, b: TableRecord | None, change: Change) -> TableChange:
    columns = ""
    if a and b and a.columns != b.columns:
        gone, come = set(a.columns) - set(b.columns), set(b.columns) - set(a.columns)
        columns = ", ".join([*(f"-{c}" for c in a.columns if c in gone), *(f"+{c}" for c in b.columns if c in come)])
        columns = columns or "in another order"
    some = a or b
    assert some
    return TableChange(
        some.name, change, a.rows if a else 0, b.rows if b else 0, a.raw_bytes if a else 0, b.raw_bytes if b else 0,
        columns,
    )  # fmt: skip


def _parts(before: Manifest, now: Manifest) -> tuple[str, ...]:
    """Name the parts of the schema that differ; digests by different rules can't be compared."""
    if before.schema_rules != now.schema_rules:
        return ()
    return tuple(part for part in PARTS if before.schema_parts.get(part) != now.schema_parts.get(part))


def _others(before: Manifest, now: Manifest) -> Iterator[tuple[str, str]]:
    old, new = ({s.name: s for s in m.sequences} for m in (before, now))
    moved = sum(old.get(name) != new.get(name) for name in old.keys() | new.keys())
    if moved:
        yield "sequences", f"{moved} differ"
    if (before.large_objects, before.large_object_digest) != (now.large_objects, now.large_object_digest):
        yield "large objects", f"{before.large_objects:,} → {now.large_objects:,}"
    for name in sorted(before.extensions.keys() | now.extensions.keys()):
        a, b = before.extensions.get(name, "none"), now.extensions.get(name, "none")
        if a != b:
            yield f"extension {name}", f"{a} → {b}"
    for what, a, b in (
        ("database", before.database, now.database),
        ("server version", before.server_version, now.server_version),
        ("encoding", before.encoding, now.encoding),
        ("left out", before.without or "nothing", now.without or "nothing"),
        ("rules of the schema", str(before.schema_rules), str(now.schema_rules)),
    ):
        if a != b:
            yield what, f"{a} → {b}"
