"""Even out expressions that the server prints one way before a restore and another way after it.

PostgreSQL stores parsed expressions and prints them anew (`src/backend/utils/adt/ruleutils.c`). Reparsed, a few of them
become a different tree with the same meaning, and are printed differently from then on.
"""

from __future__ import annotations

import re
from itertools import pairwise

_TYPE = rb"((?:[a-z][a-z0-9_ ]*+|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|\.)++(?:\(\d+(?:,\d+)?\))?)\[\]"
_ARRAY, _CAST = re.compile(rb"\(ARRAY\["), re.compile(rb"\]\)::" + _TYPE)
# Statistics are printed with no more parentheses than necessary.
_STATISTICS = re.compile(rb"CREATE STATISTICS ")
_BARE_ARRAY, _BARE_CAST = re.compile(rb"ARRAY\["), re.compile(rb"\]::" + _TYPE)
_PARENTHESES = re.compile(rb"('[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\")|[()]")
# An array is scanned once per enclosing array. Nobody nests them deeper than this, and the work must be bounded.
_LEVELS = 64
# Each array that is changed costs a copy of the statement, and each of its items a copy of the type's name.
_COPIED_BYTES, _LONGEST_TYPE = 64 << 20, 200
_TOKEN = re.compile(rb"'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|[\[\](),]")
# An unnamed literal in a sub-select of a view or a body is printed with a cast; reparsed, it is named after the cast.
_NAMED_BY_CAST = re.compile(
    rb'(::[a-z][a-z ]*(?:\[\])?(?: COLLATE (?:\w+\.)?"?\w+"?\))?|\bEND) AS "?(?:text|varchar|bpchar|int[248]|float[48]|numeric|bool|bytea|uuid|jsonb?|date|'
    rb'interval|timetz?|timestamp|timestamptz|unknown)"?(?![A-Za-z0-9_$\x80-\xff])'
)


# Quoted text, which can contain anything, and the elements of lists of conditions.
_PART = re.compile(
    rb"'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?\$)"
    rb"|(?P<sign>[()])|(?<![A-Za-z0-9_$\x80-\xff])(?P<word>AND|OR)(?![A-Za-z0-9_$\x80-\xff])"
)
# Longer statements are left as they are: each pair of parentheses costs memory.
_LONGEST_BYTES = 1 << 20


def even_out(statement: bytes) -> bytes:
    """Return the statement as a restored server prints it, whichever of the two forms it has."""
    if len(statement) > _LONGEST_BYTES:
        return statement
    if _STATISTICS.match(statement):
        # This loses where parentheses are, on which nothing but the planner's estimates depends.
        return _PARENTHESES.sub(rb"\1", _casts_inside(statement, _BARE_ARRAY, _BARE_CAST))
    text = _casts_inside(statement, _ARRAY, _CAST)
    if b"((" in text and (b" AND " in text or b" OR " in text):
        text = _flattened(text)
    return _NAMED_BY_CAST.sub(rb"\1", text) if b" AS " in text else text


def _casts_inside(text: bytes, array: re.Pattern[bytes], after: re.Pattern[bytes]) -> bytes:
    """Turn `(ARRAY[a, b])::t[]`, as `IN (…)` is first printed, into `ARRAY[(a)::t, (b)::t]`."""
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
    """Split an array's items at its own commas; return them and the position of its closing bracket."""
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
    """A pair of parentheses, with the word that joins its operands, and those operands that are just a group."""

    __slots__ = ("begun", "end", "joined", "last", "operands", "start")

    def __init__(self, start: int) -> None:
        self.start, self.end = start, 0
        self.joined = b""  # AND or OR, or `mixed` if there are both
        self.operands: list[_Group] | None = None  # groups that are a whole operand
        self.last: _Group | None = None  # the group that ended last
        self.begun = start + 1  # where the operand begins


def _flattened(text: bytes) -> bytes:
    """Turn `((a AND b) AND c)` into `(a AND b AND c)`: BETWEEN, IN and row comparisons are first printed nested.

    The parser merges a list at the beginning of another list of its kind into one (`makeAndExpr` in gram.y).
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
    """Record an operand that is nothing but a pair of parentheses."""
    inner, group.last = group.last, None
    if inner and not text[group.begun : inner.start].strip() and not text[inner.end + 1 : here].strip():
        if group.operands is None:
            group.operands = []
        group.operands.append(inner)
