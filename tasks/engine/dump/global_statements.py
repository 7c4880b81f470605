"""Read the statements about roles, tablespaces and a database's own settings, and nothing else.

Allowed are the statements of `pg_dumpall --globals-only --no-role-passwords` and those about the database itself of
`pg_dump --create`, in versions 15 to 18 (`pg_dumpall.c`, `pg_dump.c` and `dumputils.c` in PostgreSQL), exactly as these
programs write them. Everything else is refused and named, as in a dump (`allowed.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tasks.engine.dump.splitter import StatementSplitter
from tasks.engine.wording import visible

Kind = Literal[
    "role", "attributes", "setting", "comment", "label", "membership", "right", "tablespace", "options", "database",
    "owner", "limit", "template",
]  # fmt: skip
_SHOWN = 80
# Names and strings as the programs quote them. A backslash in an escaped string only ever stands for itself.
_NAME = r'(?:[a-z_][a-z0-9_]*+|"(?:[^"\x00]++|"")++")'
_TEXT = r"(?:'(?:[^'\x00]++|'')*+'|E'(?:[^'\\\x00]++|''|\\\\)*+')"
_FLAG = "(?:NO)?(?:SUPERUSER|INHERIT|CREATEROLE|CREATEDB|LOGIN|REPLICATION|BYPASSRLS)"
_PARAMETER = rf"{_NAME}(?:\.{_NAME})*"
_OPTION = "(?:ADMIN|INHERIT|SET) (?:OPTION|TRUE|FALSE)"
_PLACE = "(?P<class>ROLE|TABLESPACE|DATABASE)"
_FORMS: tuple[tuple[Kind, str], ...] = (
    ("role", rf"CREATE ROLE (?P<role>{_NAME})"),
    ("attributes", (rf"ALTER ROLE (?P<role>{_NAME}) WITH (?P<flags>{_FLAG}(?: {_FLAG})*)"
                   rf"(?: CONNECTION LIMIT (?P<limit>-?[0-9]{{1,10}}))?(?: VALID UNTIL (?P<until>{_TEXT}))?")),
    ("setting", rf"ALTER ROLE (?P<role>{_NAME})(?: IN DATABASE (?P<database>{_NAME}))? SET (?P<parameter>{_PARAMETER}) TO (?P<value>{_TEXT}(?:, {_TEXT})*)"),
    ("setting", rf"ALTER DATABASE (?P<database>{_NAME}) SET (?P<parameter>{_PARAMETER}) TO (?P<value>{_TEXT}(?:, {_TEXT})*)"),
    ("comment", rf"COMMENT ON {_PLACE} (?P<object>{_NAME}) IS (?P<value>{_TEXT})"),
    ("label", rf"SECURITY LABEL FOR (?P<provider>{_NAME}) ON {_PLACE} (?P<object>{_NAME}) IS (?P<value>{_TEXT})"),
    ("membership", rf"GRANT (?P<group>{_NAME}) TO (?P<role>{_NAME})(?: WITH (?P<options>{_OPTION}(?:, {_OPTION})*))?(?: GRANTED BY (?P<grantor>{_NAME}))?"),
    ("right", (r"(?P<verb>GRANT|REVOKE)(?P<only> GRANT OPTION FOR)? (?P<rights>[A-Z]+(?: [A-Z]+)?(?:,[A-Z]+(?: [A-Z]+)?)*) ON (?P<class>PARAMETER|TABLESPACE|DATABASE)"
              rf" (?P<object>{_PARAMETER}) (?:TO|FROM) (?P<grantee>PUBLIC|{_NAME})(?P<option> WITH GRANT OPTION)?(?: GRANTED BY (?P<grantor>{_NAME}))?")),
    ("tablespace", rf"CREATE TABLESPACE (?P<tablespace>{_NAME}) OWNER (?P<role>{_NAME}) LOCATION (?P<location>{_TEXT})"),
    ("options", rf"ALTER TABLESPACE (?P<tablespace>{_NAME}) SET \((?P<options>[a-z_]+='?[0-9A-Za-z.+-]+'?(?:, [a-z_]+='?[0-9A-Za-z.+-]+'?)*)\)"),
    ("database", rf"CREATE DATABASE (?P<database>{_NAME}) WITH TEMPLATE = template0(?: (?!TABLESPACE)[A-Z_]+ = (?:{_NAME}|{_TEXT}))*(?: TABLESPACE = (?P<tablespace>{_NAME}))?"),
    ("owner", rf"ALTER DATABASE (?P<database>{_NAME}) OWNER TO (?P<role>{_NAME})"),
    ("limit", rf"ALTER DATABASE (?P<database>{_NAME}) CONNECTION LIMIT = (?P<limit>-?[0-9]{{1,10}})"),
    ("template", rf"ALTER DATABASE (?P<database>{_NAME}) IS_TEMPLATE = true"),
)  # fmt: skip
_ALLOWED = tuple((kind, re.compile(form + ";")) for kind, form in _FORMS)
_AS_ROLE = re.compile(rf"SET SESSION AUTHORIZATION (?P<role>{_NAME});")
_NO_ROLE = "RESET SESSION AUTHORIZATION;"
_RESTRICT = re.compile(r"\\(?:un)?restrict [0-9A-Za-z]+")
# How the programs begin; we set the same in our own sessions.
_BEGINNINGS = {
    "SET default_transaction_read_only = off;", "SET client_encoding = 'UTF8';", "SET standard_conforming_strings = on;"
}  # fmt: skip
# Words that name no role, or another one than they spell; the programs quote them where they are names.
_SPECIAL = {"all", "current_role", "current_user", "none", "public", "session_user", "user"}
# Whom PUBLIC means. A role can be named "PUBLIC", but no role has an empty name.
EVERYONE = ""
_NAMES = {"role", "group", "grantor", "grantee", "database", "tablespace", "object", "provider"}
_ITEM = re.compile(_TEXT)
_OF_DATABASE = re.compile(r"(?:ALTER|CREATE) DATABASE |(?:COMMENT|SECURITY LABEL FOR [^ ]+|GRANT [A-Z,]+|REVOKE [A-Z,]+) ON DATABASE |ALTER ROLE .* IN DATABASE ", re.DOTALL)  # fmt: skip


class NotAllowed(Exception):
    """A statement that is not about roles, tablespaces or the database, or is not written as the programs write it."""


@dataclass(frozen=True)
class GlobalStatement:
    """One statement: its text, the names and values in it, and the role under which it must be carried out, if any."""

    kind: Kind
    text: str
    values: Mapping[str, str] = field(repr=False)
    as_role: str = ""

    @property
    def of_database(self) -> bool:
        """Whether it is about the database itself, not about the server."""
        return "database" in self.values or self.values.get("class") == "DATABASE"

    @property
    def subject(self) -> str:
        """What it is about, for people; there is one statement about each, except for rights."""
        v = self.values
        whose = (f"role {v['role']}" if "role" in v else "") + (" in it" if "role" in v and "database" in v else "")
        place = f"{v.get('class', '').lower()} {v.get('object', '')}".strip()
        return visible({
            "role": f"role {v.get('role')}",
            "attributes": f"attributes of role {v.get('role')}",
            "setting": f"setting {v.get('parameter')} of {whose or 'the database'}",
            "comment": f"comment on {place}",
            "label": f"security label of {v.get('provider')} on {place}",
            "membership": f"membership of role {v.get('role')} in {v.get('group')}",
            "right": f"{v.get('verb', '').lower()} {v.get('rights')} on {place} {v.get('grantee') or 'PUBLIC'}",
            "tablespace": f"tablespace {v.get('tablespace')}",
            "options": f"options of tablespace {v.get('tablespace')}",
            "database": "the database's tablespace",
            "owner": "owner of the database",
            "limit": "connection limit of the database",
            "template": "the database's mark as a template",
        }[self.kind])[:_SHOWN * 2]  # fmt: skip


def read_statements(data: bytes, database: str) -> list[GlobalStatement]:
    """Return all statements of a text in their order; raises NotAllowed for what must not be in it.

    `database` is the only one that they may be about.
    """
    return list(_read(_pieces(data), database))


def statements_of_database(data: bytes, database: str) -> list[GlobalStatement]:
    """Return the statements about the database itself from the output of `pg_dump --create`; others are no concern."""
    return list(_read((text for text in _pieces(data, strict=False) if _is_of_database(text)), database))


def as_text(statements: Iterable[GlobalStatement]) -> str:
    """Write statements so that `read_statements` and psql read them."""
    return "".join(
        f"SET SESSION AUTHORIZATION {quoted(s.as_role)};\n{s.text}\n{_NO_ROLE}\n" if s.as_role else f"{s.text}\n"
        for s in statements
    )


def without_grantor(s: GlobalStatement) -> GlobalStatement:
    """Return a membership or right as given by whoever carries it out."""
    if "grantor" not in s.values:
        return s
    written = next(form for kind, form in _ALLOWED if kind == s.kind).fullmatch(s.text)
    assert written
    text = s.text[: written.start("grantor") - len(" GRANTED BY ")] + ";"
    return replace(s, text=text, values={name: value for name, value in s.values.items() if name != "grantor"})


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quote a value for SQL, for a session with standard_conforming_strings."""
    return "'" + value.replace("'", "''") + "'"


