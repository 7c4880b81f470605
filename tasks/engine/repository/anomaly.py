"""Find what is odd about a backup's contents, compared with the backups before it.

Pure: facts go in, findings come out. `docs/anomalies.md` says what rows and digests can show, and what they can't.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import dropwhile, pairwise

from tasks.engine.repository.anomaly_comparison import Comparable, Comparison, Group, compare
from tasks.engine.repository.anomaly_facts import ALL, LARGE_OBJECTS, BackupFacts
from tasks.engine.repository.anomaly_figures import ENOUGH, FEWER_ROWS, SLOWER, SMALLER, fell, of_totals
from tasks.engine.repository.anomaly_told import LONGEST, MOST, shown, was_told
from tasks.engine.repository.checks import counted
from tasks.engine.repository.manifest import Anomaly

VANISHED, EMPTIED, SHRUNK, CHANGED = "vanished", "emptied", "shrunk", "changed"
FEWEST = 3  # backups, before anything is odd
_WORST_FIRST = (VANISHED, EMPTIED, FEWER_ROWS, SHRUNK, CHANGED, SMALLER, SLOWER)
_HALF, _SHRUNK_ROWS = 0.5, 1000
# A shorter table is told of only if it hardly ever shrank, weekends included.
_CALM, _CALM_SHARE, _CALM_ROWS = timedelta(days=8), 0.9, 100
# A table that loses half of its rows every now and then is a queue: it may be empty, too.
_QUEUE_SHARE = 0.1
# People edit short tables by hand; a long one that stayed the same for days, nobody does.
_SHORT_ROWS, _LONG_ROWS, _CONSTANT = 10, 1000, timedelta(days=6)


def find_anomalies(now: BackupFacts, before: Sequence[BackupFacts], ignored: Sequence[str] = ()) -> tuple[Anomaly, ...]:
    """Return what is odd about a backup, the worst first; nothing if fewer than three backups came before it.

    `before` are backups of the same database, in any order; `ignored` are patterns of table names.
    """
    known = sorted((b for b in before if b.taken_at < now.taken_at), key=lambda b: (b.taken_at, b.name))
    if len(known) < FEWEST:
        return ()
    compared = compare(now, known, lambda table: is_ignored(table, ignored))
    found = [a for name in compared.last.groups if name != ALL for a in _of_table(name, compared)]
    found += of_totals(compared)
    return _bounded(sorted(found, key=lambda a: (_WORST_FIRST.index(a.kind), a.now - a.before, a.table)))


def is_ignored(table: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern such as `audit.*`, or `sessions` in any schema, matches a table; quotes don't count.

    Large objects are in no schema: only a pattern without a dot matches them.
    """
    plain = (p.replace('"', "") for p in patterns)
    return any(
        fnmatchcase(table.replace('"', ""), p if "." in p or table == LARGE_OBJECTS else f"*.{p}") for p in plain
    )


def readable(anomalies: Sequence[Anomaly]) -> tuple[Anomaly, ...]:
    """Bound what a manifest says, as whoever can write to the bucket may have written it."""
    return tuple(
        a.model_copy(
            update={"kind": shown(a.kind), "table": shown(a.table), "sentence": shown(a.sentence, 4 * LONGEST)}
        )
        for a in anomalies[:MOST]
    )


def _of_table(name: str, compared: Comparison) -> Iterator[Anomaly]:
    """Yield at most one finding about a table of the last backup."""
    seen = _usual(name, compared.before)
    last, now = compared.last.groups[name], compared.now.groups.get(name)
    if len(seen) < FEWEST or not last.rows or any(name not in b.groups for b in seen):
        return  # too new, or it comes and goes
    rows = [b.groups[name].rows for b in seen]
    had = counted(last.rows, "large object" if name == LARGE_OBJECTS else "row")
    if now is None:
        if not _is_moved(last, compared):
            yield _about(name, VANISHED, f"had {had}, and is gone", last, now)
    elif most := compared.torn.get(name):
        left = f"{now.rows:,}" if now.rows else "none"
        yield _about(name, VANISHED, f"lost partitions: it had {counted(most, 'row')}, and has {left}", last, now)
    elif not now.rows:
        if all(rows) and not _may_be_empty(name, seen):
            yield _about(name, EMPTIED, f"had {had}, and has none", last, now)
    elif len(seen) < ENOUGH:
        return
    elif fell([(b.taken_at, b.groups[name].rows) for b in seen], now.rows, _HALF, _least_loss(name, seen)):
        yield _about(name, SHRUNK, f"had {had}, and has {now.rows:,}", last, now)
    elif compared.same_print and last.rows >= _LONG_ROWS and _was_constant(name, seen) and _is_altered(last, now):
        said = f"had the same {had} in {counted(len(seen), 'backup')}, and now has {_others(last, now)}"
        yield _about(name, CHANGED, said, last, now)


