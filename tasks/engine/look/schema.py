"""Read the statements of a backup's schema, without the rows between its beginning and its end.

Where the rows begin is known; where the last ones end is looked for from the end of the object backwards. The digest in
the manifest tells when nothing is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from blocks.errors import BackupDamaged
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.schema_parts import title_of
from tasks.engine.dump.schema_text import RULES, text_of
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.look.ranges import SqlRanges
from tasks.engine.repository.manifest import Manifest

_FIRST_TAIL_BYTES, _LONGEST_TAIL_BYTES = 128 << 10, 8 << 20
_MOST_SQL_BYTES = 64 << 20
_OWNED = re.compile(rb"ALTER SEQUENCE (.*) OWNED BY (.*);\Z", re.DOTALL)
# What rows and large objects end with; in a string it can mean nothing, which the digest then tells.
_ENDS = (b"\n\\.\n", b"\nCOMMIT;\n")


@dataclass(frozen=True)
class Schema:
    """Statements by their digest, in the dump's order: `normal` to compare, `texts` as they were dumped."""

    normal: Mapping[int, bytes]
    texts: Mapping[int, bytes]
    whole: bool = True


def read_schema(ranges: SqlRanges, manifest: Manifest) -> Schema:
    """Read all statements of a schema; raises BackupDamaged unless they are those that the manifest describes."""
    before = _before_rows(ranges)
    summary = _from_the_end(ranges, manifest, before) or _through_the_last_rows(ranges, manifest, before)
    if manifest.schema_rules == RULES and not _is_of(manifest, summary):
        raise BackupDamaged("its schema is not the one that its manifest describes", check="schema")
    return Schema(summary.schema_kept, {**summary.schema_kept, **summary.schema_as_dumped}, not summary.schema_cut)


def _before_rows(ranges: SqlRanges) -> bytes:
    """Return the SQL up to the first table's rows; all of it if there are none."""
    scanner, begun = DumpScanner(), bytearray()
    for block in ranges.sql_from(0):
        scanner.feed(block)
        begun += block
        if starts := scanner.take_table_starts():
            return bytes(begun[: starts[0]])
        if len(begun) > _MOST_SQL_BYTES:
            raise BackupDamaged(f"its schema has more than {_MOST_SQL_BYTES >> 20} MiB", check="schema")
    return bytes(begun)


def _from_the_end(ranges: SqlRanges, manifest: Manifest, before: bytes) -> DumpSummary | None:
    """Look for the end of the rows in ever more of the object's end; None if it isn't found."""
    if not manifest.tables or manifest.schema_rules != RULES:
        return None
    size_bytes = _FIRST_TAIL_BYTES
    while size_bytes <= _LONGEST_TAIL_BYTES:
        for rest in _behind_the_rows(ranges.last_sql(size_bytes, _MOST_SQL_BYTES) or b""):
            if _is_of(manifest, found := _scanned(before, [rest])):
                return found
        if size_bytes >= ranges.backup.object_bytes:
            return None
        size_bytes *= 4
    return None


def _behind_the_rows(tail: bytes) -> Iterator[bytes]:
    return (tail[tail.rindex(end) + len(end) :] for end in _ENDS if end in tail)


def _through_the_last_rows(ranges: SqlRanges, manifest: Manifest, before: bytes) -> DumpSummary:
    """Read from the table whose rows are last to the end."""
    last = max(manifest.tables, key=lambda t: (t.member_offset, t.skip_bytes), default=None)
    return _scanned(before, _behind(ranges, last.member_offset, last.skip_bytes) if last else [])


def _behind(ranges: SqlRanges, member_offset: int, skip_bytes: int) -> Iterator[bytes]:
    for block in ranges.sql_from(member_offset):
        yield block[skip_bytes:]
        skip_bytes = max(0, skip_bytes - len(block))


def _scanned(before: bytes, rest: Iterator[bytes] | list[bytes]) -> DumpSummary:
    scanner = DumpScanner(keep_schema=True)
    scanner.feed(before)
    for part in rest:
        scanner.feed(part)
    return scanner.finish()


def _is_of(manifest: Manifest, summary: DumpSummary) -> bool:
    return (summary.schema_statements, summary.schema_digest) == (manifest.schema_statements, manifest.schema_digest)


def about(schema: Schema, table: str, codec: str) -> list[bytes]:
    """Return the statements about a table, by its name as in the manifest: its own, and those of what belongs to it."""
    name = text_of(table.encode(codec, "replace"))
    owned = (_OWNED.match(text) for text in schema.normal.values())
    names = [name, *(text_of(found[1]) for found in owned if found and text_of(found[2]).startswith(f"{name}."))]
    pattern = re.compile(rf'(?<![\w."$])(?:{"|".join(map(re.escape, names))})(?![\w"$])')
    return [schema.texts[digest] for digest, text in schema.normal.items() if pattern.search(_subject(text))]


def _subject(statement: bytes) -> str:
    """Return what a statement is about; a title of extended statistics leaves out the table."""
    return text_of(statement) if statement.startswith(b"CREATE STATISTICS ") else title_of(statement)
