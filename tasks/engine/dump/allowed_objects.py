"""Allow CREATE, ALTER and DROP only as pg_dump writes them: of objects in the database, and computing nothing at once.

Some statements contain others, compute values when they are executed, or mean a role if one word is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from tasks.engine.dump.literals import literals
from tasks.engine.dump.sql_tokens import MOST_WORDS, Token, all_of, past, relation_at

# The kinds of objects in a database; the longest match counts.
_KINDS = {
    "ACCESS METHOD", "AGGREGATE", "CAST", "COLLATION", "COLUMN", "CONSTRAINT", "CONSTRAINT TRIGGER", "CONVERSION", "DEFAULT CONVERSION",
    "DEFAULT PRIVILEGES", "DOMAIN", "EVENT TRIGGER", "EXTENSION", "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "FOREIGN SERVER", "FUNCTION",
    "INDEX", "UNIQUE INDEX", "LANGUAGE", "PROCEDURAL LANGUAGE", "TRUSTED LANGUAGE", "TRUSTED PROCEDURAL LANGUAGE", "LARGE OBJECT",
    "MATERIALIZED VIEW", "OPERATOR", "POLICY", "PROCEDURE", "PUBLICATION", "ROUTINE", "RULE", "SCHEMA", "SEQUENCE", "UNLOGGED SEQUENCE",
    "SERVER", "STATISTICS", "SUBSCRIPTION", "TABLE", "UNLOGGED TABLE", "TEXT SEARCH", "TRANSFORM", "TRIGGER", "TYPE", "USER MAPPING",
    "VIEW", "RECURSIVE VIEW",
}  # fmt: skip
BEGINNINGS = {tuple(kind.split()) for kind in _KINDS}
_RELATIONS = {"TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "INDEX", "SCHEMA"}
_ACTIONS = {
    "OWNER", "CLUSTER", "REPLICA", "ENABLE", "DISABLE", "FORCE", "NO", "NOT", "INHERIT", "OF", "ATTACH", "DETACH", "SET", "RESET",
    "DROP", "VALIDATE", "OPTIONS", "DEPENDS", "OWNED", "AS", "START", "RESTART", "INCREMENT", "MINVALUE", "MAXVALUE", "CACHE", "CYCLE",
}  # fmt: skip
# What an ALTER of a column can do.
_OF_COLUMN = {
    ("SET", "DEFAULT"), ("SET", "NOT"), ("SET", "STATISTICS"), ("SET", "STORAGE"), ("SET", "COMPRESSION"), ("SET", "("),
    ("SET", "GENERATED"), ("RESET", "("), ("DROP", "DEFAULT"), ("DROP", "NOT"), ("DROP", "IDENTITY"), ("ADD", "GENERATED"),
}  # fmt: skip
_BOUNDS = {Token("word", "MINVALUE"), Token("word", "MAXVALUE")}
_OF_HASH = {Token("word", "MODULUS"), Token("word", "REMAINDER")}
_ACTION = 6  # as many words of an action as it takes to know it
_ADDED = {"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE"}


def of_object(verb: str, words: Sequence[str], head: Sequence[Token], rest: Iterator[Token]) -> bool:
    """Whether it is an allowed CREATE, ALTER or DROP of something in the database."""
    begun = list(words[1:])
    if begun[:2] == ["OR", "REPLACE"]:
        begun = begun[2:]
    kind = next((" ".join(begun[:n]) for n in (3, 2, 1) if tuple(begun[:n]) in BEGINNINGS), "")
    if kind == "USER MAPPING":  # otherwise it is a role named MAPPING
        return begun[2:3] in (["FOR"], ["IF"])
    match verb:
        case "CREATE":
            return bool(kind) and _created(kind, head, rest)
        case "ALTER":
            return bool(kind) and _altered(kind, head, rest)
        case _:
            return bool(kind) and kind != "SUBSCRIPTION"


def _created(kind: str, head: Sequence[Token], rest: Iterator[Token]) -> bool:
    match kind:
        case "SUBSCRIPTION":
            known = _without_connection(all_of(head, rest))
        case "SCHEMA":
            known = _plain_schema(head)
        case "TABLE" | "UNLOGGED TABLE":
            whole = all_of(head, rest)
            known = not _has_query(whole) and bounds_are_literals(whole)
        case "FOREIGN TABLE":
            known = bounds_are_literals(all_of(head, rest))
        case "MATERIALIZED VIEW":
            known = [t.text for t in deque(chain(head, rest), 4)] == ["WITH", "NO", "DATA", ";"]
        case "FUNCTION" | "PROCEDURE":
            known = _one_routine(all_of(head, rest))
        case _:
            known = True
    return known


def _altered(kind: str, head: Sequence[Token], rest: Iterator[Token]) -> bool:
    if kind in _RELATIONS:
        return _plainly_altered(all_of(head, rest), len(kind.split()))
    if kind == "SUBSCRIPTION":
        return [t.text for t in head[3:5]] == ["OWNER", "TO"]
    return kind != "EXTENSION"


def _plain_schema(head: Sequence[Token]) -> bool:
    """Whether a statement creates a schema and nothing else: it could contain grants that affect the whole server."""
    said = [t.text if t.kind in ("word", "sign") else "" for t in head]
    begun = 5 if said[2:5] == ["IF", "NOT", "EXISTS"] else 2
    if said[begun : begun + 1] != ["AUTHORIZATION"]:
        begun += 1
    if said[begun : begun + 1] == ["AUTHORIZATION"]:
        begun += 2
    return said[begun:] == [";"]


def _plainly_altered(statement: Sequence[Token], begun: int) -> bool:
    """Whether pg_dump writes all the actions on a relation; `begun` is the number of words in the relation's kind.

    pg_dump adds no column, changes no column's type and sets only literal bounds, because anything else computes values
    immediately; and it renames nothing. The name is read by the grammar: any word that is not reserved can be a table's
    name.
    """
    at = past(statement, past(statement, begun + 1, "IF", "EXISTS"), "ONLY")
    _, begun = relation_at(statement, at)
    starts, depth = [begun], 0
    for place in range(begun, len(statement)):
        text = statement[place].text if statement[place].kind == "sign" else ""
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text, 0)
        if not depth and text == ",":
            starts.append(place + 1)
    return all(_plain_action(statement[start : start + _ACTION]) for start in starts) and bounds_are_literals(statement)


def _plain_action(action: Sequence[Token]) -> bool:
    said = [t.text if t.kind in ("word", "sign") else "" for t in action]
    match said[:1]:
        case ["ADD"]:
            return said[1] in _ADDED and (said[1] != "EXCLUDE" or said[2] in ("USING", "("))
        case ["ALTER"]:
            behind = said[3:] if said[1] == "COLUMN" else said[2:]
            return tuple(behind[:2]) in _OF_COLUMN or behind[:1] == ["OPTIONS"]
        case _:
            return bool(said) and said[0] in _ACTIONS and said[:2] != ["SET", "SCHEMA"]


def bounds_are_literals(statement: Iterable[Token]) -> bool:
    """Whether a partition's bounds, if any, are constants: an expression there is evaluated immediately."""
    stream, depth, before = iter(statement), 0, ""
    for token in stream:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "sign" else 0
        said = token.text if token.kind == "word" and not depth else ""
        if (before, said) == ("FOR", "VALUES"):
            return _literal_bounds(list(islice(stream, MOST_WORDS)))
        before = said
    return True


