"""Histories of a database's backups, good and bad, to judge what finds anomalies in them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tasks.engine.repository import identity
from tasks.engine.repository.anomaly import find_anomalies
from tasks.engine.repository.anomaly_facts import BackupFacts, TableFacts
from tasks.engine.repository.anomaly_history import history_of
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.identity import Origin
from tasks.engine.repository.manifest import Anomaly
from tasks.engine.repository.names import name_at

SHOP = identity.Database("shop")
FIRST = datetime(2026, 3, 2, 2, tzinfo=UTC)  # a Monday
_numbers = itertools.count(1)


@dataclass
class Table:
    """A table; another `version` stands for other rows, other `columns` for other columns."""

    rows: int
    version: int = 0
    columns: int = field(default_factory=lambda: next(_numbers))
    row_bytes: float = 100
    number: int = field(default_factory=lambda: next(_numbers))

    def facts(self) -> TableFacts:
        """Return what a manifest says of it."""
        digest = abs(hash((self.number, self.rows, self.version))) if self.rows else 0
        return TableFacts(self.rows, round(self.rows * self.row_bytes), digest, self.columns)


@dataclass
class Database:
    """A database that a history changes between its backups."""

    tables: dict[str, Table] = field(default_factory=dict)
    partitions: dict[str, str] | None = field(default_factory=dict)
    seconds: float = 30.0
    printed: str = "17"

    @classmethod
    def of(cls, **rows: int) -> Database:
        """Return a database of some tables."""
        return cls({f"public.{name}": Table(count) for name, count in rows.items()})

    def __getitem__(self, name: str) -> Table:
        return self.tables[f"public.{name}"]

    def drop(self, name: str) -> Table:
        """Drop a table."""
        return self.tables.pop(f"public.{name}")

    def create(self, name: str, table: Table, partition_of: str = "") -> None:
        """Create a table, or a partition."""
        self.tables[f"public.{name}"] = table
        if partition_of and self.partitions is not None:
            self.partitions[f"public.{name}"] = f"public.{partition_of}"

    def facts(self, moment: datetime) -> BackupFacts:
        """Return what a backup of it says."""
        tables = {name: table.facts() for name, table in self.tables.items()}
        known = None if self.partitions is None else {n: p for n, p in self.partitions.items() if n in tables}
        raw_bytes = 20_000 + sum(t.raw_bytes for t in tables.values())
        return BackupFacts(name_at(moment), moment, self.seconds, raw_bytes, tables, known, self.printed)


Step = Callable[[Database, int, random.Random], None]


def history(
    database: Database, steps: int, *changes: Step, every: timedelta = timedelta(days=1), seed: int = 1, first: datetime = FIRST
) -> list[BackupFacts]:  # fmt: skip
    """Return the backups of a database that is changed before each of them."""
    chance, made = random.Random(seed), []
    for step in range(steps):
        for change in changes:
            change(database, step, chance)
        made.append(database.facts(first + step * every))
    return made


def warned(
    made: Iterable[BackupFacts], ignored: Iterable[str] = (), kept: timedelta = timedelta(days=60),
    acknowledged: Container[int] = (),
) -> Iterator[tuple[int, Anomaly]]:  # fmt: skip
    """Yield the anomalies that are found as a history is made, each with the number of its backup."""
    before, odd = list[BackupFacts](), set[str]()
    for step, facts in enumerate(made):
        before = [b for b in before if facts.taken_at - b.taken_at <= kept]
        known = {b.name: b for b in before}
        listed = [Backup(b.name, b.taken_at, b.name, 1, has_manifest=True, has_report=False,
                         origin=Origin("p", SHOP, anomalous=b.name in odd)) for b in before]  # fmt: skip
        chosen = [known[b.name] for b in history_of(listed, facts.taken_at)]
        found = find_anomalies(facts, chosen, tuple(ignored))
        yield from ((step, anomaly) for anomaly in found)
        odd |= {facts.name} if found else set()
        told = frozenset() if step in acknowledged else frozenset(a.table for a in found if a.table)
        before.append(replace(facts, told=told))


def grow(name: str, share: float, noise: float = 0.0) -> Step:
    """A table that grows by a share from backup to backup, more or less."""

    def change(database: Database, step: int, chance: random.Random) -> None:
        table = database.tables.get(f"public.{name}")
        if step and table:
            table.rows = max(0, round(table.rows * (1 + share + chance.uniform(-noise, noise))))

    return change


def vary(name: str, fewest: int, most: int) -> Step:
    """A table of which nobody can tell how many rows it will have."""

    def change(database: Database, _: int, chance: random.Random) -> None:
        database[name].rows = chance.randint(fewest, most)

    return change


def at(step: int, change: Callable[[Database], object]) -> Step:
    """Something that happens before one backup."""

    def changed(database: Database, now: int, _: random.Random) -> None:
        if now == step:
            change(database)

    return changed
