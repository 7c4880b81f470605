"""Count and digest the rows of one table in a dump stream, whatever blocks it arrives in.

The digest of a table is the sum of its rows' hashes: the contents of rows matter, their order does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from io import BytesIO

from xxhash import xxh3_128, xxh3_128_intdigest

from blocks.errors import RestoreError
from tasks.engine.dump.summary import TableCount

_END_OF_ROWS = b"\\.\n"
# psql also accepts an end marker with a carriage return. No dump has one, so what follows it must not be trusted.
_OTHER_END_OF_ROWS = b"\\.\r\n"
_LAST_ROWS = re.compile(rb"\n\\\.\r?\n")
# A row longer than this is hashed as it arrives: a single value can have a gigabyte.
_LONG_ROW_BYTES = 1 << 20
# One whose values have to be put in another order is held whole.
_LONGEST_ORDERED_BYTES = 256 << 20


class TableRows:
    """A scanner of what follows a COPY statement, up to the end of its rows; then `ended` is True.

    `order` lists the positions of the values in the order in which to digest them; empty if they come in that order.
    `refuse` is called with the reason if rows cannot be trusted.
    """

    def __init__(self, table: TableCount, order: list[int], refuse: Callable[[str], None]) -> None:
        self.table = table
        self.ended = False
        self._order = order
        self._refuse = refuse
        self._skip_line = True  # the rest of the line of the COPY statement
        self._carry = bytearray()
        self._long_row: xxh3_128 | None = None

    def beginning(self, block: bytes, at: int) -> int:
        """Return where rows begin in what `scan` is about to look at: behind the line of the COPY statement."""
        return (block.find(b"\n", at) + 1 or len(block)) if self._skip_line else at

    def scan(self, block: bytes, at: int) -> int:
        """Scan rows from `at` on; return where it stopped: after the table's last row, or at the block's end."""
        if self._skip_line or self._long_row or self._carry:
            newline = block.find(b"\n", at)
            if newline < 0:
                self._hold(block[at:])
                return len(block)
            at, begun = newline + 1, block[at : newline + 1]
            self._end_begun_row(begun)
            if self.ended:
                return at
        for end in (_END_OF_ROWS, _OTHER_END_OF_ROWS):
            if block.startswith(end, at):
                self._end(end)
                return at + len(end)
        if last := _LAST_ROWS.search(block, at):
            self._digest(BytesIO(block[at : last.start() + 1]))
            self._end(last[0][1:])
            return last.end()
        lines = BytesIO(block)  # shares the block's memory
        lines.seek(at)
        cut = max(at, block.rfind(b"\n", at) + 1)
        self._digest(lines, unfinished=cut < len(block))
        self._hold(block[cut:])
        return len(block)

    def _digest(self, lines: Iterable[bytes], unfinished: bool = False) -> None:
        """Add rows, one per line, to the table's count and sum; leave out an unfinished last line."""
        ordered = map(self._reordered, lines) if self._order else lines
        hashes = list(map(xxh3_128_intdigest, ordered))
        if unfinished:
            hashes.pop()
        self.table.rows += len(hashes)
        self.table.total += sum(hashes)

    def _hold(self, begun: bytes) -> None:
        """Keep the beginning of a row until its end arrives; of a long row, only its hash so far."""
        if self._skip_line:
            self._look_at_rest_of_line(begun)
            return
        if self._long_row:
            self._long_row.update(begun)
            return
        self._carry += begun
        if len(self._carry) > _LONG_ROW_BYTES and not self._order:
            self._long_row, self._carry = xxh3_128(self._carry), bytearray()
        if len(self._carry) > _LONGEST_ORDERED_BYTES:
            limit = f"{_LONGEST_ORDERED_BYTES >> 20} MiB"
            raise RestoreError(
                f"a row of {self.table.name} is longer than {limit}, and its columns come in another order"
            )

    def _end_begun_row(self, end: bytes) -> None:
        """Complete what `_hold` kept with the end of its line, which may be the end marker of the rows."""
        if self._skip_line:
            self._look_at_rest_of_line(end)
            self._skip_line = False
            return
        if self._long_row:
            self._long_row.update(end)
            self.table.rows += 1
            self.table.total += self._long_row.intdigest()
            self._long_row = None
            return
        row, self._carry = bytes(self._carry + end), bytearray()
        if row in (_END_OF_ROWS, _OTHER_END_OF_ROWS):
            self._end(row)
        else:
            self._digest((row,))

    def _end(self, end: bytes) -> None:
        self.ended = True
        if end != _END_OF_ROWS:
            self._refuse("the end marker of rows has a carriage return, which only psql accepts")

    def _look_at_rest_of_line(self, rest: bytes) -> None:
        """Refuse a statement after COPY on its line: psql goes on with it once the rows are in."""
        if rest.strip():
            self._refuse("a statement follows COPY on its line")

    def _reordered(self, row: bytes) -> bytes:
        values = row.removesuffix(b"\n").split(b"\t")
        return b"\t".join(values[i] for i in self._order if i < len(values)) + b"\n"
