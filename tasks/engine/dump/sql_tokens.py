"""Split a statement into tokens: words, names, strings, numbers and signs, without comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

# One token, or the comment or space between two. Strings can be read in two ways; the caller says which one applies.
_TOKEN = re.compile(
    rb"""(?P<skip>[ \t\r\n\f\v]+|--[^\r\n]*)|(?P<block>/\*)"""
    rb"""|(?P<escape>[eE]')|(?P<plain>(?:[bBxX]|[uU]&)')|(?P<quote>[nN]?')"""
    rb"""|(?P<ident>(?:[uU]&)?"[^"]*+(?:""[^"]*+)*+")|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"""
    rb"""|(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"""
    rb"""|(?P<number>(?:\d[0-9A-Za-z_.]*|\.\d[0-9A-Za-z_]*)(?:(?<=[eE])[-+]\d+)?)|(?P<sign>::|[\x00-\xff])"""
)
_ESCAPED = re.compile(rb"[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+'", re.DOTALL)
_STANDARD = re.compile(rb"[^']*+(?:''[^']*+)*+'")
_BLOCK_EDGE = re.compile(rb"/\*|\*/")
_SHOWN = 60
_LONGEST_KEPT = 63  # bytes, to which the server truncates names
# A statement that is examined as a whole has far fewer words; rows have no such limit.
_LONGEST_NAME, MOST_WORDS = 1024, 200_000


Name = tuple[str, str]  # schema (empty if unqualified) and relation


class Token(NamedTuple):
    """A token of a statement: `word` in upper case, `ident`, `string`, `number` or `sign`.

    `text` has one character per byte, whatever the encoding: names are equal if their bytes are. A server case-folds
    only ASCII letters, so nothing else is converted to upper case either.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return "'…'" if self.kind == "string" else self.text.encode("latin-1").decode(errors="replace")


class Unreadable(Exception):
    """An unterminated string or comment, or something that psql and a server could read differently."""


def tokens(statement: bytes, *, backslash_escapes: bool) -> Iterator[Token]:
    """Yield a statement's tokens, without spaces and comments; raises Unreadable."""
    at = 0
    while at < len(statement):
        found = _TOKEN.match(statement, at)
        assert found  # every byte is a sign at least
        at, kind = found.end(), found.lastgroup or ""
        if kind == "skip":
            continue
        if kind == "block":
            at = _after_comment(statement, at)
        elif kind in ("escape", "plain", "quote"):
            escaped = kind == "escape" or (kind == "quote" and backslash_escapes)
            at = _after(_ESCAPED if escaped else _STANDARD, statement, at)
            yield Token("string", "")
        elif kind == "dollar":
            end = statement.find(found[0], at)
            if end < 0:
                raise Unreadable("an unterminated dollar quote")
            at = end + len(found[0])
            yield Token("string", "")
        else:
            yield Token(kind, _text(kind, found[0]))


def _text(kind: str, raw: bytes) -> str:
    if kind == "number":  # it can have any number of digits, and its value does not matter
        raw = raw[:_SHOWN]
    elif len(raw) > _LONGEST_NAME:
        raise Unreadable("a name is too long")
    return (raw.upper() if kind == "word" else raw).decode("latin-1")


def _after(string: re.Pattern[bytes], statement: bytes, at: int) -> int:
    end = string.match(statement, at)
    if not end:
        raise Unreadable("an unterminated string")
    return end.end()


def _after_comment(statement: bytes, at: int) -> int:
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(statement, at)
        if not edge:
            raise Unreadable("an unterminated comment")
        depth, at = depth + (1 if edge[0] == b"/*" else -1), edge.end()
    return at


def all_of(head: Sequence[Token], rest: Iterator[Token]) -> list[Token]:
    """Return a whole statement; raises Unreadable for one with more words than pg_dump's statements of its kind."""
    found = [*head, *islice(rest, MOST_WORDS)]
    if len(found) >= MOST_WORDS:
        raise Unreadable("a statement has too many words")
    return found


def of_the_system(name: Sequence[Token]) -> bool:
    """Whether a name, with what follows it, is a system table's; a superuser's rows there could change all databases.

    A user's schema cannot begin with `pg_`; and an unqualified name is looked up among the system's tables first.
    """
    try:
        (schema, relation), _ = relation_at(name, 0)
    except Unreadable:
        return True
    return (schema or relation).startswith("pg_") or schema == "information_schema"


def relation_at(statement: Sequence[Token], at: int) -> tuple[Name, int]:
    """Return a relation's schema (empty if unqualified) and name as the server reads them, and the position after them.

    Raises Unreadable for what is not a name, or for one that has Unicode escapes, names a database, or would be
    truncated by the server.
    """
    dotted = [t.text == "." for t in statement[at + 1 : at + 4 : 2]]
    if dotted == [True, True]:
        raise Unreadable("a name that includes a database name")
    end = at + 3 if dotted[:1] == [True] else at + 1
    parts = [_plain(token) for token in statement[at:end:2]]
    if not parts or not all(parts):
        raise Unreadable("a name that is not spelled plainly")
    if len(parts) > 1 and parts[0].startswith("pg_temp"):
        raise Unreadable("a temporary relation")
    if any(len(part) > _LONGEST_KEPT for part in parts):
        raise Unreadable("a name that a server would truncate")
    return (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0]), end


def past(statement: Sequence[Token], at: int, *words: str) -> int:
    """Return the position after these words if they are at `at`; otherwise `at`."""
    said = [t.text if t.kind == "word" else "" for t in statement[at : at + len(words)]]
    return at + len(words) if said == list(words) else at


def _plain(token: Token) -> str:
    """Return a name as the server reads it; empty for one with Unicode escapes, and for what is not a name.

    How a server folds unquoted letters beyond ASCII depends on its locale; pg_dump quotes such names.
    """
    if token.kind == "word" and token.text.isascii():
        return token.text.encode("latin-1").lower().decode("latin-1")
    return token.text[1:-1].replace('""', '"') if token.kind == "ident" and token.text.startswith('"') else ""