def _pieces(data: bytes, *, strict: bool = True) -> Iterator[str]:
    """Yield the texts of the statements; comments and psql's guards mean nothing to a server."""
    splitter = StatementSplitter()
    splitter.feed(data)
    for piece in splitter.pieces(final=True):
        text = piece.text.decode(errors="surrogateescape")
        if strict and piece.kind == "meta" and not _RESTRICT.fullmatch(text.strip()):
            raise NotAllowed(f"a command of psql: {_shown(text)}")
        if piece.kind == "statement":
            yield text
    if strict and (rest := splitter.pending):
        raise NotAllowed(f"an unfinished statement: {_shown(rest.decode(errors='replace'))}")


def _is_of_database(text: str) -> bool:
    return text == _NO_ROLE or bool(_AS_ROLE.fullmatch(text) or _OF_DATABASE.match(text))


def _read(texts: Iterable[str], database: str) -> Iterator[GlobalStatement]:
    as_role = ""
    for text in texts:
        if text in _BEGINNINGS:
            continue
        if found := _AS_ROLE.fullmatch(text):
            as_role = _name(found["role"])
        elif text == _NO_ROLE:
            as_role = ""
        else:
            read = replace(_statement(text), as_role=as_role)
            if read.of_database and database not in (read.values.get("database"), read.values.get("object")):
                raise NotAllowed(f"about another database: {_shown(text)}")
            yield read


