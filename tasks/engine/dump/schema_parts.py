"""Find which part of the schema a statement belongs to, what it is about, and how two schemas differ.

The statements are pg_dump's, normalised by `schema_text`. Two major versions occasionally word a statement differently,
so a title leaves out everything that they may word differently: what exists can then be compared across versions.
Only a statement's beginning is read, word by word, so that a name such as `"x OWNER TO y"` is read as a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tasks.engine.dump.schema_text import text_of

INDEXES = "indexes"
CONSTRAINTS = "constraints"
TRIGGERS = "triggers"
EXTENSIONS = "extensions"
RIGHTS = "ownership and grants"
MATERIALIZED = "materialized views"
OTHER = "other"
PARTS = (INDEXES, CONSTRAINTS, TRIGGERS, EXTENSIONS, RIGHTS, MATERIALIZED, OTHER)

_TITLE_LENGTH = 200
_LINE_LENGTH = 120

# PostgreSQL prints strings with doubled quotes, even those with backslashes.
_STRING = rb"'[^']*+(?:''[^']*+)*+'"
_QUOTED = rb'"[^"]*+(?:""[^"]*+)*+"'
_ID = rb"(?:" + _QUOTED + rb"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+)"
_NAME = _ID + rb"(?:\." + _ID + rb")*+"
_KIND = rb"[A-Z]+(?: (?!ONLY )[A-Z]+){0,3}"
_RELATION = rb"(?:(?:FOREIGN )?TABLE|(?:MATERIALIZED )?VIEW|SEQUENCE)"
_SWITCH = rb"(?:ENABLE|DISABLE)(?: ALWAYS| REPLICA)?"


def _nested(depth: int) -> bytes:
    """Return a pattern for text in parentheses or brackets, nested up to a depth."""
    inside = rb"|" + _nested(depth - 1) if depth else rb""
    return rb"[(\[](?:" + _QUOTED + rb"|" + _STRING + rb"|[^()\[\]\"']" + inside + rb")*+[)\]]"


_GROUP = _nested(6)
_PRIVILEGES = rb"(?:[ ,]+[A-Z]+(?: ?(" + _GROUP + rb"))?)+? "


def _up_to(words: bytes) -> bytes:
    """Return a pattern for everything before words that are not in a string, quoted name or parentheses."""
    return rb"(?:" + _QUOTED + rb"|" + _STRING + rb"|" + _GROUP + rb"|(?!" + words + rb")[^()\"'])*+"


def _alter(kind: bytes, action: bytes) -> bytes:
    return rb"(ALTER " + kind + rb") (?:IF EXISTS )?(?:ONLY )?(" + _NAME + rb")\s+(" + action + rb")"


# By a statement's first word: the part of a statement that matches a pattern; the first match wins. The pattern's
# groups make up the statement's title.
_CREATE = (
    (INDEXES, rb"(CREATE (?:UNIQUE )?INDEX " + _ID + rb" ON)(?: ONLY)? (" + _NAME + rb")"),
    (TRIGGERS, rb"(CREATE (?:CONSTRAINT )?TRIGGER " + _ID + rb")" + _up_to(rb" ON ") + rb" (ON " + _NAME + rb")"),
    (TRIGGERS, rb"(CREATE EVENT TRIGGER " + _ID + rb")"),
    (TRIGGERS, rb"(CREATE)(?: OR REPLACE)? (RULE " + _ID + rb") AS\s+(ON [A-Z]+ TO " + _NAME + rb")"),
    (EXTENSIONS, rb"(CREATE EXTENSION)(?: IF NOT EXISTS)? (" + _ID + rb")"),
    (MATERIALIZED, rb"(CREATE MATERIALIZED VIEW " + _NAME + rb")"),
    (OTHER, rb"(CREATE POLICY " + _ID + rb" ON " + _NAME + rb")"),
    (OTHER, rb"(CREATE USER MAPPING FOR " + _ID + rb" SERVER " + _ID + rb")"),
    (OTHER, rb"(CREATE CAST " + _GROUP + rb")"),
    (OTHER, rb"(CREATE)(?: OR REPLACE)? (TRANSFORM FOR " + _up_to(rb" LANGUAGE ") + rb" LANGUAGE " + _ID + rb")"),
    (OTHER, rb"(CREATE)(?: OR REPLACE)? ((?:FUNCTION|PROCEDURE|AGGREGATE) " + _NAME + rb"(?:" + _GROUP + rb")?)"),
    (OTHER, rb"(CREATE OPERATOR (?:" + _ID + rb"\.)?[-~!@#^&|`?+*/%<>=]+)"),
    (OTHER, rb"(CREATE OPERATOR FAMILY " + _NAME + rb" USING " + _ID + rb")"),
    (OTHER, rb"(CREATE)(?: OR REPLACE)?(?: TRUSTED)? (" + _KIND + rb" " + _NAME + rb")"),
)
_ALTER = (
    (RIGHTS, _alter(_RELATION, rb"OWNER TO " + _ID)),
    (CONSTRAINTS, _alter(rb"(?:" + _RELATION + rb"|DOMAIN)", rb"(?:ADD|VALIDATE) CONSTRAINT " + _ID)),
    (CONSTRAINTS, _alter(_RELATION, rb"ALTER COLUMN " + _ID + rb" SET NOT NULL")),
    (TRIGGERS, _alter(_RELATION, _SWITCH + rb" (?:TRIGGER|RULE) " + _ID)),
    (INDEXES, _alter(_RELATION, rb"CLUSTER ON " + _ID + rb"|REPLICA IDENTITY")),
    (INDEXES, _alter(rb"INDEX", rb"ATTACH PARTITION " + _NAME + rb"|ALTER COLUMN \d+ SET STATISTICS|[A-Z]+")),
    (TRIGGERS, _alter(rb"EVENT TRIGGER", _SWITCH)),
    (RIGHTS, rb"(ALTER DEFAULT PRIVILEGES(?: FOR ROLE " + _ID + rb")?(?: IN SCHEMA " + _ID + rb")? (?:GRANT|REVOKE))"
             + _PRIVILEGES + rb"(ON .*)\Z"),
    (RIGHTS, rb"(ALTER (?!" + _RELATION + rb" )" + _KIND + rb" " + _up_to(rb" OWNER TO ") + rb" OWNER TO " + _ID + rb")"),
    (OTHER, _alter(_RELATION, rb"ALTER COLUMN " + _ID + rb" [A-Z]+(?: [A-Z]+)?")),
    (OTHER, _alter(_RELATION, rb"(?:ATTACH PARTITION|INHERIT|OWNED BY) " + _NAME)),
    (OTHER, rb"(ALTER PUBLICATION " + _ID + rb" ADD TABLE)(?: ONLY)? (" + _NAME + rb")"),
    (OTHER, rb"(ALTER PUBLICATION " + _ID + rb" ADD TABLES IN SCHEMA " + _ID + rb")"),
    (OTHER, rb"(ALTER TEXT SEARCH CONFIGURATION " + _NAME + rb")\s+(ADD MAPPING FOR " + _ID + rb")"),
    (OTHER, rb"(ALTER OPERATOR FAMILY " + _NAME + rb" USING " + _ID + rb" ADD)"),
    (OTHER, _alter(_KIND, rb"[A-Z]+(?: [A-Z]+){0,4}")),
)  # fmt: skip
_GRANT = ((RIGHTS, rb"(GRANT|REVOKE)" + _PRIVILEGES + rb"(ON .*)\Z"),)
_PATTERNS = {
    b"CREATE": _CREATE,
    b"ALTER": _ALTER,
    b"GRANT": _GRANT,
    b"REVOKE": _GRANT,
    b"SET": ((RIGHTS, rb"(SET SESSION AUTHORIZATION .*)\Z"),),
    b"COMMENT": (
        (EXTENSIONS, rb"(COMMENT ON EXTENSION " + _ID + rb")"),
        (OTHER, rb"(COMMENT ON " + _up_to(rb" IS ") + rb") IS "),
    ),
    b"SECURITY": ((OTHER, rb"(SECURITY LABEL " + _up_to(rb" IS ") + rb") IS "),),
    b"REFRESH": ((MATERIALIZED, rb"(REFRESH MATERIALIZED VIEW " + _NAME + rb")"),),
    b"INSERT": ((OTHER, rb"(INSERT INTO " + _NAME + rb")"),),  # from --inserts: a title must not show any rows
}
_RULES = {verb: [(part, re.compile(p, re.DOTALL)) for part, p in rows] for verb, rows in _PATTERNS.items()}

_DEFAULT = re.compile(
    rb"(" + _QUOTED + rb")| DEFAULT (?:" + _QUOTED + rb"|" + _STRING + rb"|" + _GROUP + rb"|[^()\[\],\"'])*+(?=[,)])", re.DOTALL
)  # fmt: skip
_TABLE = re.compile(rb"CREATE (?:UNLOGGED )?((?:FOREIGN )?TABLE " + _NAME + rb") \(")
_NULL_FREE = re.compile(rb"^    (?:CONSTRAINT " + _ID + rb" )?NOT NULL (" + _ID + rb")", re.MULTILINE)


class Entry(NamedTuple):
    """A statement as a report names it."""

    part: str
    title: str


@dataclass(frozen=True)
class Differences:
    """How one schema differs from another: what it lacks, what it has in addition, and what has changed.

    There is an entry for each statement. One that `changed` has the same title on both sides but a different text.
    """

    missing: tuple[Entry, ...] = ()
    added: tuple[Entry, ...] = ()
    changed: tuple[Entry, ...] = ()


def part_of(statement: bytes) -> str:
    """Return the part of the schema that a statement belongs to: one of `PARTS`."""
    return _recognised(statement)[0]


def title_of(statement: bytes) -> str:
    """Say what a statement is about, in one line of at most 200 characters that is the same for all major versions.

    The title of a statement of an unknown kind is its first line.
    """
    found = _recognised(statement)[1]
    if found is None:
        return _one_line(statement.lstrip().partition(b"\n")[0][: 4 * _LINE_LENGTH], _LINE_LENGTH)
    words = b" ".join(group for group in found.groups() if group)
    if words.startswith((b"CREATE FUNCTION ", b"CREATE PROCEDURE ")):
        words = _DEFAULT.sub(rb"\1", words)
    return _one_line(words.removesuffix(b";"), _TITLE_LENGTH)


def compare_statements(before: Mapping[int, bytes], after: Mapping[int, bytes], *, exact: bool) -> Differences:
    """Compare two schemas, each as the statements that a scan kept: its digest and its text.

    `exact` means that the same major version printed both. Otherwise, what versions are known to write in different
    statements is looked for in both, and `changed` can be no more than different wording.
    """
    gone = _entries(before, after, exact)
    come = _entries(after, before, exact)
    return Differences(
        missing=tuple(sorted((gone - come).elements())),
        added=tuple(sorted((come - gone).elements())),
        changed=tuple(sorted((gone & come).elements())),
    )


def _entries(these: Mapping[int, bytes], others: Mapping[int, bytes], exact: bool) -> Counter[Entry]:
    """Return the statements that only one side has; several can have the same title."""
    texts = [text for digest, text in these.items() if digest not in others]
    entries = Counter(Entry(part_of(text), title_of(text)) for text in texts)
    if not exact:
        entries.update(entry for text in texts for entry in written_elsewhere(text))
    return entries


def written_elsewhere(statement: bytes) -> Iterator[Entry]:
    """Yield what other major versions write as separate statements.

    If an inherited column is NOT NULL only in the child table, PostgreSQL 18 says so in CREATE TABLE; earlier versions
    used ALTER TABLE … SET NOT NULL.
    """
    if table := _TABLE.match(statement):
        for column in _NULL_FREE.findall(statement):
            title = title_of(b"ALTER " + table[1] + b" ALTER COLUMN " + column + b" SET NOT NULL")
            yield Entry(CONSTRAINTS, title)


def _recognised(statement: bytes) -> tuple[str, re.Match[bytes] | None]:
    for part, pattern in _RULES.get(statement[:16].partition(b" ")[0], ()):
        if found := pattern.match(statement):
            return part, found
    return OTHER, None


def _one_line(text: bytes, length: int) -> str:
    line = " ".join(text_of(text).split())
    return line if len(line) <= length else line[: length - 1] + "…"