def _literal_bounds(behind: Sequence[Token]) -> bool:
    """Whether tokens begin with literal bounds: `IN (…)`, `FROM (…) TO (…)` or `WITH (MODULUS n, REMAINDER n)`."""
    at, words = 0, ("FROM", "TO") if past(behind, 0, "FROM") else ("IN",) if past(behind, 0, "IN") else ("WITH",)
    for word in words:
        begin = past(behind, at, word)
        end = _closing(behind, begin)
        if begin == at or end < 0:
            return False
        left_out = _OF_HASH if word == "WITH" else ()
        inside = [Token("word", "NULL") if t in _BOUNDS else t for t in behind[begin + 1 : end] if t not in left_out]
        if not literals(inside):
            return False
        at = end + 1
    return True


def _closing(statement: Sequence[Token], begin: int) -> int:
    """Where the parenthesis ends that opens at a place; -1 where none does."""
    depth = 0
    for place in range(begin, len(statement)):
        depth += {"(": 1, ")": -1}.get(statement[place].text, 0) if statement[place].kind == "sign" else 0
        if depth < 1:
            return place if place > begin else -1
    return -1


def _without_connection(statement: Sequence[Token]) -> bool:
    """Whether a subscription is created without connecting: anything more would reach another server."""
    said = [t.text.upper() for t in statement]
    return any(said[i : i + 3] == ["CONNECT", "=", "FALSE"] for i in range(len(said)))


def _has_query(statement: Iterable[Token]) -> bool:
    """Whether it is CREATE TABLE … AS: a query that is executed immediately, and that pg_dump never writes."""
    depth = 0
    for token in statement:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "sign" else 0
        if not depth and token.kind == "word" and token.text in ("AS", "EXECUTE", "SELECT"):
            return True
    return False


def _one_routine(statement: Sequence[Token]) -> bool:
    """Whether a routine's definition is the only thing in it.

    psql counts BEGIN, CASE and END to find the end of a body; a server ends it at the END that follows a semicolon.
    Where the two differ, the server treats what comes after as a separate statement.
    """
    depth, before, within = 0, "", False
    for place, token in enumerate(statement):
        text = token.text if token.kind in ("word", "sign") else ""
        depth += {"(": 1, ")": -1}.get(text, 0)
        if not depth and not within and text == ";":
            return place == len(statement) - 1
        if not depth and before == "BEGIN" and text == "ATOMIC":
            within = True
        elif not depth and within and text == "END" and before in (";", "ATOMIC"):
            return [t.text for t in statement[place + 1 :]] == [";"]
        before = text
    return False
