"""Let only such statements of a dump through as pg_dump writes for one database.

What is read is what psql has cut, token by token: comments say nothing, words in quotes are no keywords. The statements are those of
pg_dump 14 to 18 (`src/bin/pg_dump/pg_dump.c` and `pg_backup_archiver.c` in PostgreSQL), with `--inserts`, `--clean` and
`--use-set-session-authorization` among its options. Everything else is refused by name, whatever it would do.

Code that a statement makes a server run by nature is beyond this: functions behind indexes, constraints, defaults and views.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

# One token, or a comment or space between two. Strings come in both readings; the caller says which one holds.
_TOKEN = re.compile(
    rb"""(?P<skip>[ \t\r\n\f\v]+|--[^\r\n]*)|(?P<block>/\*)"""
    rb"""|(?P<escape>[eE]')|(?P<plain>(?:[bBxX]|[uU]&)')|(?P<quote>[nN]?')"""
    rb"""|(?P<ident>(?:[uU]&)?"(?:[^"]|"")*")|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"""
    rb"""|(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"""
    rb"""|(?P<number>\d[0-9A-Za-z_.]*|\.\d[0-9A-Za-z_]*)|(?P<sign>::|[\x00-\xff])"""
)
_ESCAPED = re.compile(rb"(?:[^'\\]|''|\\.)*'", re.DOTALL)
_STANDARD = re.compile(rb"(?:[^']|'')*'")
_BLOCK_EDGE = re.compile(rb"/\*|\*/")
_SHOWN, _HEAD = 60, 12

# Encodings of servers: in those of clients alone, a byte of a character can be a quote or a backslash.
_CLIENTS_ENCODINGS = {"BIG5", "GB18030", "GBK", "JOHAB", "SJIS", "SHIFTJIS2004", "UHC", "MSKANJI", "SHIFTJIS", "WIN932", "WIN936",
                      "WIN949", "WIN950", "WINDOWS932", "WINDOWS936", "WINDOWS949", "WINDOWS950"}  # fmt: skip