def _statement(text: str) -> GlobalStatement:
    for kind, form in _ALLOWED:
        if found := form.fullmatch(text):
            given = {name: value for name, value in found.groupdict().items() if value is not None}
            return GlobalStatement(kind, text, {name: _value(name, value) for name, value in given.items()})
    raise NotAllowed(f"not about roles, tablespaces or the database: {_shown(text)}")


def _value(name: str, written: str) -> str:
    if name == "parameter":
        return _parameter(written)
    if name == "value":
        return ", ".join(literal(_plain(item)) for item in _ITEM.findall(written))
    if name in ("until", "location"):
        return _plain(written)
    if name == "grantee" and written == "PUBLIC":
        return EVERYONE
    return _name(written) if name in _NAMES else written.strip()


def _parameter(written: str) -> str:
    return ".".join(_name(part) for part in re.findall(_NAME, written))


def _name(written: str) -> str:
    """Return a name as the server reads it; raises NotAllowed for a word that stands for something else."""
    if written.startswith('"'):
        return written[1:-1].replace('""', '"')
    if written in _SPECIAL:
        raise NotAllowed(f"a name that is none: {written}")
    return written


def _plain(written: str) -> str:
    """Return the value of a string."""
    if written.startswith("E"):
        return written[2:-1].replace("''", "'").replace("\\\\", "\\")
    return written[1:-1].replace("''", "'")


def _shown(text: str) -> str:
    """Return the beginning of a statement, without values, which may be anything."""
    return visible(" ".join(re.sub(_TEXT, "'…'", text[:1000]).split())[:_SHOWN].encode(errors="replace").decode())
