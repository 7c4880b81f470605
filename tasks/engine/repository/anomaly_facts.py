"""Reduce manifests to what anomalies are found from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.names import taken_at
from tasks.engine.repository.outline import Outline

ALL = ""  # of which only totals are known: all tables together
LARGE_OBJECTS = "large objects"  # judged as a table; a real one has a schema in its name


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a manifest says of one table; its digest as a number, and its columns as one that is only good to compare."""

    rows: int
    raw_bytes: int = 0
    digest: int = 0
    columns: int = 0


@dataclass(frozen=True)
class BackupFacts:
    """What a manifest says that anomalies are found from.

    `partitions` has the topmost table of each partition; None if unknown. `printed` is what decides how values are
    written: where it differs, so may the digests of equal rows. `told` are the tables of its anomalies, unless somebody
    acknowledged them.
    """

    name: str
    taken_at: datetime
    seconds: float
    raw_bytes: int
    tables: Mapping[str, TableFacts]
    partitions: Mapping[str, str] | None = None
    printed: str = ""
    told: frozenset[str] = frozenset()


def facts_of(made: Manifest, *, acknowledged: bool = False) -> BackupFacts:
    """Return the facts of a manifest, of which somebody may have acknowledged the anomalies."""
    tables = {t.name: TableFacts(t.rows, t.raw_bytes, int(t.digest, 16), hash(t.columns)) for t in made.tables}
    tables[LARGE_OBJECTS] = TableFacts(made.large_objects, 0, int(made.large_object_digest, 16))
    major, settings = made.server_version.partition(".")[0], sorted(made.source_settings.items())
    return BackupFacts(
        made.name, taken_at(made.name) or made.started_at, max(0.0, (made.ended_at - made.started_at).total_seconds()), made.raw_bytes, tables,
        made.partitions, f"{major} {made.encoding} {made.lc_monetary} {settings}",
        frozenset() if acknowledged else frozenset(a.table for a in made.anomalies if a.table),
    )  # fmt: skip


def totals_of(made: Outline) -> BackupFacts:
    """Return the facts of what a manifest says in the open, as if all rows were in one table."""
    seconds = max(0.0, (made.ended_at - made.started_at).total_seconds())
    taken = taken_at(made.name) or made.started_at
    return BackupFacts(made.name, taken, seconds, made.raw_bytes, {ALL: TableFacts(made.rows)})