_SETTINGS = {
    "STATEMENT_TIMEOUT", "LOCK_TIMEOUT", "IDLE_IN_TRANSACTION_SESSION_TIMEOUT", "TRANSACTION_TIMEOUT", "CLIENT_ENCODING",
    "STANDARD_CONFORMING_STRINGS", "CHECK_FUNCTION_BODIES", "XMLOPTION", "CLIENT_MIN_MESSAGES", "ROW_SECURITY", "DEFAULT_TABLESPACE",
    "DEFAULT_TABLE_ACCESS_METHOD", "DEFAULT_WITH_OIDS", "ESCAPE_STRING_WARNING", "SEARCH_PATH", "DEFAULT_TOAST_COMPRESSION",
}  # fmt: skip
# What is in a database; the longest name counts.
_KINDS = {
    "ACCESS METHOD", "AGGREGATE", "CAST", "COLLATION", "COLUMN", "CONSTRAINT", "CONSTRAINT TRIGGER", "CONVERSION", "DEFAULT CONVERSION",
    "DEFAULT PRIVILEGES", "DOMAIN", "EVENT TRIGGER", "EXTENSION", "FOREIGN DATA WRAPPER", "FOREIGN TABLE", "FOREIGN SERVER", "FUNCTION",
    "INDEX", "UNIQUE INDEX", "LANGUAGE", "PROCEDURAL LANGUAGE", "TRUSTED LANGUAGE", "TRUSTED PROCEDURAL LANGUAGE", "LARGE OBJECT",
    "MATERIALIZED VIEW", "OPERATOR", "POLICY", "PROCEDURE", "PUBLICATION", "ROUTINE", "RULE", "SCHEMA", "SEQUENCE", "UNLOGGED SEQUENCE",
    "SERVER", "STATISTICS", "SUBSCRIPTION", "TABLE", "UNLOGGED TABLE", "TEXT SEARCH", "TRANSFORM", "TRIGGER", "TYPE", "USER MAPPING",
    "VIEW", "RECURSIVE VIEW",
}  # fmt: skip
_BEGINNINGS = {tuple(kind.split()) for kind in _KINDS}
_BEYOND = {"DATABASE", "ROLE", "USER", "GROUP", "TABLESPACE", "SYSTEM", "PARAMETER"}
_NEVER_GRANTED_ON = {"DATABASE", "TABLESPACE", "PARAMETER"}
_TRANSACTIONS = (("BEGIN",), ("COMMIT",), ("START", "TRANSACTION"), ("BEGIN", "TRANSACTION"), ("COMMIT", "TRANSACTION"))
_CALLS = {
    "SETVAL", "LO_CREATE", "LO_OPEN", "LOWRITE", "LO_CLOSE", "LO_UNLINK", "PG_RESTORE_RELATION_STATS", "PG_RESTORE_ATTRIBUTE_STATS",
    "PG_RESTORE_EXTENDED_STATS", "PG_CLEAR_RELATION_STATS", "PG_CLEAR_ATTRIBUTE_STATS",
}  # fmt: skip
# How a dump made with --clean removes a large object that may be there: of --if-exists in older versions, and of today's.
_UNLINKED = {
    "SELECT CASE WHEN EXISTS ( SELECT 1 FROM PG_CATALOG . PG_LARGEOBJECT_METADATA WHERE OID =  ) THEN PG_CATALOG . LO_UNLINK (  ) END ;",
    "SELECT PG_CATALOG . LO_UNLINK ( OID ) FROM PG_CATALOG . PG_LARGEOBJECT_METADATA WHERE OID =  ;",
}
# Statements in great numbers and their exact form, which needs no tokens: pieces of large objects, and rows.
_PIECE_OF_LARGE_OBJECT = re.compile(rb"SELECT pg_catalog\.lowrite\(0, '\\\\?x")
_END_OF_PIECE = b"');"
# What is let through by its first words, where no comment stands between them; and a table's definition that holds no query.
_BY_FIRST_WORDS = re.compile(
    rb"(?:(?:ALTER|DROP) (?:TABLE|SEQUENCE|VIEW|MATERIALIZED VIEW|INDEX|FUNCTION|PROCEDURE|AGGREGATE|TYPE|DOMAIN|SCHEMA|LARGE OBJECT)"
    rb"|CREATE (?:SEQUENCE|VIEW|INDEX|UNIQUE INDEX|TRIGGER|TYPE|DOMAIN|SCHEMA|POLICY|STATISTICS)"
    rb"|COMMENT ON (?:TABLE|COLUMN|FUNCTION|INDEX|CONSTRAINT|VIEW|TYPE|SEQUENCE|LARGE OBJECT)) [A-Za-z0-9_\"]"
)
_TABLE = re.compile(rb"CREATE (?:UNLOGGED )?TABLE [A-Za-z_\"]")
_QUERY = re.compile(rb"\b(?:AS|EXECUTE|SELECT)\b", re.IGNORECASE)
# Settings whose text must be sure, because what follows is read by it.
_SEARCH_PATH = re.compile(rb"SELECT pg_catalog\.set_config\('search_path', '[^'\\]*', false\);\Z")
_STRINGS = re.compile(rb"SET standard_conforming_strings = (?:on|off);\Z")
_ENCODING = re.compile(rb"SET client_encoding = '([A-Za-z0-9_-]+)';\Z")
_LITERALS = {"NULL", "TRUE", "FALSE", "DEFAULT"}


class Token(NamedTuple):
    """A piece of a statement: `word` in capitals, `ident`, `string`, `number` or `sign`, with its text."""

    kind: str
    text: str

    def __str__(self) -> str:
        return "'…'" if self.kind == "string" else self.text


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
    text = raw.decode(errors="replace")
    return text.upper() if kind == "word" else text


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


def refused(statement: bytes, *, backslash_escapes: bool = False) -> str:
    """Why a statement may not be restored, with its first words; empty when it may."""
    if _plainly_allowed(statement):
        return ""
    head = list[Token]()
    try:
        stream = tokens(statement, backslash_escapes=backslash_escapes)
        for token in stream:
            head.append(token)
            if len(head) == _HEAD:
                break
        words = [t.text if t.kind == "word" else "" for t in head]
        if _allowed(words, head, stream) and _surely_read(words, statement):
            return ""
    except Unreadable as error:
        return f"{error}: {_shown(head)}"
    beyond = (
        _BEYOND.intersection(words[:5]) or words[:1] in (["COPY"], ["DO"]) or "ROLE" in words or words[:1] == ["GRANT"]
    )
    why = "it would change more than its database" if beyond else "no dump of one database holds it"
    return f"{why}: {_shown(head)}"


