"""Allow only statements that pg_dump writes for a single database.

Statements are split like psql's and read token by token: comments mean nothing, quoted words are not keywords. Allowed
are those of pg_dump 14 to 18 (`src/bin/pg_dump/pg_dump.c` and `pg_backup_archiver.c` in PostgreSQL), including the
options `--inserts`, `--clean` and `--use-set-session-authorization`. Everything else is refused and named, whatever it
would do.

This cannot stop code that a server inevitably runs: functions behind indexes, constraints, defaults and views.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

from tasks.engine.dump.allowed_objects import BEGINNINGS, of_object
from tasks.engine.dump.inserted_rows import of_rows
from tasks.engine.dump.literals import literals
from tasks.engine.dump.relations import Relations
from tasks.engine.dump.sql_tokens import Token, Unreadable, all_of, of_the_system, tokens

_SHOWN, _HEAD = 60, 12

# The servers' encodings, as pg_dump spells them (`pg_enc2name_tbl` in PostgreSQL's encnames.c). In client-only encodings a byte of a
# character can be a quote or a backslash, and an alias would name one encoding to the server and another one to us.
_ENCODINGS = re.compile(
    r"UTF8|SQL_ASCII|EUC_(?:JP|CN|KR|TW|JIS_2004)|MULE_INTERNAL|LATIN(?:[1-9]|10)|WIN(?:125[0-8]|866|874)|ISO_8859_[5-8]|KOI8[RU]"
)
_SETTINGS = {
    "STATEMENT_TIMEOUT", "LOCK_TIMEOUT", "IDLE_IN_TRANSACTION_SESSION_TIMEOUT", "TRANSACTION_TIMEOUT", "CLIENT_ENCODING",
    "STANDARD_CONFORMING_STRINGS", "CHECK_FUNCTION_BODIES", "XMLOPTION", "CLIENT_MIN_MESSAGES", "ROW_SECURITY", "DEFAULT_TABLESPACE",
    "DEFAULT_TABLE_ACCESS_METHOD", "DEFAULT_WITH_OIDS", "ESCAPE_STRING_WARNING", "SEARCH_PATH", "DEFAULT_TOAST_COMPRESSION",
}  # fmt: skip
_BEYOND = {"DATABASE", "ROLE", "USER", "GROUP", "TABLESPACE", "SYSTEM", "PARAMETER"}
_NEVER_GRANTED_ON = {"DATABASE", "TABLESPACE", "PARAMETER"}
_TRANSACTIONS = (("BEGIN",), ("COMMIT",), ("START", "TRANSACTION"), ("BEGIN", "TRANSACTION"), ("COMMIT", "TRANSACTION"))
_CALLS = {
    "SETVAL", "LO_CREATE", "LO_OPEN", "LOWRITE", "LO_CLOSE", "LO_UNLINK", "PG_RESTORE_RELATION_STATS", "PG_RESTORE_ATTRIBUTE_STATS",
    "PG_RESTORE_EXTENDED_STATS", "PG_CLEAR_RELATION_STATS", "PG_CLEAR_ATTRIBUTE_STATS",
}  # fmt: skip
# How a dump made with --clean --if-exists removes a large object: in older versions, and today.
_UNLINKED = {
    "SELECT CASE WHEN EXISTS ( SELECT 1 FROM PG_CATALOG . PG_LARGEOBJECT_METADATA WHERE OID =  ) THEN PG_CATALOG . LO_UNLINK (  ) END ;",
    "SELECT PG_CATALOG . LO_UNLINK ( OID ) FROM PG_CATALOG . PG_LARGEOBJECT_METADATA WHERE OID =  ;",
}
# The exact form of statements that come in great numbers, which need no tokens: pieces of large objects.
_PIECE_OF_LARGE_OBJECT = re.compile(rb"SELECT pg_catalog\.lowrite\(0, '\\\\?x")
_END_OF_PIECE = b"');"
# Statements allowed by their first words if no comment is between them; and a table's definition without a query.
_BY_FIRST_WORDS = re.compile(
    rb"(?:DROP (?:TABLE|SEQUENCE|VIEW|MATERIALIZED VIEW|INDEX|FUNCTION|PROCEDURE|AGGREGATE|TYPE|DOMAIN|SCHEMA|LARGE OBJECT)"
    rb"|CREATE (?:SEQUENCE|VIEW|INDEX|UNIQUE INDEX|TRIGGER|TYPE|DOMAIN|POLICY|STATISTICS)"
    rb"|COMMENT ON (?:TABLE|COLUMN|FUNCTION|INDEX|CONSTRAINT|VIEW|TYPE|SEQUENCE|LARGE OBJECT)) [A-Za-z0-9_\"]"
)
_OWNED = re.compile(
    rb"ALTER (?:TABLE|SEQUENCE|VIEW|INDEX|FUNCTION|TYPE|DOMAIN|SCHEMA|LARGE OBJECT|AGGREGATE) [a-z0-9_.]+(?:\([a-z0-9_., ]*\))? OWNER TO [a-z0-9_]+;\Z"
)
_TABLE = re.compile(rb"CREATE (?:UNLOGGED )?TABLE [A-Za-z_\"]")
_QUERY = re.compile(rb"\b(?:AS|EXECUTE|SELECT|VALUES)\b", re.IGNORECASE)
# Settings that must have exactly this text, because they decide how the rest is read. Objects in `pg_temp` would be found first.
_SEARCH_PATH = re.compile(rb"SELECT pg_catalog\.set_config\('search_path', '(?![^']*(?i:pg_temp))[^'\\]*', false\);\Z")
# How pg_dump writes the first words of any statement.
_FIRST_WORDS = re.compile(rb"[A-Z]+(?: [A-Z]+)?(?=[ ;(])|;\Z")
_STRINGS = re.compile(rb"SET standard_conforming_strings = (?:on|off);\Z")
_ROUTINE = re.compile(rb"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) ")  # whose body may hold statements
_IN_PG_TEMP = re.compile(r"(?i)\A\"?pg_temp(?:_\d+)?\"?\Z|\AU&\"")
# A restore enables event triggers last if they would fire earlier, so it must recognise them.
_EVENT_TRIGGER = re.compile(
    rb"ALTER EVENT TRIGGER (?:\"[^\"]*+(?:\"\"[^\"]*+)*+\"|\w{1,200}) (?:OWNER TO .*|DISABLE|ENABLE(?: ALWAYS| REPLICA)?);\Z",
    re.DOTALL,
)
_ENCODING = re.compile(rb"SET client_encoding = '([A-Za-z0-9_-]+)';\Z")


def refused(statement: bytes, *, backslash_escapes: bool = False) -> str:
    """Return why a statement must not be restored, with its first words; empty if it is allowed."""
    head = list[Token]()
    try:
        if b"pg_temp" in statement.lower() or b'U&"' in statement.upper():
            _refuse_temporary(tokens(statement, backslash_escapes=backslash_escapes))
        if _PIECE_OF_LARGE_OBJECT.match(statement) and _plainly_allowed(statement):
            return ""
        if not _ROUTINE.match(statement) and not _is_one(tokens(statement, backslash_escapes=backslash_escapes)):
            return "psql and a server could read it differently: a statement with another one behind it"
        if _plainly_allowed(statement):
            return ""
        stream = tokens(statement, backslash_escapes=backslash_escapes)
        for token in stream:
            head.append(token)
            if len(head) == _HEAD:
                break
        words = [t.text if t.kind == "word" else "" for t in head]
        if _FIRST_WORDS.match(statement) and _allowed(words, head, stream) and _surely_read(words, statement):
            return ""
    except Unreadable as error:
        return f"{error}: {_shown(head)}"
    beyond = (
        _BEYOND.intersection(words[:5]) or words[:1] in (["COPY"], ["DO"]) or "ROLE" in words or words[:1] == ["GRANT"]
    )
    why = "it would change more than its database" if beyond else "a dump of one database never contains it"
    return f"{why}: {_shown(head)}"


def copied_beyond(table: bytes, relations: Relations) -> str:
    """Return why the rows of a table, by its name as written, must not be restored; empty if they are allowed."""
    try:
        name = list(tokens(table, backslash_escapes=False))
        if of_the_system(name):
            return f"it would change more than its database: COPY {_shown(name)}"
        return relations.why_not(name)
    except Unreadable as error:
        return str(error)


def sent_elsewhere(statement: bytes, relations: Relations, *, backslash_escapes: bool) -> str:
    """Return why a statement that is allowed by itself must not follow those before it; empty if it is allowed."""
    try:
        return relations.see(statement, backslash_escapes=backslash_escapes)
    except Unreadable as error:
        return str(error)


def _plainly_allowed(statement: bytes) -> bool:
    """Whether a statement's bytes alone show that it is pg_dump's, as for most statements."""
    if piece := _PIECE_OF_LARGE_OBJECT.match(statement):
        return statement.endswith(_END_OF_PIECE) and statement[piece.end() : -len(_END_OF_PIECE)].isalnum()
    if _BY_FIRST_WORDS.match(statement) or _SEARCH_PATH.match(statement) or _OWNED.match(statement):
        return True
    return bool(_TABLE.match(statement)) and not _QUERY.search(statement)


def _surely_read(words: Sequence[str], statement: bytes) -> bool:
    """Whether a statement that decides how the rest is read, or when code runs, is written as pg_dump writes it."""
    if words[:2] == ["SET", "STANDARD_CONFORMING_STRINGS"]:
        return bool(_STRINGS.match(statement))
    if words[:3] == ["ALTER", "EVENT", "TRIGGER"]:
        return bool(_EVENT_TRIGGER.match(statement))
    if words[:2] == ["SET", "CLIENT_ENCODING"]:
        named = _ENCODING.match(statement)
        return named is not None and bool(_ENCODINGS.fullmatch(named[1].decode()))
    return True


def _shown(head: Sequence[Token]) -> str:
    return " ".join(map(str, head))[:_SHOWN].replace(" ;", ";").replace(" . ", ".")


def _allowed(words: Sequence[str], head: Sequence[Token], rest: Iterator[Token]) -> bool:
    """Whether the beginning of a statement is one of pg_dump's, and so is the rest if it matters."""
    verb = words[0] if words else ";"
    match verb:
        case "CREATE" | "ALTER" | "DROP":
            known = of_object(verb, words, head, rest)
        case "COMMENT" | "SECURITY":
            known = _labelled(words)
        case "REFRESH":
            known = words[1:3] == ["MATERIALIZED", "VIEW"]
        case "GRANT" | "REVOKE":
            known = _of_rights(chain(head, rest))
        case "SET" | "RESET":
            known = _of_session(words, head)
        case "SELECT":
            known = _of_functions(all_of(head, rest))
        case "INSERT":
            known = of_rows(chain(head, rest))
        case _:
            said = [t.text for t in head]
            known = said == [";"] or tuple(said[:-1]) in _TRANSACTIONS
    return known


