"""Tell databases apart whose backups are in one folder: by name and, where a server says it, by the server's identifier."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from blocks.errors import DatabaseError
from blocks.sql.connection import Connection

_MAY_ASK = (
    "SELECT d.oid::int8, coalesce(has_function_privilege("
    "to_regprocedure('pg_catalog.pg_control_system()')::oid, 'EXECUTE'), false)"
    " FROM pg_catalog.pg_database d WHERE d.datname = current_database()"
)
_SERVER = re.compile(r"(.+)@(-?[0-9]{1,20})")
_SHOWN = 80


@dataclass(frozen=True)
class Database:
    """A database: its name, and its server's identifier (empty) and its number there (0) where they are not known."""

    name: str
    system_identifier: str = ""
    oid: int = 0

    def __str__(self) -> str:
        name = "".join(c if c.isprintable() else "?" for c in self.name[:_SHOWN])
        return f"{name}@{self.system_identifier}" if self.system_identifier else name

    def as_setting(self) -> str:
        """As BACKUPS_OF has it: a comma, an @ and a percent sign of a name are written as %XX."""
        name = re.sub(r"[,@%\s]", lambda found: quote(found[0], safe=""), self.name)
        return f"{name}@{self.system_identifier}" if self.system_identifier else name

    def is_same(self, other: Database) -> bool:
        """Whether both are one: of the same name, on no two servers that are known. A restore may change the number."""
        servers = {self.system_identifier, other.system_identifier} - {""}
        return self.name == other.name and len(servers) < 2

    def may_be(self, other: Database) -> bool:
        """Whether it may be the other one after a move to another server, or after it was renamed."""
        here = (self.system_identifier, self.oid)
        return self.name == other.name or (all(here) and here == (other.system_identifier, other.oid))


@dataclass(frozen=True)
class Origin:
    """Whose a backup is, by its manifest."""

    plan: str
    database: Database


@dataclass(frozen=True)
class Whose:
    """Whose backups count: a database's, and those that are said to be its own. Everybody's where no database is known."""

    database: Database | None = None
    others: tuple[Database, ...] = ()

    def owns(self, origin: Origin | None) -> bool:
        """Whether a backup counts; what has no manifest that can be read is nobody's, and counts."""
        known = (*([self.database] if self.database else []), *self.others)
        return origin is None or not known or any(d.is_same(origin.database) for d in known)

    def made(self, origin: Origin) -> bool:
        """Whether the server's number says that a backup is of this very database."""
        ours, theirs = self.database, origin.database
        if ours is None or not ours.system_identifier or not ours.oid:
            return False
        return (ours.system_identifier, ours.oid) == (theirs.system_identifier, theirs.oid)

    def has_former_name(self, origin: Origin) -> bool:
        """Whether a backup is of a database of the same server, under a name that this one has no more."""
        ours, theirs = self.database, origin.database
        if ours is None or not theirs.oid or ours.name == theirs.name:
            return False
        return ours.system_identifier == theirs.system_identifier

    def may_own(self, origin: Origin | None) -> bool:
        """Whether it may be this database's from before it was moved or renamed."""
        return bool(origin and self.database and self.database.may_be(origin.database))


def databases_named(text: str | None) -> tuple[Database, ...]:
    """Read `shop, shop@7712734137005552605`: a name on any server, and one on a certain server; `%2C` is a comma in a name."""
    found = []
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        match = _SERVER.fullmatch(part)
        found.append(Database(unquote(match[1]), match[2]) if match else Database(unquote(part)))
    return tuple(found)


def read_identity(connection: Connection, name: str) -> Database:
    """Ask a server which database this is; one that does not tell leaves the name, and perhaps the number."""
    oid = 0
    try:
        ((oid, may_ask),) = connection.query(_MAY_ASK)
        if may_ask:
            ((identifier,),) = connection.query("SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
            return Database(name, str(identifier), oid)
    except DatabaseError:
        if connection.lost:
            raise
    return Database(name, "", oid)


def in_words(databases: Iterable[Database]) -> str:
    """Some of them, for people."""
    names = sorted({str(d) for d in databases})
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