def _plainly_allowed(statement: bytes) -> bool:
    """Whether the bytes of a statement show at once that it is pg_dump's: most are."""
    if piece := _PIECE_OF_LARGE_OBJECT.match(statement):
        return statement.endswith(_END_OF_PIECE) and statement[piece.end() : -len(_END_OF_PIECE)].isalnum()
    if _BY_FIRST_WORDS.match(statement) or _SEARCH_PATH.match(statement):
        return True
    return bool(_TABLE.match(statement)) and not _QUERY.search(statement)


def _surely_read(words: Sequence[str], statement: bytes) -> bool:
    """Whether a setting that decides how the rest is read is written as pg_dump writes it."""
    if words[:2] == ["SET", "STANDARD_CONFORMING_STRINGS"]:
        return bool(_STRINGS.match(statement))
    if words[:2] == ["SET", "CLIENT_ENCODING"]:
        named = _ENCODING.match(statement)
        return named is not None and re.sub(rb"[^A-Z0-9]", b"", named[1].upper()).decode() not in _CLIENTS_ENCODINGS
    return True


def _shown(head: Sequence[Token]) -> str:
    return " ".join(map(str, head))[:_SHOWN].replace(" ;", ";").replace(" . ", ".")


def _allowed(words: Sequence[str], head: Sequence[Token], rest: Iterator[Token]) -> bool:
    """Whether the beginning of a statement is one of pg_dump's, and the rest where that matters."""
    verb = words[0] if words else ";"
    match verb:
        case "CREATE" | "ALTER" | "DROP":
            known = _of_object(verb, words, head, rest)
        case "COMMENT" | "SECURITY":
            known = _labelled(words)
        case "REFRESH":
            known = words[1:3] == ["MATERIALIZED", "VIEW"]
        case "GRANT" | "REVOKE":
            known = _of_rights([*head, *rest])
        case "SET" | "RESET":
            known = _of_session(words, head)
        case "SELECT":
            known = _of_functions([*head, *rest])
        case "INSERT":
            known = _of_rows([*head, *rest])
        case _:
            said = [t.text for t in head]
            known = said == [";"] or tuple(said[:-1]) in _TRANSACTIONS
    return known


def _of_object(verb: str, words: Sequence[str], head: Sequence[Token], rest: Iterator[Token]) -> bool:
    """CREATE, ALTER or DROP of something that is in the database."""
    begun = list(words[1:])
    if begun[:2] == ["OR", "REPLACE"]:
        begun = begun[2:]
    kind = next((tuple(begun[:n]) for n in (3, 2, 1) if tuple(begun[:n]) in _BEGINNINGS), ())
    if not kind:
        return False
    if kind == ("SUBSCRIPTION",):
        return _subscribed(verb, [*head, *rest])
    if verb == "CREATE" and kind in (("TABLE",), ("UNLOGGED", "TABLE")):
        return not _has_query([*head, *rest])
    if verb == "CREATE" and kind in (("FUNCTION",), ("PROCEDURE",)):
        return _one_routine([*head, *rest])
    return True


def _subscribed(verb: str, statement: Sequence[Token]) -> bool:
    """A subscription is made without a connection, and given to its owner; anything more reaches another server."""
    said = [t.text.upper() for t in statement]
    if verb == "ALTER":
        return said[3:5] == ["OWNER", "TO"]
    return verb == "CREATE" and any(said[i : i + 3] == ["CONNECT", "=", "FALSE"] for i in range(len(said)))


def _has_query(statement: Sequence[Token]) -> bool:
    """Whether it is CREATE TABLE … AS: a query that is carried out at once, and that pg_dump never writes."""
    depth = 0
    for token in statement:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "sign" else 0
        if not depth and token.kind == "word" and token.text in ("AS", "EXECUTE", "SELECT"):
            return True
    return False


