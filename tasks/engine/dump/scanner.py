"""Scan a dump as it streams by: count and digest the rows of every table, and determine whether the dump is complete.

The scanner reads plain pg_dump SQL in blocks of any size and keeps only sums of it. It relies only on syntax: a
line inside a string or a function body that looks like `COPY t FROM stdin;` changes nothing, and a row that looks
like SQL is a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from blocks.errors import BackupDamaged
from tasks.engine.dump import schema_text as schema
from tasks.engine.dump.allowed import copied_beyond, refused, sent_elsewhere
from tasks.engine.dump.large_objects import LargeObjects
from tasks.engine.dump.relations import Relations
from tasks.engine.dump.schema_parts import part_of
from tasks.engine.dump.splitter import Piece, StatementSplitter
from tasks.engine.dump.steps import Rows, Statement, Step
from tasks.engine.dump.summary import DumpSummary, PartCount, TableCount
from tasks.engine.dump.table_rows import TableRows
from tasks.engine.repository import checks as checklist

_COMPLETE = b"-- PostgreSQL database dump complete"
_DUMPED_FROM = re.compile(rb"-- Dumped from database version (\S+)")
_DUMPED_BY = re.compile(rb"-- Dumped by pg_dump version (\S+)")
# SQL is scanned in chunks of this size, so that little is scanned in vain when rows follow.
_SQL_BYTES = 1 << 16
_SHOWN = 80
# From this statement on, the trigger would fire for what the restore itself does, refreshes above all.
_FIRES_IN_A_RESTORE = re.compile(
    rb"ALTER EVENT TRIGGER (?:\"[^\"]*+(?:\"\"[^\"]*+)*+\"|\w{1,200}) ENABLE (?:ALWAYS|REPLICA);\Z"
)
_KEPT_SCHEMA_BYTES = 32 << 20
# Larger than any real view or function, and more memory than a small container can spare.
_LONGEST_STATEMENT_BYTES = 64 << 20
# Enough for the most columns that a table can have: 1,600.
_LONGEST_COPY_BYTES = 1 << 20
# The limit for collected names and for mentions of tables: enough for several hundred thousand tables.
_COLLECTED_BYTES = 128 << 20
_MENTION_BYTES = 64
_COMMANDS = 64


class DumpScanner:
    """A scanner of a dump: `feed` it the blocks; `finish` returns the summary.

    `columns` gives the column order in which to digest a table's rows if the dump has a different one: a restored child
    table can list inherited columns first. `keep_schema` keeps the statements, to explain differences (at most 32 MiB).
    `keep_steps` keeps what a restore has to carry out until it is taken.
    """

    def __init__(
        self,
        columns: Mapping[str, tuple[str, ...]] | None = None,
        *,
        keep_schema: bool = False,
        keep_steps: bool = False,
    ) -> None:
        self.summary = DumpSummary()
        self._columns = columns or {}
        self._keep_bytes = _KEPT_SCHEMA_BYTES if keep_schema else 0
        self._splitter = StatementSplitter()
        self._relations = Relations()
        self._normaliser = schema.SchemaNormaliser()
        self._rows: TableRows | None = None  # of the table that is being scanned
        self._codec = "utf-8"
        self._large_objects = LargeObjects(self.summary)
        self._ended = False
        self._fed = 0  # the offset of the block that is being scanned
        self._starts: list[int] = []
        self._keep_steps = keep_steps
        self._steps: list[Step] = []
        self._was_setting = False  # whether the last statement can change how the next one is read
        self._collected_bytes = 0

    @property
    def in_body(self) -> bool:
        """Whether the dump ends where psql waits for the END of a routine's body."""
        return self._splitter.in_body

    def expect_encoding(self, server_encoding: str) -> None:
        """Know the encoding of the database that the dump is restored to: in another one its names are other bytes."""
        self._relations.server_encoding = server_encoding.encode()

    def take_table_starts(self) -> list[int]:
        """Return the offsets of the COPY statements seen since the last call."""
        starts, self._starts = self._starts, []
        return starts

    def take_steps(self) -> list[Step]:
        """Return what a restore has to carry out of what was scanned since the last call, in order."""
        steps, self._steps = self._steps, []
        return steps

    def feed(self, block: bytes) -> None:
        """Scan the next bytes of the dump."""
        self._fed = self.summary.raw_bytes
        self.summary.raw_bytes += len(block)
        if b"\0" in block:
            # This overrides other reasons, so that the message does not depend on how the dump is split into blocks.
            self.summary.refused = "psql would not read what follows a zero byte"
        at = 0
        while at < len(block):
            at = self._scan_rows(self._rows, block, at) if self._rows else self._scan_sql(block, at)

    def finish(self) -> DumpSummary:
        """End the scan; `problem` in the summary is empty if the dump is complete."""
        if not self._rows:
            self._scan_sql(b"", 0, final=True)
        if not self.summary.raw_bytes:
            self.summary.problem = "it is empty"
        elif self._rows:
            self.summary.problem = f"it ends inside the rows of table {self._rows.table.name}"
        elif self._splitter.pending:
            self.summary.problem = self._cut_statement()
        elif not self._ended:
            self.summary.problem = "it has no completion comment at its end"
        else:
            self.summary.problem = ""
        return self.summary

    def _scan_sql(self, block: bytes, at: int, final: bool = False) -> int:
        """Scan statements; return where it stopped: after a COPY statement, or after a chunk that was all SQL."""
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
        """Refuse what could be read in two ways, and raise BackupDamaged if a pending statement is too long."""
        self._look_at_doubt()
        if self._splitter.held_bytes > _LONGEST_STATEMENT_BYTES:
            limit = f"a statement is longer than {_LONGEST_STATEMENT_BYTES >> 20} MiB"
            raise BackupDamaged(f"{limit}: {self._cut_statement()}", check=checklist.COMPLETE)

    def _look_at_doubt(self) -> None:
        if self._splitter.doubtful:
            why = self._cut_statement() if self.in_body else self._splitter.doubtful
            self._refuse(f"psql and a server could read it differently: {why}")

    def _cut_statement(self) -> str:
        """Describe a statement that is cut off."""
        begun = " ".join(self._splitter.pending[:_SHOWN].decode(errors="replace").split("(")[0].split())
        if self._splitter.in_body:
            return (
                f"it ends inside a statement, because psql takes the word begin in it as the start of a block: {begun}"
            )
        return "it ends inside a statement"

    def _refuse(self, why: str) -> None:
        self.summary.refused = self.summary.refused or why

    def _collect(self, size_bytes: int) -> None:
        """Count what is kept until the end; raises BackupDamaged if it is more than any real database needs."""
        self._collected_bytes += size_bytes
        if self._collected_bytes > _COLLECTED_BYTES:
            limit = f"it names more tables, sequences and roles than {_COLLECTED_BYTES >> 20} MiB hold"
            raise BackupDamaged(limit, check=checklist.COMPLETE)

    def _collect_name(self, names: set[str], quoted: bytes) -> None:
        self._collect(_MENTION_BYTES + len(quoted))
        names.add(schema.unquote(quoted, self._codec))

    def _on_comment(self, text: bytes) -> None:
        if text.startswith(_COMPLETE):
            self._ended = True
        elif text.startswith(b"-- Dumped "):
            for pattern, name in ((_DUMPED_FROM, "server_version"), (_DUMPED_BY, "client_version")):
                found = pattern.match(text)
                if found:
                    setattr(self.summary, name, found[1].decode(errors="replace"))

    def _on_meta(self, piece: Piece) -> None:
        if schema.RESTRICTION.match(piece.text):  # match the whole line: psql accepts several commands on one
            return
        if len(self.summary.unknown_commands) < _COMMANDS:
            self.summary.unknown_commands.append(piece.text[:80].decode(errors="replace"))

    def _on_statement(self, piece: Piece) -> bool:
        """Record a statement; return True if rows follow it."""
        self._ended = False
        text = piece.text
        if text == b";":
            return False
        if self._was_setting and not piece.on_new_line:
            # psql reads a line to its end by the settings that it had at the beginning.
            self._refuse("a statement follows a setting on its line")
        self._was_setting = text.startswith(b"SET ")
        copy = schema.COPY.match(text) if text.startswith(b"COPY ") and len(text) < _LONGEST_COPY_BYTES else None
        if why := copied_beyond(copy[1], self._relations) if copy else self._judged(text):
            self._refuse(why)
        self._keep_step(text, rows_follow=copy is not None)
        if text.startswith(b"COPY "):
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

    def _keep_step(self, text: bytes, *, rows_follow: bool) -> None:
        late = _FIRES_IN_A_RESTORE.match(text) is not None
        if late:
            self._collect(_MENTION_BYTES + len(text))
        if self._keep_steps:
            self._steps.append(Statement(text, rows_follow, late))

    def _judged(self, text: bytes) -> str:
        """Return why a statement must not be restored, by itself or after those before it; empty if it is allowed."""
        escapes, known_bytes = self._splitter.backslash_escapes, self._relations.size_bytes
        why = refused(text, backslash_escapes=escapes) or sent_elsewhere(
            text, self._relations, backslash_escapes=escapes
        )
        self._collect(self._relations.size_bytes - known_bytes)
        return why

    def _on_schema(self, text: bytes) -> None:
        if tablespace := schema.TABLESPACE.match(text):
            self._collect_name(self.summary.tablespaces, tablespace[1])
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
            self._collect_name(self.summary.extensions, extension[1])
        if text.startswith(b"INSERT INTO"):
            self.summary.inserts += 1  # its text is not kept: rows must not appear in a report
        elif self._keep_bytes > 0:
            self._keep_bytes -= len(normal)
            self.summary.schema_kept[digest] = normal
            if normal != text:
                self._keep_bytes -= len(text)
                self.summary.schema_as_dumped[digest] = text
        else:
            self.summary.schema_cut = True

    def _on_data_statement(self, text: bytes) -> bool:
        """Record sequence values and large objects, which are data although they come as statements."""
        if value := schema.SETVAL.match(text):
            self._collect(_MENTION_BYTES + len(text))
            sequence = schema.unquote(b"'" + value[1] + b"'", self._codec)
            self.summary.sequences[sequence] = (int(value[2]), value[3] == b"true")
            return True
        return self._large_objects.see(text)

    def _begin_table(self, name: bytes, columns: tuple[str, ...], start: int) -> None:
        table = TableCount(schema.text_of(name, self._codec), columns, start)
        self._starts.append(start)
        wanted = self._columns.get(table.name, columns)
        differs = wanted != columns and sorted(wanted) == sorted(columns)
        self._rows = TableRows(table, [columns.index(c) for c in wanted] if differs else [], self._refuse)

    def _scan_rows(self, rows: TableRows, block: bytes, at: int) -> int:
        """Scan rows from `at` on; return where it stopped: after the table's last row, or at the block's end."""
        begin = rows.beginning(block, at)
        at = rows.scan(block, at)
        if self._keep_steps:
            self._steps.append(Rows(memoryview(block)[begin:at], rows.ended))
        if rows.ended:
            self._end_table(rows.table, self._fed + at)
        return at

    def _end_table(self, table: TableCount, here: int) -> None:
        table.raw_bytes = here - table.start
        if table.name not in self.summary.tables:
            self._collect(len(table.name) + sum(_MENTION_BYTES + len(column) for column in table.columns))
        before = self.summary.tables.setdefault(table.name, table)
        if before is not table:  # another tool's dump can have a table's rows in several parts
            before.rows, before.total = before.rows + table.rows, before.total + table.total
        self._rows = None
        self._splitter.restart(here)
