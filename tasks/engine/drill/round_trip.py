"""Compare what was backed up with what the object holds, and that with what a restore brings back."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from blocks.config.dump_options import NO_BLOBS
from tasks.engine.drill.made_by_restore import unlogged_tables, without_taken_over
from tasks.engine.dump import schema_text as schema
from tasks.engine.dump.schema_parts import Differences, Entry, compare_statements
from tasks.engine.dump.schema_text import plain_name
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.checks import compared, counted, not_possible, passed, shortened, warned
from tasks.engine.repository.manifest import Check, Manifest
from tasks.engine.restore.reader import ReadResult

NO_MANIFEST = "no manifest: another tool made this backup"
_DIFF_LINES = 60
_OF_ROWS = (checklist.TABLES, checklist.ROWS, checklist.DIGESTS)
# The parts of a schema that have their own row; everything else appears only in the row of the schema.
_PARTS = (
    checklist.INDEXES, checklist.CONSTRAINTS, checklist.TRIGGERS, checklist.EXTENSIONS, checklist.RIGHTS,
    checklist.MATERIALIZED,
)  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """What a dump holds of one table, or of all large objects."""

    rows: int
    digest: str


@dataclass(frozen=True)
class _Side:
    """One of the three sides of the comparison: the manifest, the object or the restored copy."""

    name: str
    tables: Mapping[str, Contents]
    large_objects: Contents
    sequences: Mapping[str, tuple[int, bool]]


def contents_of(source: Manifest | DumpSummary) -> dict[str, Contents]:
    """Return the tables of a manifest or of a scanned dump."""
    tables = source.tables.values() if isinstance(source, DumpSummary) else source.tables
    return {plain_name(t.name): Contents(t.rows, t.digest) for t in tables}


def check_object(manifest: Manifest | None, result: ReadResult) -> list[Check]:
    """Return the checks that an object read to its end has passed: a failure of any would have ended the drill."""
    size = f"{result.object_bytes:,} bytes, SHA-256 {result.sha256}"
    return [
        passed(checklist.SIZE, size) if manifest else not_possible(checklist.SIZE, f"{NO_MANIFEST}; it has {size}"),
        passed(checklist.GZIP, f"every member has its checksum; {result.summary.raw_bytes:,} bytes of SQL in it"),
        passed(checklist.COMPLETE, "pg_dump's completion comment is at its end, outside of rows and statements"),
    ]


def check_contents(
    manifest: Manifest | None, stored: DumpSummary, restored: DumpSummary, unsure: frozenset[str] = frozenset()
) -> list[Check]:
    """Compare only tables, rows and large objects.

    The text of `unsure` tables may have been written under an unknown setting: if they differ, that proves nothing.
    """
    pairs = _pairs(manifest, stored, restored)
    contents = _check_contents(pairs, foreign=manifest is None, unlogged=unlogged_tables(stored), unsure=unsure)
    if manifest and manifest.without:
        without = {checklist.TABLES: manifest.without}
        without |= {checklist.LARGE_OBJECTS: "large objects"} if NO_BLOBS in manifest.dump_options else {}
        contents = [_taken_without(c, without.get(c.name, "")) for c in contents]
    if stored.inserts:
        why = f"{counted(stored.inserts, 'row')} in it came as INSERT statements, which are not compared"
        contents = [not_possible(c.name, why) if c.name in _OF_ROWS and c.result == "passed" else c for c in contents]
    return contents


def _taken_without(check: Check, words: str) -> Check:
    if not words or check.result != "passed":
        return check
    return check.model_copy(update={"evidence": f"{check.evidence}; the backup was taken without {words}"})


def check_schema(
    manifest: Manifest | None, stored: DumpSummary, restored: DumpSummary, unread: str = ""
) -> list[Check]:
    """Compare the schema and the sequences of the manifest, the object and a dump of its restored copy.

    A foreign backup, without a manifest, may have been dumped with options other than ours (`--inserts`, `--no-owner`,
    `--clean`): what our dump has in addition, or prints differently, is not damage and cannot be compared. `unread` says
    why the server could not tell whether statements that are worded differently mean the same.
    """
    sequences = _check_sequences(_pairs(manifest, stored, restored))
    return [*_check_statements(manifest, stored, restored, unread), sequences]


def _pairs(manifest: Manifest | None, stored: DumpSummary, restored: DumpSummary) -> list[tuple[_Side, _Side]]:
    """Return the sides to compare, in pairs."""
    object_, copy = _side("the object", stored), _side("the restored copy", restored)
    return [*([(_side("the manifest", manifest), object_)] if manifest else []), (object_, copy)]


def _side(name: str, source: Manifest | DumpSummary) -> _Side:
    if isinstance(source, DumpSummary):
        sequences = {plain_name(name): stand for name, stand in source.sequences.items()}
    else:
        sequences = {plain_name(s.name): (s.value, s.called) for s in source.sequences}
    large_objects = Contents(source.large_objects, source.large_object_digest)
    return _Side(name, contents_of(source), large_objects, sequences)


def _check_contents(
    pairs: Sequence[tuple[_Side, _Side]], *, foreign: bool, unlogged: set[str], unsure: frozenset[str]
) -> list[Check]:
    counts, digests, large, doubtful = [], [], [], list[str]()
    for before, after in pairs:
        for name in before.tables.keys() & after.tables.keys():
            had, has = before.tables[name], after.tables[name]
            if had.rows != has.rows:
                counts.append(f"{name}: {had.rows} rows in {before.name}, {has.rows} in {after.name}")
            elif had.digest != has.digest and name in unsure and after is pairs[-1][1]:
                doubtful.append(name)
            elif had.digest != has.digest:
                digests.append(f"{name}: the {had.rows} rows in {after.name} are not those in {before.name}")
        if before.large_objects != after.large_objects:
            number, others = before.large_objects.rows, after.large_objects.rows
            same = f"the {number} in {after.name} are not those in {before.name}"
            large.append(same if number == others else f"{number} in {before.name}, {others} in {after.name}")
    side = pairs[0][0]
    rows = sum(t.rows for t in side.tables.values())
    return [
        _check_tables(pairs, foreign=foreign, unlogged=unlogged),
        compared(checklist.ROWS, sorted(counts), counted(rows, "row")),
        not_possible(checklist.DIGESTS, in_doubt(doubtful))
        if doubtful and not digests
        else compared(checklist.DIGESTS, sorted(digests), f"{counted(len(side.tables), 'digest')} of all rows"),
        compared(checklist.LARGE_OBJECTS, large, counted(side.large_objects.rows, "large object")),
    ]


def read_otherwise(stored: DumpSummary, restored: DumpSummary, unsure: frozenset[str]) -> list[str]:
    """Return the `unsure` tables with the same number of rows but different contents."""
    had, has = contents_of(stored), contents_of(restored)
    return sorted(n for n in unsure & had.keys() & has.keys() if had[n].rows == has[n].rows and had[n] != has[n])


def in_doubt(tables: Sequence[str]) -> str:
    """Return the explanation for tables whose money reads differently."""
    names = ", ".join(shortened(sorted(tables)))
    return (
        f"money in {names} was written under an lc_monetary that the backup does not name, and reads differently here"
    )


def _check_tables(pairs: Sequence[tuple[_Side, _Side]], *, foreign: bool, unlogged: set[str]) -> Check:
    """Check that every table is on all sides. An unlogged one whose rows a standby could not read comes back empty."""
    gone, empty = [], list[str]()
    for before, after in pairs:
        gone += [f"{n} is in {before.name}, not in {after.name}" for n in before.tables if n not in after.tables]
        added = [n for n in after.tables if n not in before.tables and not foreign]
        left_out = [n for n in added if n in unlogged and after is pairs[-1][1] and not after.tables[n].rows]
        gone += [f"{n} is in {after.name}, not in {before.name}" for n in added if n not in left_out]
        empty += [f"{n} is unlogged and comes back empty: the backup has no rows for it" for n in left_out]
    evidence = counted(len(pairs[0][0].tables), "table")
    if empty and not gone:
        return warned(checklist.TABLES, "; ".join([evidence, *shortened(empty)]))
    return compared(checklist.TABLES, gone, evidence)


def _check_sequences(pairs: Sequence[tuple[_Side, _Side]]) -> Check:
    behind = [
        f"{name} is at {_position(had)} in {before.name}, {_position(after.sequences.get(name))} in {after.name}"
        for before, after in pairs
        for name, had in before.sequences.items()
        if after.sequences.get(name) != had
    ]
    return compared(checklist.SEQUENCES, behind, counted(len(pairs[0][0].sequences), "sequence"))


def _position(stand: tuple[int, bool] | None) -> str:
    """Return a sequence's value, and whether it was already handed out."""
    if stand is None:
        return "nowhere"
    return f"{stand[0]}" if stand[1] else f"{stand[0]}, which it has not handed out yet,"