def _usual(name: str, before: Sequence[Comparable]) -> Sequence[Comparable]:
    """Leave out what says nothing about a table: its absence and emptiness at first, and losses that nobody acknowledged."""
    there = list(dropwhile(lambda b: name not in b.groups, _without_told_losses(name, before)))
    filled = list(dropwhile(lambda b: not b.rows_of(name), there))
    # One that was empty for longer than it had rows may be empty again.
    if len(filled) >= ENOUGH and filled[-1].taken_at - filled[0].taken_at >= filled[0].taken_at - there[0].taken_at:
        return filled
    return there


def _without_told_losses(name: str, before: Sequence[Comparable]) -> Iterator[Comparable]:
    """Leave out the backups from a told loss to when half of the lost rows are back; never the last one."""
    had = enough = 0
    for backup in before:
        rows = backup.rows_of(name)
        if rows < had and was_told(backup, name):
            enough = (had + rows + 1) // 2
        if rows >= enough:
            had, enough = rows, 0
        if not enough or backup is before[-1]:
            yield backup


def _least_loss(name: str, seen: Sequence[Comparable]) -> int:
    """Return how many rows a table must lose to be told: fewer if it hardly shrank for more than a week."""
    rows, known = [b.groups[name].rows for b in seen], seen[-1].taken_at - seen[0].taken_at
    calm = known >= _CALM and all(after >= _CALM_SHARE * before for before, after in pairwise(rows))
    return _CALM_ROWS if calm else _SHRUNK_ROWS


def _about(name: str, kind: str, said: str, last: Group, now: Group | None) -> Anomaly:
    table = shown(name)
    subject = "the database" if name == LARGE_OBJECTS else table
    return Anomaly(kind=kind, table=table, sentence=f"{subject} {said}", before=last.rows, now=now.rows if now else 0)


def _may_be_empty(name: str, seen: Sequence[Comparable]) -> bool:
    """Whether it is no surprise that a table, though it always had rows, has none."""
    rows = [b.groups[name].rows for b in seen]
    if rows[-1] < _SHORT_ROWS:
        return not _was_constant(name, seen)
    if len(rows) < ENOUGH and min(rows) < _HALF * max(rows):
        return True
    return sum(after < _HALF * before for before, after in pairwise(rows)) > _QUEUE_SHARE * len(rows)


def _was_constant(name: str, seen: Sequence[Comparable]) -> bool:
    """Whether a table had the same rows and columns for days."""
    groups = {(b.groups[name].digest, b.groups[name].columns) for b in seen}
    return len(groups) == 1 and seen[-1].taken_at - seen[0].taken_at >= _CONSTANT


def _is_altered(last: Group, now: Group) -> bool:
    """Whether rows were changed or removed; neither new rows nor new columns take anything away."""
    return now.columns == last.columns and now.digest != last.digest and now.rows <= last.rows


def _others(last: Group, now: Group) -> str:
    return "others" if now.rows == last.rows else f"{now.rows:,}"


def _is_moved(last: Group, compared: Comparison) -> bool:
    """Whether a table that is gone has another name or schema now: a new one has its rows, or its columns."""
    new = [group for name, group in compared.now.groups.items() if name not in compared.last.groups]
    return any(
        (group.rows, group.digest) == (last.rows, last.digest)
        or (group.columns == last.columns and group.rows > _HALF * last.rows)
        for group in new
    )


def _bounded(found: Sequence[Anomaly]) -> tuple[Anomaly, ...]:
    """Return as many as people read; the last one counts the rest."""
    if len(found) <= MOST:
        return tuple(found)
    named, rest = found[: MOST - 1], found[MOST - 1 :]
    more = rest[0].model_copy(update={"table": "", "sentence": f"… and {len(rest):,} more",
                                      "before": sum(a.before for a in rest), "now": sum(a.now for a in rest)})  # fmt: skip
    return (*named, more)
