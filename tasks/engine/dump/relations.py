"""Track which relations of a dump store rows themselves, so that its rows go nowhere else.

Rows written through a view, a rule or a foreign table end up in another relation: in system tables, or in another
database. pg_dump writes rows only to ordinary tables, and creates rules after all rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from tasks.engine.dump.sql_tokens import Name, Token, Unreadable, past, relation_at, tokens

# A word that every relevant statement contains; all others are skipped.
_OF_INTEREST = re.compile(
    rb"\b(?:VIEW|RULE|FOREIGN|PARTITION|TRIGGER|INSERT|SEARCH_PATH|CLIENT_ENCODING)\b", re.IGNORECASE
)
_PATH_CALL = re.compile(rb"SELECT pg_catalog\.set_config\('search_path', '([^']*)', false\);\Z")
_ENCODING = re.compile(rb"SET client_encoding = '([^']*)';\Z")
_ANY_BEYOND_ASCII = "\x80"
_HEAD = 24
_MENTION_BYTES = 64


class _Names:
    """Relations by name; one whose schema is unknown can be in any."""

    def __init__(self) -> None:
        self._schemas: dict[str, set[str]] = {}

    def add(self, name: Name) -> bool:
        """Remember a name; return whether it is new."""
        schemas = self._schemas.setdefault(name[1], set())
        new = name[0] not in schemas
        schemas.add(name[0])
        return new

    def may_hold(self, name: Name) -> bool:
        """Whether a name can be one of them."""
        schemas = self._schemas.get(name[1], set())
        return bool(schemas) and (not name[0] or "" in schemas or name[0] in schemas)


class Relations:
    """The relations that a dump has created so far, to decide where its rows may go."""

    def __init__(self) -> None:
        self.size_bytes = 0  # of what is remembered
        self._elsewhere = _Names()  # views and foreign tables, and what a rule turns into a view
        self._on_insert = _Names()  # with a rule for INSERT, which COPY ignores
        self._parents: dict[
            str, list[tuple[Name, Name]]
        ] = {}  # each partition and its parent, by the partition's relation
        self.server_encoding = (
            b""  # of the database that the dump is restored to; empty if unknown, and then the dump's own
        )
        self._encoding, self._converted = b"", False
        self._triggers = False  # whether one was created: rows would fire it
        self._path = ""  # the one schema of unqualified names; empty if unknown

    def see(self, statement: bytes, *, backslash_escapes: bool) -> str:
        """Process a statement; return why it must not be restored after those before it. Raises Unreadable."""
        if not _OF_INTEREST.search(statement):
            return ""
        if called := _PATH_CALL.match(statement):
            self._path = (
                _only_schema([Token("word", called[1].decode("latin-1"))]) if re.fullmatch(rb"\w+", called[1]) else ""
            )
            return ""
        if named := _ENCODING.match(statement):
            return self._encoded(named[1].upper())
        stream = tokens(statement, backslash_escapes=backslash_escapes)
        head = list(islice(stream, _HEAD))
        words = [t.text if t.kind == "word" else "" for t in head]
        at = past(head, 1, "OR", "REPLACE")
        match words[0], words[at : at + 2]:
            case "INSERT", ["INTO", *_]:
                return self._told(self._named(head, 2), self._elsewhere, self._on_insert)
            case "SET", ["SEARCH_PATH", *_]:
                self._path = _only_schema(head[3:-1])
            case "CREATE", _:
                self._made(head, words, at)
            case "ALTER", ["TABLE", *_]:
                self._attached(head)
        return ""

    def why_not(self, name: Sequence[Token]) -> str:
        """Return why rows must not be copied to a relation; empty if they are allowed. Raises Unreadable."""
        return self._told(self._named(name, 0), self._elsewhere)

    def _told(self, wanted: Name, *elsewhere: _Names) -> str:
        if self._triggers:
            return "rows come after a trigger that they could fire"
        if any(names.may_hold(wanted) for names in elsewhere):
            if _ANY_BEYOND_ASCII in wanted:
                return "the database's encoding is not the dump's, and names beyond ASCII cannot be told apart before they are converted"
            shown = ".".join(filter(None, wanted)).encode("latin-1").decode(errors="replace")
            return f"its rows would end up in another relation: {shown}"
        return ""

    def _encoded(self, encoding: bytes) -> str:
        """Set the encoding; it must not change within a dump, because the same bytes would then be different names."""
        if encoding == self._encoding:
            return ""
        if self._encoding or self.size_bytes:
            return "it changes the encoding of its names"
        self._encoding, self._converted = encoding, self.server_encoding not in (b"", encoding)
        return ""

    def _named(self, statement: Sequence[Token], at: int) -> Name:
        """Return a name as a server stores it, of which names of up to 63 bytes in its own encoding are not truncated."""
        (schema, relation), _ = relation_at(statement, at)
        return (self._kept(schema or self._path), self._kept(relation))

    def _kept(self, name: str) -> str:
        """Return a name, or what stands for any name beyond ASCII where a server converts it: two could become one."""
        return name if name.isascii() or not self._converted else _ANY_BEYOND_ASCII

    def _made(self, head: Sequence[Token], words: Sequence[str], at: int) -> None:
        """Remember a view, a rule, a foreign table or a partition."""
        at = past(head, past(head, at, "RECURSIVE"), "UNLOGGED")
        match words[at : at + 2]:
            case ["VIEW", *_]:
                self._remember(self._elsewhere, self._named(head, at + 1))
            case ["MATERIALIZED", "VIEW"]:
                self._remember(self._elsewhere, self._named(head, past(head, at + 2, "IF", "NOT", "EXISTS")))
            case ["TRIGGER", _] | ["CONSTRAINT", "TRIGGER"]:
                self._triggers = True
            case ["RULE", _]:
                self._ruled(head, words)
            case ["FOREIGN", "TABLE"]:
                begin = past(head, at + 2, "IF", "NOT", "EXISTS")
                name = self._named(head, begin)
                self._remember(self._elsewhere, name)
                self._parted(name, head, begin)
            case ["TABLE", _]:
                begin = past(head, at + 1, "IF", "NOT", "EXISTS")
                self._parted(self._named(head, begin), head, begin)

    def _ruled(self, head: Sequence[Token], words: Sequence[str]) -> None:
        """Process `CREATE RULE name AS ON event TO relation`: a rule on SELECT turns the relation into a view."""
        if words[-1:] == [] or "TO" not in words:
            raise Unreadable("a rule without a relation")
        event, to = words[words.index("TO") - 1], words.index("TO") + 1
        if event in ("SELECT", "INSERT"):
            self._remember(self._elsewhere if event == "SELECT" else self._on_insert, self._named(head, to))

    def _parted(self, name: Name, head: Sequence[Token], begin: int) -> None:
        _, end = relation_at(head, begin)
        behind = past(head, end, "PARTITION", "OF")
        if behind > end:
            self._is_partition(name, self._named(head, behind))

    def _attached(self, head: Sequence[Token]) -> None:
        at = past(head, past(head, 2, "IF", "EXISTS"), "ONLY")
        _, end = relation_at(head, at)
        behind = past(head, end, "ATTACH", "PARTITION")
        if behind > end:
            self._is_partition(self._named(head, behind), self._named(head, at))

    def _is_partition(self, child: Name, parent: Name) -> None:
        self._parents.setdefault(child[1], []).append((child, parent))
        self.size_bytes += 2 * (_MENTION_BYTES + len(child[0]) + len(child[1]))
        waiting = [parent] if self._elsewhere.may_hold(child) else []
        while waiting:
            ancestor = waiting.pop()
            if self._remember(self._elsewhere, ancestor):
                waiting += [above for below, above in self._parents.get(ancestor[1], ()) if _same(below, ancestor)]

    def _remember(self, names: _Names, name: Name) -> bool:
        new = names.add(name)
        if new:
            self.size_bytes += _MENTION_BYTES + len(name[0]) + len(name[1])
        return new


def _same(one: Name, other: Name) -> bool:
    """Whether two names may mean the same relation: an unqualified name can be in any schema."""
    return one[1] == other[1] and (not one[0] or not other[0] or one[0] == other[0])


def _only_schema(path: Iterable[Token]) -> str:
    """Return the schema of a search path with exactly one besides pg_catalog; empty for any other path."""
    names = []
    for token in path:
        if token.text == "," or (token.kind == "word" and token.text == "PG_CATALOG"):
            continue
        if token.kind != "word" or token.text in ("DEFAULT", "TO"):
            return ""
        names.append(token.text.encode("latin-1").lower().decode("latin-1"))
    return names[0] if len(names) == 1 else ""
