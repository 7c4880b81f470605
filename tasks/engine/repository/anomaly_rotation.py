"""Tell a rotation of partitions from a loss: a rotation drops few of a table's rows, or puts others in their place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from tasks.engine.repository.anomaly_facts import BackupFacts
from tasks.engine.repository.anomaly_told import was_told

# How much of a table a rotation leaves: partitions are created in advance, or by the one that replaces the oldest of two.
_LEFT, _LEFT_REPLACED = 0.75, 0.5
# Partitions are dropped and created by different jobs, which run on the same day.
_AT_ONCE = timedelta(days=2)
Partitions = Mapping[str, int]


def rotated_out(
    now: BackupFacts, before: Sequence[BackupFacts], parents: Mapping[str, str]
) -> tuple[set[str], dict[str, int]]:
    """Return what is gone and not missed: partitions; and the tables that lost too much with them, with their rows then.

    Where the last manifest doesn't tell partitions from tables, nothing that is gone is missed.
    """
    last, kept = before[-1], {parents.get(t, t) for t in now.tables}
    gone = {t for b in before for t in b.tables} - now.tables.keys()
    if now.partitions is None or (last.partitions is None and now.partitions):
        return gone, {}
    rotated, torn = {t for t in gone if t in parents and parents[t] in kept}, dict[str, int]()
    dropped = rotated & last.tables.keys()
    seen, left = [_by_table(b, parents) for b in before] if dropped else [], _by_table(now, parents)
    day = next(n for n, b in enumerate(before) if b is last or b.taken_at >= now.taken_at - _AT_ONCE)
    for table in {parents[t] for t in dropped}:
        had, has = [tables.get(table, {}) for tables in seen], left.get(table, {})
        share = _LEFT_REPLACED if _are_replaced(had[day:], has) else _LEFT
        told = [was_told(b, table) for b in before]
        if lost := _lost_from([sum(rows.values()) for rows in had], sum(has.values()), share, told):
            torn[table] = lost
            rotated -= had[-1].keys()
    return rotated, torn


def _by_table(facts: BackupFacts, parents: Mapping[str, str]) -> Mapping[str, dict[str, int]]:
    found = defaultdict[str, dict[str, int]](dict)
    for name, table in facts.tables.items():
        if name in parents:
            found[parents[name]][name] = table.rows
    return found


def _are_replaced(recent: Sequence[Partitions], now: Partitions) -> bool:
    """Whether a table got as many partitions as it lost."""
    gone = {name for rows in recent for name in rows} - now.keys()
    return len(now.keys() - recent[0].keys()) >= len(gone)


def _lost_from(series: Sequence[int], now: int, share: float, told: Sequence[bool]) -> int:
    """Return the most rows of which less than a share is left; 0 if that much is left, or if such losses are usual.

    Rows that are lost little by little count together; after a loss, what was left is what can be lost. A loss that
    nobody was told of, or that somebody acknowledged, is usual once as many rows came back.
    """
    most, lost_from, usual = 0, 0, False
    for rows, was in zip(series, told, strict=True):
        fallen = rows < share * most
        lost_from = most if fallen and not was else lost_from
        most, usual = rows if fallen else max(most, rows), usual or 0 < share * lost_from <= rows
    is_lost = now < share * most and not (usual and now >= share * min(series))
    return most if is_lost else 0
