"""Restore a schema that is already in memory, behind the same guard as a backup."""

from __future__ import annotations

from collections.abc import Iterator

from blocks.errors import RestoreError
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.steps import Step
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.restore.reader import ReadResult

_BLOCK_BYTES = 1 << 20


class SchemaStream:
    """A schema as the stream of SQL that a restore reads."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._scanner = DumpScanner(keep_steps=True)
        self.object_bytes = 0

    @property
    def seen(self) -> DumpSummary:
        """What the scanner has seen so far."""
        return self._scanner.summary

    def batches(self) -> Iterator[list[Step]]:
        """Yield what to carry out, scanned; raises RestoreError for what a restore refuses."""
        for at in range(0, len(self._text), _BLOCK_BYTES):
            block = self._text[at : at + _BLOCK_BYTES]
            self._scanner.feed(block)
            self.object_bytes += len(block)
            yield self._scanned()
        self._scanner.finish()
        yield self._scanned()

    def _scanned(self) -> list[Step]:
        if refused := self.seen.refused or next(iter(self.seen.unknown_commands), ""):
            raise RestoreError(f"the schema of the restored copy is refused: {refused}")
        return self._scanner.take_steps()

    def expect_encoding(self, server_encoding: str) -> None:
        """Know the encoding of the database that the schema is created in."""
        self._scanner.expect_encoding(server_encoding)

    def check(self) -> ReadResult:
        """Say what went by; raises RestoreError unless it is whole."""
        summary = self._scanner.finish()
        if summary.problem:
            raise RestoreError(f"the schema of the restored copy is not whole: {summary.problem}")
        return ReadResult(summary, self.object_bytes, "", 0.0)