def _one_routine(statement: Sequence[Token]) -> bool:
    """Whether a routine's definition is the only thing in it.

    psql counts BEGIN, CASE and END to find where a body ends; a server has it end at the END that follows a semicolon.
    Where the two differ, what comes after is a statement of its own to the server.
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


def _labelled(words: Sequence[str]) -> bool:
    """COMMENT ON or SECURITY LABEL of something that is in the database."""
    if "ON" not in words[:6]:
        return False
    begun = words[list(words).index("ON") + 1 :]
    return any(tuple(begun[:n]) in _BEGINNINGS for n in (3, 2, 1))


def _of_rights(statement: Sequence[Token]) -> bool:
    """Privileges on something that is in the database; membership of a role is none."""
    depth = 0
    for token, after in pairwise(statement):
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "sign" else 0
        if not depth and token.kind == "word" and token.text == "ON":
            return after.kind == "ident" or (after.kind == "word" and after.text not in _NEVER_GRANTED_ON)
    return False


def _of_session(words: Sequence[str], head: Sequence[Token]) -> bool:
    """The settings that pg_dump begins with, with one value each; how strings are read is followed, and must be sure."""
    if words[:3] == ["SET", "SESSION", "AUTHORIZATION"]:
        return len(head) == 5 and head[4].text == ";"
    if words[0] == "RESET":
        return [t.text for t in head] == ["RESET", "SESSION", "AUTHORIZATION", ";"]
    said = [t.text for t in head]
    if len(said) < 4 or words[1] not in _SETTINGS or said[2].upper() not in ("=", "TO") or said[-1] != ";":
        return words[:2] == ["SET", "SEARCH_PATH"] and len(said) == _HEAD
    return words[1] == "SEARCH_PATH" or len(said) == 5


def _of_functions(statement: Sequence[Token]) -> bool:
    """A call that pg_dump writes, with nothing but literals: sequences, large objects, statistics, the search path."""
    said = [t.text.upper() if t.kind == "word" else t.text for t in statement]
    if " ".join(said) in _UNLINKED:
        return True
    if said[:4] == ["SELECT", "*", "FROM", "PG_CATALOG"]:  # statistics, from version 18 on
        statement, said = [statement[0], *statement[3:]], [said[0], *said[3:]]
    if said[:3] != ["SELECT", "PG_CATALOG", "."] or said[4:5] != ["("] or said[-2:] != [")", ";"]:
        return False
    return said[3] in _CALLS and _literals(statement[5:-2])


def _of_rows(statement: Sequence[Token]) -> bool:
    """INSERT of literals."""
    said = [t.text if t.kind in ("word", "sign") else "" for t in statement]
    if "VALUES" not in said or said[1:2] != ["INTO"]:
        return False
    values = said.index("VALUES")
    if said[values - 1] == "DEFAULT":
        return said[values + 1 :] == [";"]
    end = len(said) - 1
    if said[-5:] == ["ON", "CONFLICT", "DO", "NOTHING", ";"]:
        end -= 4
    plain = all(w in ("", "INSERT", "INTO", "(", ")", ",", ".", "OVERRIDING", "SYSTEM", "USER", "VALUE") or t.kind == "word" for w, t in zip(said[:values], statement, strict=False))  # fmt: skip
    return plain and "SELECT" not in said[:values] and said[-1] == ";" and _literals(statement[values + 1 : end])


def _literals(values: Sequence[Token]) -> bool:
    """Whether there are only literals, names of types behind `::`, and what stands between them."""
    # Whether the name of a type goes on, and whether we are in what modifies it: `numeric(10, 2)`.
    cast = modified = False
    for before, token in pairwise([Token("sign", ","), *values]):
        named = before.kind in ("word", "ident")
        if token.kind in ("word", "ident"):
            of_type = cast and not modified and (named or before.text in ("::", ".", ")"))
            if not of_type and (token.text not in _LITERALS or named or modified):
                return False
        elif token.text == "(":
            if modified or (named and not cast):
                return False
            modified = cast
        elif token.text == "::":
            cast = True
        elif token.text in (")", ","):
            cast = cast and modified
            modified = modified and token.text == ","
        elif token.kind == "sign" and token.text not in "-+.[]":
            return False
    return True
