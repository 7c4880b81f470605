"""Make backups comparable: leave out what says nothing, and take partitions together as their table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tasks.engine.repository.anomaly_facts import LARGE_OBJECTS, BackupFacts, TableFacts
from tasks.engine.repository.anomaly_rotation import rotated_out

_MODULUS = 1 << 128


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
    told: frozenset[str] = frozenset()

    def rows_of(self, table: str) -> int:
        """Return the rows of a table; 0 if it isn't there."""
        return self.groups[table].rows if table in self.groups else 0


@dataclass(frozen=True)
class Comparison:
    """A backup and those before it, oldest first.

    `same_print` is whether equal rows have equal digests in all of them; `torn` are tables that lost more rows with
    their partitions than a rotation drops, each with the rows that it had.
    """

    now: Comparable
    before: Sequence[Comparable]
    same_print: bool
    torn: Mapping[str, int] = field(default_factory=dict)

    @property
    def last(self) -> Comparable:
        """The backup before."""
        return self.before[-1]


def compare(now: BackupFacts, before: Sequence[BackupFacts], ignored: Callable[[str], bool]) -> Comparison:
    """Leave out what says nothing, and take partitions together; `before` is oldest first."""
    parents = {child: parent for b in (*before, now) for child, parent in (b.partitions or {}).items()}
    rotated, torn = rotated_out(now, before, parents)
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
    return Comparable(facts.taken_at, facts.seconds, facts.raw_bytes - gone, rows, groups, facts.told)
