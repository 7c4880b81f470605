r"""Read patterns of names as pg_dump and psql's `\d` do: each stands for regular expressions that a server matches.

The rules are those of PostgreSQL's patternToSQLRegex; only what names a database, or never ends, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SPECIAL = frozenset("|*+?()[]{}.^\\")


@dataclass(frozen=True)
class NamePattern:
    """A pattern: the regular expression for names and, if it has one, that for schemas."""

    text: str
    name: str
    schema: str | None = None


def split_patterns(text: str) -> tuple[str, ...]:
    """Split at commas, except those in double quotes; raises ValueError for a quote that is not closed."""
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == '"'
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    if quoted:
        raise ValueError("a double quote is not closed")
    return tuple(filter(None, map(str.strip, parts)))


def table_pattern(text: str) -> NamePattern:
    """Read `name` or `schema.name`; raises ValueError for anything else."""
    *schema, name = _parts(text, 2)
    return NamePattern(text, name, schema[0] if schema else None)


def plain_pattern(text: str) -> NamePattern:
    """Read the pattern of a schema or an extension, which are in no schema; raises ValueError for anything else."""
    return NamePattern(text, *_parts(text, 1))


def _parts(text: str, most: int) -> list[str]:
    parts, quoted = [""], False
    for sign in _signs(text):
        if sign == '"':
            quoted = not quoted
        elif sign == "." and not quoted:
            parts.append("")
        else:
            parts[-1] += _quoted(sign) if quoted else _unquoted(sign)
    if quoted:
        raise ValueError("a double quote is not closed")
    if len(parts) > most:
        raise ValueError("it names a database, or a dot in a name is not in double quotes")
    return [f"^({part})$" for part in parts]


def _signs(text: str) -> Iterator[str]:
    """Yield characters; a doubled quote inside of quotes, and an empty pair of brackets, are one sign."""
    at, quoted = 0, False
    while at < len(text):
        pair = text[at : at + 2]
        sign = pair if (quoted and pair == '""') or (not quoted and pair == "[]") else text[at]
        quoted ^= sign == '"'
        yield sign
        at += len(sign)


def _quoted(sign: str) -> str:
    if sign == '""':
        return '"'
    return f"\\{sign}" if sign in _SPECIAL or sign == "$" else sign


def _unquoted(sign: str) -> str:
    """Only ASCII letters are folded, as in a database whose characters can have several bytes."""
    known = {"*": ".*", "?": ".", "$": "\\$", "[]": "\\[]"}
    return known.get(sign) or (sign.lower() if sign.isascii() else sign)
