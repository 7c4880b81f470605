"""Put columns into a fixed order where PostgreSQL itself does not preserve their order across a restore.

A child table whose columns predate `ALTER TABLE … INHERIT` can have them in any order. pg_dump writes all of them, and
a restore puts the parent's first. Statements that list such a table's columns in the order of their numbers change too.
"""

from __future__ import annotations

import re

_ID = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+)'
_NAME = _ID + rb"(?:\." + _ID + rb")?"
_TABLE = re.compile(rb"CREATE (?:UNLOGGED |FOREIGN )?TABLE " + _NAME + rb" \(\n")
# What pg_dump writes for a child without its parent's default; reparsed, the null gets a type if the column's has a
# length.
_NULL = re.compile(
    rb" DEFAULT NULL::(?:[a-z][a-z0-9_. ]*?|" + _NAME + rb")(?:\(\d+(?:,\d+)?\))?"
    rb"((?: CONSTRAINT " + _ID + rb")? NOT NULL(?: NO INHERIT)?)?\Z"
)  # fmt: skip
_SET_NULL = re.compile(
    rb"(ALTER (?:FOREIGN )?TABLE (?:ONLY )?" + _NAME + rb" ALTER COLUMN " + _ID + rb" SET DEFAULT NULL)::[^';()]+(?:\([0-9,]+\))?;\Z"
)  # fmt: skip
_STATISTICS = re.compile(rb"CREATE STATISTICS " + _NAME + rb"(?: \([a-z_, ]+\))? ON ")
_PUBLISHED = re.compile(rb"ALTER PUBLICATION " + _ID + rb" ADD TABLE (?:ONLY )?" + _NAME + rb" \(")
_TOKEN = re.compile(rb"'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|[\[\](),]| FROM ")


def in_one_order(statement: bytes) -> bytes:
    """Return the statement with its list of columns sorted by bytes, if their order is not part of the schema."""
    if (table := _TABLE.match(statement)) is not None:
        items, end = _items(statement, table.end())
        if not statement.startswith(b")\n", end) and not statement.startswith(b");", end):
            return statement
        items = [_NULL.sub(rb" DEFAULT NULL\1", item) for item in items]
        if statement.startswith(b")\nINHERITS (", end):
            items.sort()
        return statement[: table.end()] + b",\n".join(b"    " + i for i in items) + b"\n" + statement[end:]
    if null := _SET_NULL.match(statement):
        return null[1] + b";"
    for pattern in (_STATISTICS, _PUBLISHED):
        if begin := pattern.match(statement):
            items, end = _items(statement, begin.end())
            return statement[: begin.end()] + b", ".join(sorted(items)) + statement[end:]
    return statement


def _items(text: bytes, begin: int) -> tuple[list[bytes], int]:
    """Split a list at its commas; return its items and where it ends: at its closing parenthesis, or before FROM."""
    items: list[bytes] = []
    depth, start = 0, begin
    for token in _TOKEN.finditer(text, begin):
        mark = token[0]
        if mark in (b"(", b"["):
            depth += 1
        elif not depth and mark in (b")", b" FROM "):
            return [*items, _trimmed(text[start : token.start()])], token.start()
        elif mark in (b")", b"]"):
            depth -= 1
        elif mark == b"," and not depth:
            items.append(_trimmed(text[start : token.start()]))
            start = token.end()
    return [_trimmed(text[begin:])], len(text)


def _trimmed(item: bytes) -> bytes:
    return item.strip(b" \n")
