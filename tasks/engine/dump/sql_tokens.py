"""Take a statement apart into what it says: words, names, strings, numbers and signs, and nothing of comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

# One token, or a comment or space between two. Strings come in both readings; the caller says which one holds.
_TOKEN = re.compile(
    rb"""(?P<skip>[ \t\r\n\f\v]+|--[^\r\n]*)|(?P<block>/\*)"""
    rb"""|(?P<escape>[eE]')|(?P<plain>(?:[bBxX]|[uU]&)')|(?P<quote>[nN]?')"""
    rb"""|(?P<ident>(?:[uU]&)?"[^"]*+(?:""[^"]*+)*+")|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"""
    rb"""|(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"""
    rb"""|(?P<number>\d[0-9A-Za-z_.]*|\.\d[0-9A-Za-z_]*)|(?P<sign>::|[\x00-\xff])"""
)
_ESCAPED = re.compile(rb"[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+'", re.DOTALL)
_STANDARD = re.compile(rb"[^']*+(?:''[^']*+)*+'")
_BLOCK_EDGE = re.compile(rb"/\*|\*/")
_SHOWN = 60
_LONGEST_KEPT = 63  # bytes, of which the server cuts names
# A statement that is looked at as a whole has far fewer words; rows have no such limit.
_LONGEST_NAME, MOST_WORDS = 1024, 200_000


Name = tuple[str, str]  # schema (empty where none is written) and relation


class Token(NamedTuple):
    """A piece of a statement: `word` in capitals, `ident`, `string`, `number` or `sign`.

    `text` has a character for each byte, whatever the encoding: names are the same when their bytes are. A server folds the
    letters of ASCII alone, so nothing else is made a capital either.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return "'…'" if self.kind == "string" else self.text.encode("latin-1").decode(errors="replace")


class Unreadable(Exception):
    """A string or comment without an end, or one that psql and a server could read in two ways."""


def tokens(statement: bytes, *, backslash_escapes: bool) -> Iterator[Token]:
    """What a statement says, without spaces and comments; raises Unreadable."""
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
                raise Unreadable("a dollar quote without an end")
            at = end + len(found[0])
            yield Token("string", "")
        else:
            yield Token(kind, _text(kind, found[0]))


def _text(kind: str, raw: bytes) -> str:
    if kind == "number":  # one may have as many digits as it likes, and only that it is one matters
        raw = raw[:_SHOWN]
    elif len(raw) > _LONGEST_NAME:
        raise Unreadable("a name is too long")
    return (raw.upper() if kind == "word" else raw).decode("latin-1")


def _after(string: re.Pattern[bytes], statement: bytes, at: int) -> int:
    end = string.match(statement, at)
    if not end:
        raise Unreadable("a string without an end")
    return end.end()


def _after_comment(statement: bytes, at: int) -> int:
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(statement, at)
        if not edge:
            raise Unreadable("a comment without an end")
        depth, at = depth + (1 if edge[0] == b"/*" else -1), edge.end()
    return at


def all_of(head: Sequence[Token], rest: Iterator[Token]) -> list[Token]:
    """A whole statement; raises Unreadable for one with more words than any of pg_dump's kind has."""
    found = [*head, *islice(rest, MOST_WORDS)]
    if len(found) >= MOST_WORDS:
        raise Unreadable("a statement has too many words")
    return found


def of_the_system(name: Sequence[Token]) -> bool:
    """Whether a name, with what follows it, is of the server's own tables, which a superuser's rows would change for all databases.

    No user's schema begins with `pg_`; and a name without a schema is looked for among the server's own first.
    """
    try:
        (schema, relation), _ = relation_at(name, 0)
    except Unreadable:
        return True
    return (schema or relation).startswith("pg_") or schema == "information_schema"


def relation_at(statement: Sequence[Token], at: int) -> tuple[Name, int]:
    """A relation's schema (empty where none is written) and name, as the server takes them, and where what follows begins.

    Raises Unreadable for what is no name, for one that is written by numbers, names a database, or would be cut by a server.
    """
    dotted = [t.text == "." for t in statement[at + 1 : at + 4 : 2]]
    if dotted == [True, True]:
        raise Unreadable("a name with the name of a database")
    end = at + 3 if dotted[:1] == [True] else at + 1
    parts = [_plain(token) for token in statement[at:end:2]]
    if not parts or not all(parts):
        raise Unreadable("a name that is not written plainly")
    if len(parts) > 1 and parts[0].startswith("pg_temp"):
        raise Unreadable("a temporary relation")
    if any(len(part) > _LONGEST_KEPT for part in parts):
        raise Unreadable("a name that a server would cut")
    return (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0]), end


def past(statement: Sequence[Token], at: int, *words: str) -> int:
    """Where a statement goes on behind these words, if they stand there; else the same place."""
    said = [t.text if t.kind == "word" else "" for t in statement[at : at + len(words)]]
    return at + len(words) if said == list(words) else at


def _plain(token: Token) -> str:
    """A name as the server takes it; empty for one that is written by numbers, and for what is no name.

    How a server folds letters beyond ASCII goes by its locale. pg_dump quotes them.
    """
    if token.kind == "word" and token.text.isascii():
        return token.text.encode("latin-1").lower().decode("latin-1")
    return token.text[1:-1].replace('""', '"') if token.kind == "ident" and token.text.startswith('"') else ""
