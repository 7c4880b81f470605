"""Read what a dump's statements say about the schema, and normalise away what says nothing."""

from __future__ import annotations

import codecs
import re

from xxhash import xxh3_128_intdigest

from tasks.engine.dump.column_order import in_one_order

DIGEST_BITS = 128
_NEEDLESS = re.compile(r'(?<!")"([a-z_][a-z0-9_]*)"(?!")')
# Digests of the schema can be compared when they were made by the same rules: raise it with every change of what is
# left out, put in order or added here, or in `schema_parts.part_of`.
RULES = 6

_IDENTIFIER = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+)'
_NAME = _IDENTIFIER + rb"(?:\." + _IDENTIFIER + rb")?"
COPY = re.compile(
    rb"COPY (" + _NAME + rb") ?(?:\((" + _IDENTIFIER + rb"(?:, ?" + _IDENTIFIER + rb")*+)?\))? FROM stdin;\Z"
)
SETVAL = re.compile(rb"SELECT pg_catalog\.setval\('([^']*+(?:''[^']*+)*+)', (-?\d{1,19}), (true|false)\);\Z")
EXTENSION = re.compile(rb"CREATE EXTENSION (?:IF NOT EXISTS )?(" + _IDENTIFIER + rb")")
RESTRICTION = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\s*\Z")
TABLESPACE = re.compile(rb"SET default_tablespace = (" + _IDENTIFIER + rb");\Z")
LARGE_OBJECT = re.compile(rb"SELECT pg_catalog\.(lo_create|lo_open|lowrite|lo_close)\('?(\d+)")
_COLUMN = re.compile(_IDENTIFIER)
_ENCODINGS = re.compile(
    r"BIG5|EUC_[A-Z0-9_]+|GB18030|GBK|ISO_8859_[0-9]|JOHAB|KOI8[RU]|LATIN[0-9]+|(?:SHIFT_JIS_2004|SJIS)|UHC|UTF8|WIN[0-9]+"
)
ENCODING = re.compile(rb"SET client_encoding = '([A-Za-z0-9_]+)'")

