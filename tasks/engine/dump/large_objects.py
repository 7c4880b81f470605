"""Count and digest large objects, which a dump writes as calls of functions."""

from __future__ import annotations

from tasks.engine.dump import schema_text as schema
from tasks.engine.dump.summary import DumpSummary


class LargeObjects:
    """A reader of the statements about large objects, which adds what it finds to a summary."""

    def __init__(self, summary: DumpSummary) -> None:
        self._summary = summary
        self._open = b""
        self._piece_number = 0

    def see(self, text: bytes) -> bool:
        """Record a statement; return False if it is not about large objects."""
        call = schema.LARGE_OBJECT.match(text)
        if not call:
            return False
        if call[1] == b"lo_create":
            self._summary.large_objects += 1
            self._summary.large_object_total += schema.hash_of(call[2])
        elif call[1] == b"lo_open":
            self._open, self._piece_number = call[2], 0
        elif call[1] == b"lowrite":
            self._piece_number += 1
            place = self._open + b" %d " % self._piece_number
            self._summary.large_object_total += schema.hash_of(place + text)
        return True
