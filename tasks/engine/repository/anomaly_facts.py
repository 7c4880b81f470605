"""Reduce manifests to what anomalies are found from, and make backups comparable: partitions count as their table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.names import taken_at

LARGE_OBJECTS = "large objects"  # judged as a table; a real one has a schema in its name
_MODULUS = 1 << 128


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
    written: where it differs, so may the digests of equal rows.
    """

    name: str
    taken_at: datetime
    seconds: float
    raw_bytes: int
    tables: Mapping[str, TableFacts]
    partitions: Mapping[str, str] | None = None
    printed: str = ""


@dataclass(frozen=True)
class Group:
    """A table, or a table with all its partitions: the digest of partitions is the sum of theirs."""

    rows: int
    digest: int
    columns: frozenset[int]


@dataclass(frozen=True)
class Comparable:
    """A backup without what is not compared: ignored tables, and partitions that were dropped in rotation."""

    taken_at: datetime
    seconds: float
    raw_bytes: int
    rows: int
    groups: Mapping[str, Group]


@dataclass(frozen=True)
class Comparison:
    """A backup and those before it, oldest first.

    `same_print` is whether equal rows have equal digests in all of them; `torn` are tables that have just lost more
    partitions than a rotation drops.
    """

    now: Comparable
    before: Sequence[Comparable]
    same_print: bool
    torn: frozenset[str] = frozenset()

    @property
    def last(self) -> Comparable:
        """The backup before."""
        return self.before[-1]


def facts_of(made: Manifest) -> BackupFacts:
    """Return the facts of a manifest."""
    tables = {t.name: TableFacts(t.rows, t.raw_bytes, int(t.digest, 16), hash(t.columns)) for t in made.tables}
    tables[LARGE_OBJECTS] = TableFacts(made.large_objects, 0, int(made.large_object_digest, 16))
    major, settings = made.server_version.partition(".")[0], sorted(made.source_settings.items())
    return BackupFacts(
        made.name, taken_at(made.name) or made.started_at, max(0.0, (made.ended_at - made.started_at).total_seconds()), made.raw_bytes, tables,
        made.partitions, f"{major} {made.encoding} {made.lc_monetary} {settings}",
    )  # fmt: skip


def compare(now: BackupFacts, before: Sequence[BackupFacts], ignored: Callable[[str], bool]) -> Comparison:
    """Leave out what says nothing, and take partitions together; `before` is oldest first."""
    parents = {child: parent for b in (*before, now) for child, parent in (b.partitions or {}).items()}
    rotated, torn = _rotated_out(now, before, parents)
    names = now.tables.keys() | {t for b in before for t in b.tables}
    left_out = rotated | {t for t in names if ignored(t) or ignored(parents.get(t, t))}
    seen = [_without(b, left_out, parents) for b in (*before, now)]
    return Comparison(seen[-1], seen[:-1], len({b.printed for b in (*before, now)}) == 1, torn)


def _without(facts: BackupFacts, left_out: Collection[str], parents: Mapping[str, str]) -> Comparable:
    members = defaultdict[str, list[TableFacts]](list)
    for name, table in facts.tables.items():
        if name not in left_out:
            members[parents.get(name, name)].append(table)
    groups = {
        name: Group(
            sum(t.rows for t in tables),
            sum(t.digest for t in tables) % _MODULUS,
            frozenset(t.columns for t in tables),
        )
        for name, tables in members.items()
    }
    gone = sum(t.raw_bytes for name, t in facts.tables.items() if name in left_out)
    rows = sum(group.rows for name, group in groups.items() if name != LARGE_OBJECTS)
    return Comparable(facts.taken_at, facts.seconds, facts.raw_bytes - gone, rows, groups)


def _rotated_out(
    now: BackupFacts, before: Sequence[BackupFacts], parents: Mapping[str, str]
) -> tuple[set[str], frozenset[str]]:
    """Return what is gone and not missed: partitions, as many as a rotation drops; and the tables that lost more.

    Where the last manifest doesn't tell partitions from tables, nothing that is gone is missed.
    """
    last, kept = before[-1], {parents.get(t, t) for t in now.tables}
    gone = {t for b in before for t in b.tables} - now.tables.keys()
    if now.partitions is None or (last.partitions is None and now.partitions):
        return gone, frozenset()
    torn = set[str]()
    rotated = {t for t in gone if t in parents and parents[t] in kept}
    for parent in {parents[t] for t in rotated}:
        had = {t for t in last.tables if parents.get(t) == parent}
        new = sum(parents.get(t) == parent for t in now.tables.keys() - last.tables.keys())
        # Each new partition replaces an old one; where they are created in advance, some go and none comes.
        if len(dropped := had & rotated) > max(1, new, len(had) // 4):
            rotated -= dropped
            torn.add(parent)
    return rotated, frozenset(torn)
