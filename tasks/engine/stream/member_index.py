"""Know where in an object each member begins, and so where a table stands that began somewhere in the SQL.

Every member holds a block of one size of the SQL, the last one less: nothing outside of this folder needs to know it.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.engine.stream.gzip_members import BLOCK_BYTES

# A COPY statement may begin this many blocks before the one that it ends in, and is still indexed.
_RECENT = 64


class MemberIndex:
    """The offsets of members that tables begin in; of all others only the recent ones are remembered."""

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._kept: dict[int, int] = {}

    def begin(self, number: int, offset: int, starts: Iterable[int]) -> None:
        """Note where a member begins; `starts` are offsets in the SQL, in this block or one just before, of tables."""
        self._recent[number] = offset
        self._recent.pop(number - _RECENT, None)
        blocks = (start // BLOCK_BYTES for start in starts)
        self._kept.update({block: self._recent[block] for block in blocks if block in self._recent})

    def locate(self, start: int) -> tuple[int, int]:
        """Where a table stands that begins at `start` of the SQL: the member's offset in the object, and the bytes to skip in it."""
        return self._kept[start // BLOCK_BYTES], start % BLOCK_BYTES
