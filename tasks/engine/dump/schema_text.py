"""Extract what a dump's statements say about the schema, and normalise away what carries no meaning."""

from __future__ import annotations

import codecs
import re

from xxhash import xxh3_128_intdigest

from tasks.engine.dump.column_order import in_one_order

DIGEST_BITS = 128
_NEEDLESS = re.compile(r'(?<!")"([a-z_][a-z0-9_]*)"(?!")')
# Schema digests are comparable only if they were made by the same rules: increment this with every change to what is
# left out, put in order or added here, in `column_order` or in `schema_parts.part_of`.
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

# Session settings and transactions are not part of the schema, except SESSION AUTHORIZATION, which determines owners.
_SESSION = re.compile(
    rb"(?:SET (?!SESSION AUTHORIZATION)|RESET |SELECT pg_catalog\.set_config\(|BEGIN;|COMMIT;|START TRANSACTION"
    # No manifest of ours was made of a dump with statistics before this was left out.
    rb"|SELECT \* FROM pg_catalog\.pg_restore_(?:relation|attribute)_stats\()",
)
# Every new database has it; pg_dump prints it if it was dropped and created again.
_ALWAYS_THERE = re.compile(
    rb"CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;\Z|COMMENT ON EXTENSION plpgsql IS "
)
_SETTING = re.compile(rb"SET (default_tablespace|default_table_access_method) = '?\"?([^'\";]*)")
# What is stored in a tablespace. A constraint is if it has an index. Other statements can follow a `SET
# default_tablespace` too, but then it is left over from the table before them.
_PLACED = re.compile(
    rb"CREATE (?:UNLOGGED )?TABLE |CREATE MATERIALIZED VIEW |CREATE (?:UNIQUE )?INDEX "
    rb"|ALTER TABLE (?:ONLY )?" + _NAME + rb"\s+ADD CONSTRAINT " + _IDENTIFIER + rb" (?:PRIMARY KEY|UNIQUE|EXCLUDE)\b"
)  # fmt: skip
# What gets its access method from that setting: an index names its own.
_STORED = re.compile(rb"CREATE (?:UNLOGGED )?TABLE |CREATE MATERIALIZED VIEW ")
# In the databases that a backup is restored to, these are equivalent to no setting.
_USUAL = (b"", b"heap", b"pg_default")
# Since the minor releases of November 2026, a server counts the versions of a column among its options, and maintains
# the count itself, whatever value a statement sets. An older pg_dump prints it.
_COUNTED = re.compile(
    rb"(ALTER (?:FOREIGN )?TABLE (?:ONLY )?" + _NAME + rb" ALTER COLUMN " + _IDENTIFIER + rb" SET \()([^'\"]*)(\);)\Z"
)
_COUNT = re.compile(rb"pg_attver=\d+(?:, |\Z)")
# The end of a statement that names a role last. Names are short, so only the end is searched, however long it is.
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

# Before version 16, pg_dump also wrote ALTER TABLE for the owner of a sequence or view.
_OWNED_RELATION = re.compile(rb"ALTER (?:SEQUENCE|VIEW|MATERIALIZED VIEW|FOREIGN TABLE)(?= " + _NAME + rb" OWNER TO )")


def hash_of(data: bytes) -> int:
    """Return the 128-bit hash that digests are sums of: XXH3 (https://github.com/Cyan4973/xxHash)."""
    return int(xxh3_128_intdigest(data))


def hex_digest(total: int) -> str:
    """Return a sum of hashes as written in the manifest: modulo 2^128, 32 hexadecimal digits."""
    return f"{total % (1 << DIGEST_BITS):032x}"


def codec_of(encoding: str) -> str:
    """Return Python's name of a server encoding; UTF-8 if Python does not know it or it is not one of PostgreSQL's.

    Python also has codecs that cannot decode ordinary text, such as `hex` and `idna`.
    """
    if not _ENCODINGS.fullmatch(encoding):
        return "utf-8"
    try:
        return codecs.lookup(re.sub("^WIN", "cp", re.sub(r"^KOI8(.)$", r"koi8-\1", encoding))).name
    except LookupError:
        return "utf-8"


def text_of(data: bytes, codec: str = "utf-8") -> str:
    """Decode a name; invalid bytes become hexadecimal escapes, which JSON can hold."""
    return data.decode(codec, errors="backslashreplace")


def columns_of(text: bytes | None, codec: str = "utf-8") -> tuple[str, ...]:
    """Split the column list of a COPY statement; names stay quoted as they are."""
    return tuple(text_of(name, codec) for name in _COLUMN.findall(text or b""))


def unquote(identifier: bytes, codec: str = "utf-8") -> str:
    """Return the name that an SQL identifier or literal stands for."""
    text = text_of(identifier, codec)
    for quote in "\"'":
        if text.startswith(quote):
            return text[1:-1].replace(quote * 2, quote)
    return text


def plain_name(name: str) -> str:
    """Return a name without unnecessary quotes: other tools quote every name, and we use the unquoted spelling."""
    return _NEEDLESS.sub(r"\1", name)


def roles_of(statement: bytes, codec: str = "utf-8") -> set[str]:
    """Return the roles that must exist for a statement: owners, grantees, those of policies and user mappings."""
    if mapping := _MAPPED_ROLE.match(statement):
        return _roles([mapping[1]], codec)
    if not statement.startswith((b"ALTER ", b"GRANT ", b"REVOKE ", b"SET SESSION", b"CREATE POLICY ")):
        return set()
    policy = _POLICY_ROLES.match(statement)
    last, default = _LAST_ROLE.search(statement[-_END_BYTES:]), _DEFAULT_ROLE.match(statement)
    found = [last[2]] if last and (last[1] or statement.startswith(_GRANTING)) else []
    return _roles([*found, *([default[1]] if default else []), *(_COLUMN.findall(policy[1]) if policy else [])], codec)


def _roles(found: list[bytes], codec: str) -> set[str]:
    """Return the role names among the words in a role's place; a quoted `PUBLIC` is an ordinary role."""
    return {unquote(role, codec) for role in found if text_of(role, codec) not in _NOT_ROLES}


def _roles_in_order(statement: bytes) -> bytes:
    """Return a policy with its roles sorted by name: pg_dump writes them in the order in which they were created."""
    policy = _POLICY_ROLES.match(statement)
    if not policy:
        return statement
    begin, end = policy.span(1)
    return statement[:begin] + b", ".join(sorted(_COLUMN.findall(policy[1]))) + statement[end:]


def _uncounted(statement: bytes) -> bytes:
    """Return the statement without the server's own count of a column's versions; empty if it sets nothing else."""
    found = _COUNTED.match(statement) if b"pg_attver=" in statement else None
    if not found:
        return statement
    options = _COUNT.sub(b"", found[2]).removesuffix(b", ")
    return found[1] + options + found[3] if options else b""


class SchemaNormaliser:
    """A filter that keeps the schema's statements, each in a form that a faithful restore prints again."""

    def __init__(self) -> None:
        self._settings: dict[bytes, bytes] = {}

    def normalise(self, statement: bytes) -> bytes | None:
        """Return the statement to compare, or None if it is not part of the schema.

        A separate statement before a table sets its tablespace and access method: append them to the table's statement.
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