def _check_statements(
    manifest: Manifest | None, stored: DumpSummary, restored: DumpSummary, unread: str
) -> Iterator[Check]:
    """Yield a row for the whole schema, and one for each part that has its own."""
    same_majors = stored.printers == restored.printers
    found, taken, exact = Differences(), list[str](), same_majors and not unread
    if stored.schema_digest != restored.schema_digest:
        restored, taken = without_taken_over(stored, restored)
    if stored.schema_digest != restored.schema_digest:
        found = compare_statements(stored.schema_kept, restored.schema_kept, exact=same_majors)
    lost = _lost_parts(manifest, stored) if manifest and manifest.schema_rules == schema.RULES else {}
    comparable = manifest and not (stored.schema_cut or restored.schema_cut)
    whole = _whole_schema(stored, restored, found, exact=exact, lost=lost.get(checklist.SCHEMA))
    if unread and whole.result == "passed":
        whole = not_possible(checklist.SCHEMA, f"{whole.evidence}; {unread}")
    if taken and whole.result == "passed":
        whole = warned(checklist.SCHEMA, "; ".join([whole.evidence, "inherited from a parent", *shortened(taken)]))
    yield whole if comparable or (manifest and exact) else _incomparable(whole)
    for part in _PARTS:
        differences = [*([lost[part]] if part in lost else []), *_changes(found, exact=exact, part=part)]
        count = stored.parts[part].statements if part in stored.parts else 0
        check = compared(part, differences, f"{counted(count, 'statement')} compared")
        unknown = _changes(found, exact=True, part=part) if unread else []
        if unknown and not differences:
            check = not_possible(part, "; ".join([*shortened(unknown), unread]))
        yield check if comparable else _incomparable(check)