def _labelled(words: Sequence[str]) -> bool:
    """Whether it is COMMENT ON or SECURITY LABEL for something in the database."""
    if "ON" not in words[:6]:
        return False
    begun = words[list(words).index("ON") + 1 :]
    return any(tuple(begun[:n]) in BEGINNINGS for n in (3, 2, 1))


def _of_rights(statement: Iterable[Token]) -> bool:
    """Whether it is about privileges on something in the database; role membership is not."""
    depth = 0
    for token, after in pairwise(statement):
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "sign" else 0
        if not depth and token.kind == "word" and token.text == "ON":
            return after.kind == "ident" or (after.kind == "word" and after.text not in _NEVER_GRANTED_ON)
    return False


def _of_session(words: Sequence[str], head: Sequence[Token]) -> bool:
    """Whether it is a setting that pg_dump begins with, with one value: our reading of strings depends on the value."""
    if words[:3] == ["SET", "SESSION", "AUTHORIZATION"]:
        return len(head) == 5 and head[4].text == ";"
    if words[0] == "RESET":
        return [t.text for t in head] == ["RESET", "SESSION", "AUTHORIZATION", ";"]
    said = [t.text for t in head]
    if words[1:2] == ["SEARCH_PATH"]:
        return said[2].upper() in ("=", "TO") and not any(map(_temporary, head)) and said[-1] == ";"
    if len(said) != 5 or words[1] not in _SETTINGS or said[2].upper() not in ("=", "TO"):
        return False
    return said[-1] == ";"