# Who sets up a session, and in which transaction, is not part of the schema.
_SESSION = re.compile(
    rb"(?:SET (?!SESSION AUTHORIZATION)|RESET |SELECT pg_catalog\.set_config\(|BEGIN;|COMMIT;|START TRANSACTION)",
)
# Every new database has it, and pg_dump prints it where somebody dropped it and created it again.
_ALWAYS_THERE = re.compile(
    rb"CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;\Z|COMMENT ON EXTENSION plpgsql IS "
)
_SETTING = re.compile(rb"SET (default_tablespace|default_table_access_method) = '?\"?([^'\";]*)")
# What lives in a tablespace. A constraint does when an index is behind it; anything else may come after `SET
# default_tablespace` too, which then is about the table before it.
_PLACED = re.compile(
    rb"CREATE (?:UNLOGGED )?TABLE |CREATE MATERIALIZED VIEW |CREATE (?:UNIQUE )?INDEX "
    rb"|ALTER TABLE (?:ONLY )?" + _NAME + rb"\s+ADD CONSTRAINT " + _IDENTIFIER + rb" (?:PRIMARY KEY|UNIQUE|EXCLUDE)\b"
)  # fmt: skip
# What has an access method by that setting: an index says its own.
_STORED = re.compile(rb"CREATE (?:UNLOGGED )?TABLE |CREATE MATERIALIZED VIEW ")
# These are the same as no setting in the databases that a backup is restored to.
_USUAL = (b"", b"heap", b"pg_default")
# A server counts the versions of its columns among their options since the minor releases of November 2026, and sets the
# count itself, whatever it is told. A pg_dump from before prints it.
_COUNTED = re.compile(
    rb"(ALTER (?:FOREIGN )?TABLE (?:ONLY )?" + _NAME + rb" ALTER COLUMN " + _IDENTIFIER + rb" SET \()([^'\"]*)(\);)\Z"
)
_COUNT = re.compile(rb"pg_attver=\d+(?:, |\Z)")
# How a statement ends that names a role last. A name is short, so only the end is looked at, however long the statement is.
_LAST_ROLE = re.compile(
    rb"(?:(OWNER TO|FOR ROLE|SESSION AUTHORIZATION)| (?:TO|FROM)) (" + _IDENTIFIER + rb"|'[^']*+(?:''[^']*+)*+')(?: WITH GRANT OPTION)?;\Z"
)  # fmt: skip
_END_BYTES = 1024
_GRANTING = (b"GRANT ", b"REVOKE ", b"ALTER DEFAULT PRIVILEGES ")
_POLICY_ROLES = re.compile(
    rb"CREATE POLICY " + _IDENTIFIER + rb" ON " + _NAME + rb"(?: AS [A-Z]+)?(?: FOR [A-Z]+)? TO ("
    + _IDENTIFIER + rb"(?:, " + _IDENTIFIER + rb")*)"
)  # fmt: skip
_MAPPED_ROLE = re.compile(rb"CREATE USER MAPPING FOR (" + _IDENTIFIER + rb") SERVER ")
_DEFAULT_ROLE = re.compile(rb"ALTER DEFAULT PRIVILEGES FOR ROLE (" + _IDENTIFIER + rb")")
_NOT_ROLES = {"DEFAULT", "PUBLIC", "public", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE", "pg_database_owner"}

# Before version 16 pg_dump wrote ALTER TABLE for the owner of a sequence or view too.
_OWNED_RELATION = re.compile(rb"ALTER (?:SEQUENCE|VIEW|MATERIALIZED VIEW|FOREIGN TABLE)(?= " + _NAME + rb" OWNER TO )")


def hash_of(data: bytes) -> int:
    """The 128-bit hash that digests are sums of: XXH3 (https://github.com/Cyan4973/xxHash)."""
    return int(xxh3_128_intdigest(data))


def hex_digest(total: int) -> str:
    """A sum of hashes as the manifest writes it: modulo 2^128, 32 hexadecimal digits."""
    return f"{total % (1 << DIGEST_BITS):032x}"


def codec_of(encoding: str) -> str:
    """Python's name of a server's encoding; UTF-8 for one that Python does not know, or that is none of PostgreSQL's.

    Python has others by which no text can be read: `hex`, `idna`.
    """
    if not _ENCODINGS.fullmatch(encoding):
        return "utf-8"
    try:
        return codecs.lookup(re.sub("^WIN", "cp", re.sub(r"^KOI8(.)$", r"koi8-\1", encoding))).name
    except LookupError:
        return "utf-8"


def text_of(data: bytes, codec: str = "utf-8") -> str:
    """A name as text; bytes that are none in its encoding are written as hexadecimal escapes, which JSON can hold."""
    return data.decode(codec, errors="backslashreplace")


def columns_of(text: bytes | None, codec: str = "utf-8") -> tuple[str, ...]:
    """Split the column list of a COPY statement; names stay quoted as they are."""
    return tuple(text_of(name, codec) for name in _COLUMN.findall(text or b""))


def unquote(identifier: bytes, codec: str = "utf-8") -> str:
    """The name behind an SQL identifier or literal."""
    text = text_of(identifier, codec)
    for quote in "\"'":
        if text.startswith(quote):
            return text[1:-1].replace(quote * 2, quote)
    return text


def plain_name(name: str) -> str:
    """A name without quotes that it does not need: other tools quote them all, and we know it by its other spelling."""
    return _NEEDLESS.sub(r"\1", name)


def roles_of(statement: bytes, codec: str = "utf-8") -> set[str]:
    """The roles that a statement needs to exist: owners, grantees, those of policies and of user mappings."""
    if mapping := _MAPPED_ROLE.match(statement):
        return _roles([mapping[1]], codec)
    if not statement.startswith((b"ALTER ", b"GRANT ", b"REVOKE ", b"SET SESSION", b"CREATE POLICY ")):
        return set()
    policy = _POLICY_ROLES.match(statement)
    last, default = _LAST_ROLE.search(statement[-_END_BYTES:]), _DEFAULT_ROLE.match(statement)
    found = [last[2]] if last and (last[1] or statement.startswith(_GRANTING)) else []
    return _roles([*found, *([default[1]] if default else []), *(_COLUMN.findall(policy[1]) if policy else [])], codec)


def _roles(found: list[bytes], codec: str) -> set[str]:
    """The names of roles among what stands where roles stand; in quotes, `PUBLIC` is a role like others."""
    return {unquote(role, codec) for role in found if text_of(role, codec) not in _NOT_ROLES}


def _roles_in_order(statement: bytes) -> bytes:
    """A policy with its roles in the order of their names: pg_dump writes them in the order in which a server made them."""
    policy = _POLICY_ROLES.match(statement)
    if not policy:
        return statement
    begin, end = policy.span(1)
    return statement[:begin] + b", ".join(sorted(_COLUMN.findall(policy[1]))) + statement[end:]


def _uncounted(statement: bytes) -> bytes:
    """The statement without the server's own count of a column's versions; nothing when it says nothing else."""
    found = _COUNTED.match(statement) if b"pg_attver=" in statement else None
    if not found:
        return statement
    options = _COUNT.sub(b"", found[2]).removesuffix(b", ")
    return found[1] + options + found[3] if options else b""


class SchemaNormaliser:
    """Keep the statements that make the schema, each in a form that a faithful restore prints again."""

    def __init__(self) -> None:
        self._settings: dict[bytes, bytes] = {}

    def normalise(self, statement: bytes) -> bytes | None:
        """The statement to compare, or None when it is no part of the schema.

        Where a table lives is set by a statement of its own before it: it is written to the table's.
        """
        setting = _SETTING.match(statement)
        if setting:
            self._settings[setting[1]] = setting[2]
        statement = _uncounted(statement)
        if not statement or _SESSION.match(statement) or _ALWAYS_THERE.match(statement):
            return None
        text = in_one_order(_roles_in_order(_OWNED_RELATION.sub(b"ALTER TABLE", statement, count=1)))
        place = b", ".join(k + b" " + v for k, v in sorted(self._settings.items()) if self._counts(text, k, v))
        return text + b" -- " + place if place else text

    @staticmethod
    def _counts(text: bytes, setting: bytes, value: bytes) -> bool:
        kind = _PLACED if setting == b"default_tablespace" else _STORED
        return value not in _USUAL and bool(kind.match(text))
