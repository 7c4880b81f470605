"""Even out what the server prints in one way before a restore and in another after it, for the very same expression.

PostgreSQL keeps parsed expressions and prints them anew (`src/backend/utils/adt/ruleutils.c`). Parsed again, a few of
them become another tree with the same meaning, and are printed differently from then on.
"""

from __future__ import annotations

import re
from itertools import pairwise

_TYPE = rb"((?:[a-z][a-z0-9_ ]*+|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|\.)++(?:\(\d+(?:,\d+)?\))?)\[\]"
_ARRAY, _CAST = re.compile(rb"\(ARRAY\["), re.compile(rb"\]\)::" + _TYPE)
# As statistics are printed, with no more parentheses than it takes.
_STATISTICS = re.compile(rb"CREATE STATISTICS ")
_BARE_ARRAY, _BARE_CAST = re.compile(rb"ARRAY\["), re.compile(rb"\]::" + _TYPE)
_PARENTHESES = re.compile(rb"('[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\")|[()]")
# An array is looked at once for each array that it is in; nobody nests them deeper, and looking must come to an end.
_LEVELS = 64
# Each array that is changed costs a copy of the statement, and each of its items the type's name.
_COPIED_BYTES, _LONGEST_TYPE = 64 << 20, 200
_TOKEN = re.compile(rb"'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|[\[\](),]")
# A nameless literal in a sub-select, in a view or a body, is printed with a cast, and once parsed again it has the cast's name.
_NAMED_BY_CAST = re.compile(
    rb'(::[a-z][a-z ]*(?:\[\])?(?: COLLATE (?:\w+\.)?"?\w+"?\))?|\bEND) AS "?(?:text|varchar|bpchar|int[248]|float[48]|numeric|bool|bytea|uuid|jsonb?|date|'
    rb'interval|timetz?|timestamp|timestamptz|unknown)"?(?![A-Za-z0-9_$\x80-\xff])'
)


# Quoted text, which may hold anything, and what lists of conditions are made of.
_PART = re.compile(
    rb"'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?\$)"
    rb"|(?P<sign>[()])|(?<![A-Za-z0-9_$\x80-\xff])(?P<word>AND|OR)(?![A-Za-z0-9_$\x80-\xff])"
)
# Of statements that are longer, nobody's conditions need be followed: each pair of parentheses costs memory.
_LONGEST_BYTES = 1 << 20


def even_out(statement: bytes) -> bytes:
    """The statement as a restored server prints it, whichever of the two it is."""
    if len(statement) > _LONGEST_BYTES:
        return statement
    if _STATISTICS.match(statement):
        # Which of two expressions is in parentheses is lost by this: the planner's estimates are all that follows from it.
        return _PARENTHESES.sub(rb"\1", _casts_inside(statement, _BARE_ARRAY, _BARE_CAST))
    text = _casts_inside(statement, _ARRAY, _CAST)
    if b"((" in text and (b" AND " in text or b" OR " in text):
        text = _flattened(text)
    return _NAMED_BY_CAST.sub(rb"\1", text) if b" AS " in text else text


def _casts_inside(text: bytes, array: re.Pattern[bytes], after: re.Pattern[bytes]) -> bytes:
    """`(ARRAY[a, b])::t[]`, which `IN (…)` is printed as at first, becomes `ARRAY[(a)::t, (b)::t]`."""
    longest, at, left = 2 * len(text), 0, _LEVELS * len(text) + _COPIED_BYTES
    while left > 0 and len(text) <= longest and (begin := array.search(text, at)):
        items, end = _items(text, begin.end())
        left -= end - begin.end()
        cast = after.match(text, end)
        at = begin.end()
        if cast and items and len(cast[1]) <= _LONGEST_TYPE:
            left -= len(text)
            inside = b", ".join(b"(" + item + b")::" + cast[1] for item in items)
            text = text[: begin.start()] + b"ARRAY[" + inside + b"]" + text[cast.end() :]
    return text


def _items(text: bytes, begin: int) -> tuple[list[bytes], int]:
    """Split an array's items at its own commas; returns them and where its closing bracket stands."""
    items: list[bytes] = []
    depth, start = 0, begin
    for token in _TOKEN.finditer(text, begin):
        mark = token[0]
        if mark in (b"[", b"("):
            depth += 1
        elif mark == b"]" and not depth:
            return [*items, text[start : token.start()].strip()], token.start()
        elif mark in (b"]", b")"):
            depth -= 1
        elif mark == b"," and not depth:
            items.append(text[start : token.start()].strip())
            start = token.end()
    return [], len(text)


class _Group:
    """A pair of parentheses, with the words that join what is in it, and the groups that stand in it alone between two of them."""

    __slots__ = ("begun", "end", "joined", "last", "operands", "start")

    def __init__(self, start: int) -> None:
        self.start, self.end = start, 0
        self.joined = b""  # the word, or `mixed` where both stand there
        self.operands: list[_Group] | None = None  # those that are a whole operand
        self.last: _Group | None = None  # the group that ended last
        self.begun = start + 1  # where the operand begins


def _flattened(text: bytes) -> bytes:
    """`((a AND b) AND c)` becomes `(a AND b AND c)`: BETWEEN, IN and comparisons of rows are printed nested at first.

    The parser makes one list of a list that stands at the beginning of another of its kind (`makeAndExpr` in gram.y).
    """
    dropped: list[int] = []
    stack = [_Group(-1)]
    at = 0
    while found := _PART.search(text, at):
        at = found.end()
        if found["dollar"]:
            end = text.find(found[0], at)
            at = len(text) if end < 0 else end + len(found[0])
        elif found["word"]:
            _end_operand(stack[-1], text, found.start())
            stack[-1].joined = found[0] if stack[-1].joined in (b"", found[0]) else b"mixed"
            stack[-1].begun = at
        elif found[0] == b"(":
            stack.append(_Group(found.start()))
        elif found[0] == b")" and len(stack) > 1:
            group = stack.pop()
            _end_operand(group, text, found.start())
            group.end = found.start()
            for inner in group.operands or ():
                if group.joined in (b"AND", b"OR") and inner.joined == group.joined:
                    dropped += (inner.start, inner.end)
            stack[-1].last = group
    edges = [-1, *sorted(dropped), len(text)]
    return b"".join(text[before + 1 : after] for before, after in pairwise(edges))


def _end_operand(group: _Group, text: bytes, here: int) -> None:
    """Note an operand that is nothing but a pair of parentheses."""
    inner, group.last = group.last, None
    if inner and not text[group.begun : inner.start].strip() and not text[inner.end + 1 : here].strip():
        if group.operands is None:
            group.operands = []
        group.operands.append(inner)
