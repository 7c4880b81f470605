"""Watch a dump go by: count and digest the rows of every table, and know whether the dump is whole.

The scanner reads plain pg_dump SQL in pieces of any size and keeps nothing of it but sums. It trusts the
syntax alone: a line inside a string or a function body that looks like `COPY t FROM stdin;` changes nothing, and a
row that looks like SQL is a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from io import BytesIO

from xxhash import xxh3_128, xxh3_128_intdigest

from blocks.errors import BackupDamaged
from tasks.engine import checklist
from tasks.engine import schema_text as schema
from tasks.engine.allowed import refused
from tasks.engine.dump_summary import DumpSummary, PartCount, TableCount
from tasks.engine.schema_parts import part_of
from tasks.engine.statements import Piece, StatementSplitter

_COMPLETE = b"-- PostgreSQL database dump complete"
_DUMPED_FROM = re.compile(rb"-- Dumped from database version (\S+)")
_DUMPED_BY = re.compile(rb"-- Dumped by pg_dump version (\S+)")
_END_OF_ROWS = b"\\.\n"
# psql takes one with a carriage return for the end, too; nobody writes it, so what comes behind it is not to be trusted.
_OTHER_END_OF_ROWS = b"\\.\r\n"
_LAST_ROWS = re.compile(rb"\n\\\.\r?\n")
# Statements are looked at in pieces of this size, so that little is looked at in vain when rows follow.
_SQL_BYTES = 1 << 16
# A row longer than this is hashed as it comes: a single value may have a gigabyte.
_LONG_ROW_BYTES = 1 << 20
_SHOWN = 80
_KEPT_SCHEMA_BYTES = 32 << 20
# Far more than a view or a function ever has, and than memory that a small container has to spare.
_LONGEST_STATEMENT_BYTES = 64 << 20
# Of names that are collected, and of each mention of a table: some hundred thousand tables.
_COLLECTED_BYTES = 128 << 20
_MENTION_BYTES = 64
_COMMANDS = 64


class DumpScanner:
    """Feed it a dump; ask `finish()` for the summary.

    `columns` names the column order in which rows of a table are to be digested, when the dump has them in
    another: a restored child table may list inherited columns first. `keep_schema` keeps the statements, to explain
    differences with (32 MiB of them at most).
    """

    def __init__(self, columns: Mapping[str, tuple[str, ...]] | None = None, *, keep_schema: bool = False) -> None:
        self.summary = DumpSummary()
        self._columns = columns or {}
        self._keep_bytes = _KEPT_SCHEMA_BYTES if keep_schema else 0
        self._splitter = StatementSplitter()
        self._normaliser = schema.SchemaNormaliser()
        self._table: TableCount | None = None
        self._codec = "utf-8"
        self._order: list[int] = []
        self._skip_line = False
        self._carry = b""
        self._long_row: xxh3_128 | None = None
        self._large_object = b""
        self._piece_number = 0
        self._ended = False
        self._fed = 0  # the offset of the block that is being scanned
        self._starts: list[int] = []
        self._restrictions: list[int] = []
        self._restricted = 0
        self._collected_bytes = 0

    @property
    def in_body(self) -> bool:
        """Whether the dump ends where psql waits for the END of a routine's body."""
        return self._splitter.in_body

    def take_table_starts(self) -> list[int]:
        """The offsets of the COPY statements seen since the last call."""
        starts, self._starts = self._starts, []
        return starts

    def take_restrictions(self) -> list[int]:
        """The offsets of the commands that restrict psql, and end that, seen since the last call."""
        offsets, self._restrictions = self._restrictions, []
        return offsets

    def feed(self, block: bytes) -> None:
        """Scan the next bytes of the dump."""
        self._fed = self.summary.raw_bytes
        self.summary.raw_bytes += len(block)
        if b"\0" in block:
            # Whatever else there is, and however the dump is cut into blocks.
            self.summary.refused = "psql would not read what follows a zero byte"
        at = 0
        while at < len(block):
            at = self._scan_rows(self._table, block, at) if self._table else self._scan_sql(block, at)

    def finish(self) -> DumpSummary:
        """End the scan; `problem` in the summary is empty when the dump is whole."""
        if not self._table:
            self._scan_sql(b"", 0, final=True)
        if not self.summary.raw_bytes:
            self.summary.problem = "it is empty"
        elif self._table:
            self.summary.problem = f"it ends inside the rows of table {self._table.name}"
        elif self._splitter.pending:
            self.summary.problem = self._cut_statement()
        elif not self._ended:
            self.summary.problem = "it has no completion comment at its end"
        else:
            self.summary.problem = ""
        return self.summary

    def _scan_sql(self, block: bytes, at: int, final: bool = False) -> int:
        """Take in statements; returns where it stopped: after a COPY statement, or after a piece that was all SQL."""
        end = min(len(block), at + _SQL_BYTES)
        self._splitter.feed(block[at:end])
        for piece in self._splitter.pieces(final):
            self._look_at_doubt()
            if piece.kind == "comment":
                self._on_comment(piece.text)
            elif piece.kind == "meta":
                self._on_meta(piece)
            elif self._on_statement(piece):
                return end - self._splitter.drop_rest()
        self._look_at_rest()
        return end

    def _look_at_rest(self) -> None:
        """Stop at what is held back without an end, and at what could be read in two ways; raises BackupDamaged."""
        self._look_at_doubt()
        if self._splitter.held_bytes > _LONGEST_STATEMENT_BYTES:
            limit = f"a statement is longer than {_LONGEST_STATEMENT_BYTES >> 20} MiB"
            raise BackupDamaged(f"{limit}: {self._cut_statement()}", check=checklist.COMPLETE)

    def _look_at_doubt(self) -> None:
        if self._splitter.doubtful:
            self._refuse(f"psql and a server could read it in two ways: {self._splitter.doubtful}")

    def _cut_statement(self) -> str:
        """What is said of a statement without an end."""
        begun = " ".join(self._splitter.pending[:_SHOWN].decode(errors="replace").split("(")[0].split())
        if self._splitter.in_body:
            return (
                f"it ends inside a statement, for psql takes the word begin in it for the beginning of a block: {begun}"
            )
        return "it ends inside a statement"

    def _refuse(self, why: str) -> None:
        self.summary.refused = self.summary.refused or why

    def _collect(self, size_bytes: int) -> None:
        """Count what is kept until the end; raises BackupDamaged for more than any database has."""
        self._collected_bytes += size_bytes
        if self._collected_bytes > _COLLECTED_BYTES:
            limit = f"it names more tables, sequences and roles than {_COLLECTED_BYTES >> 20} MiB hold"
            raise BackupDamaged(limit, check=checklist.COMPLETE)

    def _on_comment(self, text: bytes) -> None:
        if text.startswith(_COMPLETE):
            self._ended = True
        elif text.startswith(b"-- Dumped "):
            for pattern, name in ((_DUMPED_FROM, "server_version"), (_DUMPED_BY, "client_version")):
                found = pattern.match(text)
                if found:
                    setattr(self.summary, name, found[1].decode(errors="replace"))

    def _on_meta(self, piece: Piece) -> None:
        if schema.RESTRICTION.match(piece.text):  # of the whole line: psql takes several commands on one
            self._restrictions.append(piece.start)
            self._restricted += 1
            if self._restricted > _COMMANDS:
                self._refuse("it restricts psql again and again")
        elif len(self.summary.unknown_commands) < _COMMANDS:
            self.summary.unknown_commands.append(piece.text[:80].decode(errors="replace"))

    def _on_statement(self, piece: Piece) -> bool:
        """Record a statement; True when rows follow it."""
        self._ended = False
        text = piece.text
        if not schema.COPY.match(text) and (why := refused(text, backslash_escapes=self._splitter.backslash_escapes)):
            self._refuse(why)
        if text.startswith(b"COPY "):
            copy = schema.COPY.match(text)
            if copy:
                self._begin_table(copy[1], schema.columns_of(copy[2], self._codec), piece.start)
                self._collect(_MENTION_BYTES)
                return True
        elif text.startswith(b"SELECT pg_catalog."):
            if self._on_data_statement(text):
                return False
        elif text.startswith(b"SET standard_conforming_strings"):
            self._splitter.backslash_escapes = b"off" in text
        elif encoding := schema.ENCODING.match(text):
            self.summary.encoding = encoding[1].decode()
            self._codec = schema.codec_of(self.summary.encoding)
        self._on_schema(text)
        return False

    def _on_schema(self, text: bytes) -> None:
        if tablespace := schema.TABLESPACE.match(text):
            self.summary.tablespaces.add(schema.unquote(tablespace[1], self._codec))
        normal = self._normaliser.normalise(text)
        if normal is None:
            return
        digest = schema.hash_of(normal)
        self.summary.schema_statements += 1
        self.summary.schema_total += digest
        self.summary.parts.setdefault(part_of(normal), PartCount()).add(digest)
        named = schema.roles_of(text, self._codec) - self.summary.roles
        self._collect(sum(_MENTION_BYTES + len(role) for role in named))
        self.summary.roles |= named
        if extension := schema.EXTENSION.match(text):
            self.summary.extensions.add(schema.unquote(extension[1], self._codec))
        if text.startswith(b"INSERT INTO"):
            self.summary.inserts += 1  # somebody's rows, which are to be in no report
        elif self._keep_bytes > 0:
            self._keep_bytes -= len(normal)
            self.summary.schema_kept[digest] = normal
        else:
            self.summary.schema_cut = True

    def _on_data_statement(self, text: bytes) -> bool:
        """Sequence values and large objects are data, though they come as statements."""
        if value := schema.SETVAL.match(text):
            self._collect(_MENTION_BYTES + len(text))
            self.summary.sequences[schema.unquote(b"'" + value[1] + b"'", self._codec)] = (
                int(value[2]),
                value[3] == b"true",
            )
            return True
        piece = schema.LARGE_OBJECT.match(text)
        if not piece:
            return False
        if piece[1] == b"lo_create":
            self.summary.large_objects += 1
            self.summary.large_object_total += schema.hash_of(piece[2])
        elif piece[1] == b"lo_open":
            self._large_object, self._piece_number = piece[2], 0
        elif piece[1] == b"lowrite":
            self._piece_number += 1
            place = self._large_object + b" %d " % self._piece_number
            self.summary.large_object_total += schema.hash_of(place + text)
        return True

    def _begin_table(self, name: bytes, columns: tuple[str, ...], start: int) -> None:
        self._table = TableCount(schema.text_of(name, self._codec), columns, start)
        self._starts.append(start)
        wanted = self._columns.get(self._table.name, columns)
        differs = wanted != columns and sorted(wanted) == sorted(columns)
        self._order = [columns.index(c) for c in wanted] if differs else []
        self._skip_line = True

    def _scan_rows(self, table: TableCount, block: bytes, at: int) -> int:
        """Take in rows from `at` on; returns where it stopped: after the table's last row, or at the block's end."""
        if self._skip_line or self._long_row or self._carry:
            newline = block.find(b"\n", at)
            if newline < 0:
                self._hold(block[at:])
                return len(block)
            at, begun = newline + 1, block[at : newline + 1]
            if self._end_begun_row(table, begun):
                return self._end_table(table, at)
        if block.startswith(_END_OF_ROWS, at):
            return self._end_table(table, at + len(_END_OF_ROWS))
        if block.startswith(_OTHER_END_OF_ROWS, at):
            self._look_at_end_of_rows(_OTHER_END_OF_ROWS)
            return self._end_table(table, at + len(_OTHER_END_OF_ROWS))
        if end := _LAST_ROWS.search(block, at):
            self._look_at_end_of_rows(end[0][1:])
            self._digest(table, BytesIO(block[at : end.start() + 1]))
            return self._end_table(table, end.end())
        lines = BytesIO(block)  # shares the block's memory
        lines.seek(at)
        cut = block.rfind(b"\n", at) + 1
        self._digest(table, lines, unfinished=max(cut, at) < len(block))
        self._hold(block[max(cut, at) :])
        return len(block)

    def _digest(self, table: TableCount, lines: Iterable[bytes], unfinished: bool = False) -> None:
        """Add rows, one a line, to the table's count and sum; an unfinished last line is left out."""
        ordered = map(self._reordered, lines) if self._order else lines
        hashes = list(map(xxh3_128_intdigest, ordered))
        if unfinished:
            hashes.pop()
        table.rows += len(hashes)
        table.total += sum(hashes)

    def _hold(self, begun: bytes) -> None:
        """Keep the beginning of a row until its end comes; of a long one only its hash so far."""
        if self._skip_line:
            self._look_at_rest_of_line(begun)
            return
        if self._long_row:
            self._long_row.update(begun)
            return
        self._carry += begun
        if len(self._carry) > _LONG_ROW_BYTES and not self._order:
            self._long_row, self._carry = xxh3_128(self._carry), b""

    def _end_begun_row(self, table: TableCount, end: bytes) -> bool:
        """Finish what `_hold` kept with the end of its line; True when that line was the end of the rows."""
        if self._skip_line:  # the rest of the line that the COPY statement stands on
            self._look_at_rest_of_line(end)
            self._skip_line = False
            return False
        if self._long_row:
            self._long_row.update(end)
            table.rows, table.total = table.rows + 1, table.total + self._long_row.intdigest()
            self._long_row = None
            return False
        row, self._carry = self._carry + end, b""
        if row in (_END_OF_ROWS, _OTHER_END_OF_ROWS):
            self._look_at_end_of_rows(row)
            return True
        self._digest(table, (row,))
        return False

    def _look_at_end_of_rows(self, end: bytes) -> None:
        if end != _END_OF_ROWS:
            self._refuse("rows end with a carriage return, which only psql takes for an end")

    def _look_at_rest_of_line(self, rest: bytes) -> None:
        """Psql goes on in the line of a COPY statement when its rows are in."""
        if rest.strip():
            self._refuse("a statement follows COPY in its line")

    def _reordered(self, row: bytes) -> bytes:
        values = row.removesuffix(b"\n").split(b"\t")
        return b"\t".join(values[i] for i in self._order if i < len(values)) + b"\n"

    def _end_table(self, table: TableCount, at: int) -> int:
        here = self._fed + at
        table.raw_bytes = here - table.start
        if table.name not in self.summary.tables:
            self._collect(len(table.name) + sum(_MENTION_BYTES + len(column) for column in table.columns))
        before = self.summary.tables.setdefault(table.name, table)
        if before is not table:  # another tool's dump may bring a table's rows in several parts
            before.rows, before.total = before.rows + table.rows, before.total + table.total
        self._table, self._order = None, []
        self._splitter.restart(here)
        return at
