"""Know which relations of a dump hold its rows, so that rows go nowhere else.

Rows written through a view, a rule or a foreign table end in another relation: in the server's own tables, or in another
database. pg_dump writes rows to ordinary tables alone, and makes rules after all rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain, islice

from tasks.engine.dump.sql_tokens import Token, Unreadable, relation_name, tokens

# What such a statement says somewhere; all others are passed by.
_OF_INTEREST = re.compile(rb"\b(?:VIEW|RULE|FOREIGN|PARTITION|INSERT)\b", re.IGNORECASE)
_HEAD = 16
_MENTION_BYTES = 64
_CONDITIONS = (("IF", "NOT", "EXISTS"), ("IF", "EXISTS"), ("ONLY",))

Name = tuple[str, str]  # schema (empty where none is written) and relation


class Relations:
    """Follow a dump's statements, and answer for each table that rows are meant for."""

    def __init__(self) -> None:
        self.size_bytes = 0  # of what is remembered
        self._elsewhere: set[Name] = set()  # views, foreign tables, and what has a rule
        self._foreign: set[Name] = set()
        self._partitioned: set[Name] = set()
        self._foreign_partition = False

    def see(self, statement: bytes, *, backslash_escapes: bool) -> str:
        """Take in a statement; returns why it may not be restored, when it is an INSERT that ends elsewhere. Raises Unreadable."""
        if not _OF_INTEREST.search(statement):
            return ""
        stream = tokens(statement, backslash_escapes=backslash_escapes)
        head = list(islice(stream, _HEAD))
        words = [t.text if t.kind == "word" else "" for t in head]
        match [word for word in words[:4] if word not in ("OR", "REPLACE", "UNLOGGED", "RECURSIVE")][:3]:
            case ["INSERT", "INTO", *_]:
                return self.why_not(head[2:])
            case ["CREATE", "VIEW", *_]:
                self._remember(self._elsewhere, _behind(head, "VIEW"))
            case ["CREATE", "MATERIALIZED", *_]:
                self._remember(self._elsewhere, _behind(head, "VIEW"))
            case ["CREATE", "RULE", *_]:
                self._remember(self._elsewhere, _behind(head, "TO"))
            case ["CREATE", "FOREIGN", "TABLE"]:
                self._see_foreign_table(head, words, stream)
            case ["CREATE", "TABLE", *_] if _says(chain(head, stream), "PARTITION", "BY"):
                self._remember(self._partitioned, _behind(head, "TABLE"))
            case ["ALTER", "TABLE", *_] if "ATTACH" in words:
                self._foreign_partition |= _in(self._foreign, _behind(head, "PARTITION"))
        return ""

    def why_not(self, name: Sequence[Token]) -> str:
        """Why rows may not go to the relation that a statement names; empty when they may. Raises Unreadable."""
        wanted = relation_name(name)
        elsewhere = _in(self._elsewhere, wanted)
        if elsewhere or (self._foreign_partition and _in(self._partitioned, wanted)):
            return f"its rows would end in another relation: {'.'.join(filter(None, wanted))}"
        return ""

    def _see_foreign_table(self, head: Sequence[Token], words: Sequence[str], rest: Iterable[Token]) -> None:
        name = _behind(head, "TABLE")
        self._remember(self._elsewhere, name)
        self._remember(self._foreign, name)
        if "PARTITION" in words or _says(rest, "PARTITION", "OF"):
            self._foreign_partition = True

    def _remember(self, names: set[Name], name: Name) -> None:
        if name not in names:
            names.add(name)
            self.size_bytes += _MENTION_BYTES + len(name[0]) + len(name[1])


def _in(names: set[Name], wanted: Name) -> bool:
    """Whether a name may be one of these: where a schema is left out, it may be any."""
    schema, relation = wanted
    if wanted in names or ("", relation) in names:
        return True
    return not schema and any(relation == known for _, known in names)


def _says(statement: Iterable[Token], *words: str) -> bool:
    """Whether these words stand in a row outside of parentheses."""
    depth, before = 0, ""
    for token in statement:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "sign" else 0
        said = token.text if token.kind == "word" and not depth else ""
        if (before, said) == words:
            return True
        before = said
    return False


def _behind(head: Sequence[Token], word: str) -> Name:
    """The name behind the first such word, with `IF NOT EXISTS` and the like between; raises Unreadable without one."""
    said = [t.text if t.kind == "word" else "" for t in head]
    if word not in said:
        raise Unreadable("a statement without the name of what it makes")
    at = said.index(word) + 1
    for condition in _CONDITIONS:
        if tuple(said[at : at + len(condition)]) == condition:
            at += len(condition)
    return relation_name(head[at:])