def _whole_schema(
    stored: DumpSummary, restored: DumpSummary, found: Differences, *, exact: bool, lost: str | None
) -> Check:
    printers = (_printer(stored), _printer(restored))
    versions = " and ".join(dict.fromkeys(printers))
    differences, evidence = [lost] if lost else [], f"{counted(stored.schema_statements, 'statement')} compared"
    differs = stored.schema_digest != restored.schema_digest
    if found.missing or found.added or (exact and differs):
        named = shortened(_changes(found, exact=exact)) or _parts_of(found)
        diff = "; ".join([*named, f"printed by {versions}:\n{diff_of(stored, restored)}"])
        differences.append(diff)
    elif found.changed:
        evidence += (
            f"; {len(found.changed)} of them are worded differently by {versions}: only their presence was compared"
        )
    return compared(checklist.SCHEMA, differences, evidence)


def _printer(dump: DumpSummary) -> str:
    same = dump.server_version.split()[:1] == dump.client_version.split()[:1]
    return f"pg_dump {dump.client_version}" + ("" if same else f" of a server {dump.server_version}")


def _changes(found: Differences, *, exact: bool, part: str = "") -> list[str]:
    """Name what differs in one part of the schema, or in everything that does not have its own row."""

    def named(what: str, entries: Sequence[Entry]) -> list[str]:
        return [f"{what}: {e.title}" for e in entries if (e.part == part if part else e.part not in _PARTS)]

    changed = named("changed", found.changed) if exact else []
    return [*named("not restored", found.missing), *named("not in the backup", found.added), *changed]


def _parts_of(found: Differences) -> list[str]:
    parts = {entry.part for entry in (*found.missing, *found.added, *found.changed)}
    return [f"differs in {', '.join(sorted(parts))}"]


def _incomparable(check: Check) -> Check:
    """Mark differences as inconclusive: the backup has no manifest, or not all of the schema was kept."""
    if check.result == "passed":
        return check
    return check.model_copy(update={"result": "not possible", "evidence": f"cannot be compared: {check.evidence}"})


def _lost_parts(manifest: Manifest, stored: DumpSummary) -> dict[str, str]:
    """Return the parts of the schema in which the object differs from the manifest; empty if the schema is the same."""
    if manifest.schema_digest == stored.schema_digest:
        return {}
    numbers = (manifest.schema_statements, stored.schema_statements)
    lost = {checklist.SCHEMA: "the manifest's {} statements are not the {} in the object".format(*numbers)}
    for part in manifest.schema_parts.keys() | stored.parts.keys():
        had, has = manifest.schema_parts.get(part), stored.parts.get(part)
        if had is None or has is None or had.digest != has.digest:
            numbers = (had.statements if had else 0, has.statements if has else 0)
            lost[part] = "the manifest's {} statements are not the {} in the object".format(*numbers)
    return lost


def diff_of(stored: DumpSummary, restored: DumpSummary) -> str:
    """Return a unified diff of the statements that differ, at most 60 lines."""
    before = _only_in(stored.schema_kept, restored.schema_kept)
    after = _only_in(restored.schema_kept, stored.schema_kept)
    lines = [*difflib.unified_diff(before, after, "stored", "restored", lineterm="", n=1)]
    if len(lines) > _DIFF_LINES:
        lines = [*lines[:_DIFF_LINES], f"… and {len(lines) - _DIFF_LINES} lines more"]
    return "\n".join(lines) or "the number of statements differs"


def _only_in(these: Mapping[int, bytes], others: Mapping[int, bytes]) -> list[str]:
    texts = sorted(text.decode(errors="replace") for digest, text in these.items() if digest not in others)
    return "\n".join(texts).splitlines()
