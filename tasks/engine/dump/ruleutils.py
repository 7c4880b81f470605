"""Even out what the server prints in one way before a restore and in another after it, for the very same expression.

PostgreSQL keeps parsed expressions and prints them anew (`src/backend/utils/adt/ruleutils.c`). Parsed again, a few of
them become another tree with the same meaning, and are printed differently from then on.
"""

from __future__ import annotations

import re

_ARRAY = re.compile(rb"\(ARRAY\[")
_CAST = re.compile(rb"\]\)::((?:[a-z][a-z0-9_ ]*+|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|\.)++(?:\(\d+(?:,\d+)?\))?)\[\]")
# An array is looked at once for each array that it is in; nobody nests them deeper, and looking must come to an end.
_LEVELS = 64
_TOKEN = re.compile(rb"'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|[\[\](),]")
# A nameless literal in a sub-select, in a view or a body, is printed with a cast, and once parsed again it has the cast's name.
_NAMED_BY_CAST = re.compile(
    rb'(::[a-z][a-z ]*(?:\[\])?) AS "?(?:text|varchar|bpchar|int[248]|float[48]|numeric|bool|bytea|uuid|jsonb?|date|'
    rb'interval|timetz?|timestamp|timestamptz|unknown)"?(?![A-Za-z0-9_$\x80-\xff])'
)


def even_out(statement: bytes) -> bytes:
    """The statement as a restored server prints it, whichever of the two it is."""
    text = _casts_inside(statement)
    return _NAMED_BY_CAST.sub(rb"\1", text) if b" AS " in text else text


def _casts_inside(text: bytes) -> bytes:
    """`(ARRAY[a, b])::t[]`, which `IN (…)` is printed as at first, becomes `ARRAY[(a)::t, (b)::t]`."""
    at, left = 0, _LEVELS * len(text)
    while left > 0 and (begin := _ARRAY.search(text, at)):
        items, end = _items(text, begin.end())
        left -= end - begin.end()
        cast = _CAST.match(text, end)
        at = begin.end()
        if cast and items:
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
