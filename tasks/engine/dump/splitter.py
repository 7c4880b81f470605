"""Split SQL text into statements the way psql does, so that nothing inside a string is mistaken for syntax.

The rules are those of psql's lexer (`src/fe_utils/psqlscan.l` in PostgreSQL): single quotes with doubled
quotes inside, backslashes only in `E'…'` or with standard_conforming_strings off, quoted identifiers, dollar quotes,
line comments, nested block comments, parentheses, and the bodies of SQL-standard functions (`BEGIN ATOMIC … END`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tasks.engine.dump.psql_tokens import ROUTINE, TOKEN, may_be_variable

Kind = Literal["statement", "comment", "meta"]

_SPACE = re.compile(rb"\s*")
_BLOCK_EDGE = re.compile(rb"/\*|\*/")
_STRING_EDGE = re.compile(rb"'|\\")
# The word before a dollar or a quote, as much of it as can matter.
_WORD_BEFORE = re.compile(rb"[A-Za-z0-9_$\x80-\xff]*\Z")
_WORD_BYTES = 64
# What can separate the parts of a continued string. A part on a later line continues the string before it and treats
# backslashes as that one did, whether it took them or, unlike other strings, did not.
_NOTHING_SAID = re.compile(rb"(?:[ \t\f\v\r\n]|--[^\r\n]*+(?=[\r\n]))*+\Z")
_LINE_END = re.compile(rb"[\r\n]")
# pg_dump writes comments only between statements, each on lines of its own: whatever else it hides, psql could see it elsewhere.
_COMMENT = "a comment inside a statement"
# A token can begin this far before the end of what was read so far; the longest token is a dollar quote's tag.
_OVERLAP = 4096


@dataclass(frozen=True)
class Piece:
    """One statement (with its semicolon), line comment or psql command, and its offset in the stream."""

    kind: Kind
    text: bytes
    start: int
    on_new_line: bool = True  # whether a line ended between it and the piece before


class StatementSplitter:
    """A splitter of a stream of SQL bytes into pieces; it holds back only what is not complete yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._offset = 0  # of the buffer's first byte in the stream
        self._begin = 0  # of the pending statement, in the buffer
        self._at = 0  # everything before this was scanned
        self._inside: bytes = b""  # what closes the string, identifier, quote or comment that we are in
        self._depth = 0  # of nested block comments
        self._parentheses = 0
        self._bodies = 0  # of BEGIN … END in a function definition
        self._string_end = -1  # of the last string, in the buffer
        self._quoted_end = 0  # of the last quoted text of any kind: a word after it begins there
        self._on_new_line = True  # whether a line ended since the last piece
        self._routine: bool | None = None  # whether the pending statement defines one
        self._searched = 0  # how far the search for a line end got
        self.backslash_escapes = False  # standard_conforming_strings is off
        self.doubtful = ""  # what psql and we, or two versions of psql, could read differently

    @property
    def held_bytes(self) -> int:
        """How much is held back, waiting for the end of a statement."""
        return len(self._buffer) - self._begin

    @property
    def in_body(self) -> bool:
        """Whether psql waits for the END of a routine's body."""
        return self._bodies > 0

    @property
    def pending(self) -> bytes:
        """What is held back: an incomplete statement at the end of a stream means that it was cut."""
        return bytes(self._buffer[self._begin :]).strip()

    def feed(self, data: bytes | memoryview) -> None:
        """Add bytes; then take the pieces from `pieces()`."""
        self._buffer += data

    def pieces(self, final: bool = False) -> Iterator[Piece]:
        """Yield every complete piece; the caller can stop at any of them and call `drop_rest`."""
        while True:
            if self._inside and not self._leave():
                break
            if self._at <= self._begin:
                self._skip_space()
            token = TOKEN.search(self._buffer, self._at)
            if token is None:
                self._at = max(self._at, self._begin, len(self._buffer) - _OVERLAP)
                break
            if token.lastgroup == "word" and token.end() == len(self._buffer) and not final:
                self._at = token.start()  # the word may continue in the next chunk
                break
            piece = self._step(token.lastgroup or "", token.start(), token.end(), final)
            if piece is _INCOMPLETE:
                break
            if piece is not None:
                yield piece
        self._compact()

    def drop_rest(self) -> int:
        """Discard everything after the last piece, because it is not SQL; return the number of bytes."""
        rest = len(self._buffer) - self._begin
        self._buffer.clear()
        self._begin = self._at = self._searched = self._quoted_end = 0
        self._string_end, self._routine = -1, None
        return rest

    def restart(self, offset: int) -> None:
        """Continue with SQL at `offset` of the stream."""
        self._offset = offset
        self._on_new_line = True

    def _step(self, group: str, start: int, end: int, final: bool) -> Piece | None:
        """Process one token; return the piece that it completes, if any."""
        if group == "quote":
            self._inside, self._at = (b"\\'" if self._takes_backslashes(start) else b"'"), end
        elif group == "dollar" and not self._opens_dollar_quote(start):
            self._at = start + 1
        elif group in ("ident", "dollar"):
            self._inside, self._at = bytes(self._buffer[start:end]), end
        elif group == "stuck":
            self.doubtful, self._at = self.doubtful or "a number directly before a word", end
        elif group == "long":
            # No server's name is as long, and no piece of what is read may be as long as psql lets a tag be.
            self.doubtful, self._at = self.doubtful or "a dollar with a long name behind it", end
        elif group == "variable":
            return self._pass_variable(start, end, final)
        elif group == "block":
            self.doubtful = self.doubtful or _COMMENT
            self._inside, self._depth, self._at = b"*/", 1, end
        elif group in ("line", "meta"):
            return self._to_line_end(group, start, final)
        elif group == "end" and not self._parentheses and not self._bodies:
            return self._finish(end)
        else:
            self._count(group, start)
            self._at = end
        return None

    def _pass_variable(self, start: int, end: int, final: bool) -> Piece | None:
        """Pass a colon and what follows it as psql does: as one word, in which it would put a variable's value."""
        if end == len(self._buffer) and not final:
            self._at = start  # the name may go on in the next chunk
            return _INCOMPLETE
        name, behind = bytes(self._buffer[start + 1 : end]), bytes(self._buffer[end : end + 1])
        if may_be_variable(name, behind):
            self.doubtful = self.doubtful or "a colon with a variable of psql behind it"
        self._at = start + 1 if name == b'"' and not behind.isupper() else end
        return None

    def _count(self, group: str, start: int) -> None:
        if group == "open":
            self._parentheses += 1
        elif group == "close":
            self._parentheses = max(0, self._parentheses - 1)
        elif self._parentheses or self._word_before(start):
            return
        elif self._is_routine():
            word = self._buffer[start : start + 4].upper()
            if word == b"BEGI" or (word == b"CASE" and self._bodies):
                self._bodies += 1
            elif word[:3] == b"END" and self._bodies:
                self._bodies -= 1

    def _is_routine(self) -> bool:
        """Whether the statement defines a function or procedure; its beginning arrives before any word of a body."""
        if self._routine is None:
            self._routine = bool(ROUTINE.match(self._buffer, self._begin))
        return self._routine

    def _finish(self, end: int) -> Piece:
        self._routine = None
        text = bytes(self._buffer[self._begin : end])
        piece = Piece("statement", text, self._offset + self._begin, self._on_new_line)
        self._on_new_line = False
        self._begin = self._at = end
        self._string_end = -1
        return piece

    def _to_line_end(self, group: str, start: int, final: bool) -> Piece | None:
        """Skip a comment, which is a piece only between statements, or take a psql command, which always is."""
        newline = self._line_end(group, start)
        if newline < 0 and not final:
            self._at, self._searched = max(self._begin, start), len(self._buffer)
            return _INCOMPLETE
        newline = len(self._buffer) if newline < 0 else newline
        self._searched = 0
        self._at = newline
        if group == "line" and start > self._begin:
            self.doubtful = self.doubtful or _COMMENT
            return None
        if group == "line":
            self._begin = newline
        text = bytes(self._buffer[start:newline])
        if group == "meta" and start == self._begin:
            self._begin = newline
        elif group == "meta":
            self.doubtful = self.doubtful or "a psql command inside of a statement"
        return Piece("comment" if group == "line" else "meta", text, self._offset + start)

    def _line_end(self, group: str, start: int) -> int:
        """Return where a line ends; a comment also ends at a carriage return. Don't search the same bytes twice."""
        at = max(start, self._searched)
        newline = self._buffer.find(b"\n", at)
        if group != "line":
            return newline
        carriage = self._buffer.find(b"\r", at, newline if newline >= 0 else len(self._buffer))
        return carriage if carriage >= 0 else newline

    def _leave(self) -> bool:
        """Find the end of the string, identifier, quote or comment that we are in; False if it has not arrived yet."""
        if self._inside == b"*/":
            return self._leave_block()
        if self._inside == b"\\'":
            return self._leave_escape_string()
        close = self._buffer.find(self._inside, self._at)
        if close < 0:
            self._at = max(self._at, len(self._buffer) - len(self._inside) + 1)
            return False
        # A doubled quote ends the string and immediately begins another, which has the same effect.
        self._at = self._quoted_end = close + len(self._inside)
        self._string_end = self._at if self._inside == b"'" else -1
        self._inside = b""
        return True

    def _leave_block(self) -> bool:
        while self._depth:
            edge = _BLOCK_EDGE.search(self._buffer, self._at)
            if edge is None:
                self._at = max(self._at, len(self._buffer) - 1)
                return False
            self._depth += 1 if edge[0] == b"/*" else -1
            self._at = edge.end()
        self._inside = b""
        return True

    def _leave_escape_string(self) -> bool:
        while True:
            edge = _STRING_EDGE.search(self._buffer, self._at)
            if edge is None:
                self._at = len(self._buffer)
                return False
            if edge[0] == b"\\":
                if edge.end() >= len(self._buffer):
                    self._at = edge.start()
                    return False
                self._at = edge.end() + 1
                continue
            # Here a doubled quote must be recognized as such: what follows it is still an escape string.
            if edge.end() >= len(self._buffer):
                self._at = edge.start()
                return False
            if self._buffer[edge.end()] == 0x27:
                self._at = edge.end() + 1
                continue
            self._at, self._inside, self._string_end = edge.end(), b"", edge.end()
            return True

    def _takes_backslashes(self, quote: int) -> bool:
        """Whether a backslash escapes a quote in the string that opens here."""
        between = self._buffer[self._string_end : quote] if 0 <= self._string_end < quote else b""
        if _LINE_END.search(between) and _NOTHING_SAID.match(between):
            self.doubtful = self.doubtful or "a string that continues on another line"
        before = self._word_before(quote)
        if before[-1:].upper() == b"E" and before[:-1].isdigit():
            self.doubtful = self.doubtful or "a number directly before a string"
        if before.upper() == b"E":
            return True
        marked = before.upper() in (b"B", b"X") or (before == b"" and self._is_unicode(quote))
        return self.backslash_escapes and not marked

    def _is_unicode(self, quote: int) -> bool:
        marked = bytes(self._buffer[max(self._begin, quote - 2) : quote]).upper() == b"U&"
        return marked and not self._word_before(quote - 2)

    def _opens_dollar_quote(self, dollar: int) -> bool:
        """Whether the dollar is not part of a name; after a number, versions of psql differ."""
        before = self._word_before(dollar)
        if before[:1].isdigit():
            self.doubtful = self.doubtful or "a number directly before a dollar"
        return not before

    def _word_before(self, place: int) -> bytes:
        """Return the end of the word or number right before a place in the buffer; empty if there is none."""
        found = _WORD_BEFORE.search(self._buffer[max(self._begin, self._quoted_end, place - _WORD_BYTES) : place])
        return found[0] if found else b""

    def _skip_space(self) -> None:
        found = _SPACE.match(self._buffer, self._begin)
        self._on_new_line |= found is not None and b"\n" in found[0]
        self._begin = self._at = found.end() if found else self._begin

    def _compact(self) -> None:
        """Drop what was handed out, so that the buffer holds at most one pending statement."""
        if self._begin:
            del self._buffer[: self._begin]
            self._offset += self._begin
            self._at -= self._begin
            self._string_end = max(-1, self._string_end - self._begin)
            self._quoted_end = max(0, self._quoted_end - self._begin)
            self._searched = max(0, self._searched - self._begin)
            self._begin = 0


_INCOMPLETE = Piece("comment", b"", -1)
