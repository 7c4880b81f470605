"""Read the rows of one table, and compare them with what was dumped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from blocks.errors import BackupDamaged
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.schema_text import codec_of
from tasks.engine.dump.steps import Rows
from tasks.engine.look.ranges import SqlRanges
from tasks.engine.repository.manifest import Manifest, TableRecord

_END = b"\\.\n"
_NULL = "\\N"
# As COPY writes them: https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LONGEST_SHOWN_BYTES = 1 << 20


def lines_of(ranges: SqlRanges, manifest: Manifest, table: TableRecord) -> Iterator[bytes]:
    """Yield the rows of a table as COPY writes them, in pieces that may end within a row.

    Raises BackupDamaged at the end, or before it, unless their number and digest are those of the manifest.
    """
    scanner = DumpScanner(keep_steps=True)
    # So that names are read as in the dump.
    scanner.feed(f"SET client_encoding = '{manifest.encoding}';\n".encode())
    scanner.take_steps()
    for part in _copied(ranges, table):
        scanner.feed(part)
        for step in scanner.take_steps():
            if isinstance(step, Rows):
                yield bytes(step.data).removesuffix(_END) if step.last else bytes(step.data)
    found = scanner.summary.tables.get(table.name)
    if found is None or (found.rows, found.digest) != (table.rows, table.digest):
        raise BackupDamaged(f"the rows of {table.name} are not those that its manifest describes", check="rows")


def _copied(ranges: SqlRanges, table: TableRecord) -> Iterator[bytes]:
    """Yield a COPY statement and its rows, up to the end marker."""
    skip, left = table.skip_bytes, table.raw_bytes
    for block in ranges.sql_from(table.member_offset):
        part = block[skip : skip + left]
        skip, left = max(0, skip - len(block)), left - len(part)
        yield part
        if not left:
            return


def first_rows(ranges: SqlRanges, manifest: Manifest, table: TableRecord, count: int) -> list[list[str | None]]:
    """Return the values of the first rows; NULL is None. Values of more than a megabyte are cut."""
    rows, held, codec = list[list[str | None]](), b"", codec_of(manifest.encoding)
    for part in lines_of(ranges, manifest, table):
        *lines, held = (held + part).split(b"\n")
        rows += [_values(line, codec) for line in lines[: count - len(rows)]]
        if len(rows) == count:
            break
        if len(held) > _LONGEST_SHOWN_BYTES:
            return [*rows, _values(held[:_LONGEST_SHOWN_BYTES], codec)]
    return rows


def _values(line: bytes, codec: str) -> list[str | None]:
    return [None if value == _NULL else _plain(value) for value in line.decode(codec, "backslashreplace").split("\t")]


def _plain(value: str) -> str:
    return _ESCAPED.sub(lambda found: _MEANT.get(found[1], found[1]), value)
