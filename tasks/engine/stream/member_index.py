"""Record where in an object each member begins, to locate in it a table that begins at some offset of the SQL.

Every member holds a fixed-size block of the SQL, the last one less: nothing outside this folder needs to know that.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.engine.stream.gzip_members import BLOCK_BYTES

# A COPY statement can begin up to this many blocks before the one it ends in and still be indexed.
_RECENT = 64


class MemberIndex:
    """The offsets of members in which tables begin; of all others, only the most recent are kept."""

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._kept: dict[int, int] = {}

    def begin(self, number: int, offset: int, starts: Iterable[int]) -> None:
        """Record where a member begins; `starts` are the SQL offsets of tables in this block or one just before."""
        self._recent[number] = offset
        self._recent.pop(number - _RECENT, None)
        blocks = (start // BLOCK_BYTES for start in starts)
        self._kept.update({block: self._recent[block] for block in blocks if block in self._recent})

    def locate(self, start: int) -> tuple[int, int]:
        """Locate the table at SQL offset `start`: its member's offset in the object, and the bytes to skip in it."""
        return self._kept[start // BLOCK_BYTES], start % BLOCK_BYTES