def _is_one(statement: Iterable[Token]) -> bool:
    """Whether a server reads one statement where psql has cut one: its only semicolon outside parentheses is its last token."""
    depth, ended = 0, False
    for token in statement:
        if ended:
            return False
        if token.kind == "sign":
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            ended = token.text == ";" and depth < 1
    return ended


def _temporary(token: Token) -> bool:
    """Whether a search path could name temporary objects by it: what a string holds is not known here."""
    return token.kind == "string"


def _refuse_temporary(statement: Iterable[Token]) -> None:
    """Raise Unreadable for a name in `pg_temp`, which a server searches first, and for one written with escapes."""
    for token in statement:
        if token.kind in ("word", "ident") and _IN_PG_TEMP.search(token.text):
            raise Unreadable("a temporary object, or a name with escapes")


def _of_functions(statement: Sequence[Token]) -> bool:
    """Whether it is a call of pg_dump's, with literals only: sequences, large objects, statistics, the search path."""
    said = [t.text.upper() if t.kind == "word" else t.text for t in statement]
    if " ".join(said) in _UNLINKED:
        return True
    if said[:4] == ["SELECT", "*", "FROM", "PG_CATALOG"]:  # statistics, from version 18 on
        statement, said = [statement[0], *statement[3:]], [said[0], *said[3:]]
    if said[:3] != ["SELECT", "PG_CATALOG", "."] or said[4:5] != ["("] or said[-2:] != [")", ";"]:
        return False
    return said[3] in _CALLS and literals(statement[5:-2])
