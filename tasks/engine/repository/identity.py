"""Tell apart databases whose backups share a folder: by name and, if the server reveals it, by system identifier."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from blocks.config.former import as_setting
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
    """A database: its name, its server's system identifier (empty if unknown) and its OID there (0 if unknown)."""

    name: str
    system_identifier: str = ""
    oid: int = 0

    def __str__(self) -> str:
        name = "".join(c if c.isprintable() else "?" for c in self.name[:_SHOWN])
        return f"{name}@{self.system_identifier}" if self.system_identifier else name

    def as_setting(self) -> str:
        """Return it as written in BACKUPS_OF."""
        return as_setting(self.name, self.system_identifier)

    def is_same(self, other: Database) -> bool:
        """Whether both are the same database: same name, and not on two known servers. A restore can change the OID."""
        servers = {self.system_identifier, other.system_identifier} - {""}
        return self.name == other.name and len(servers) < 2

    def may_be(self, other: Database) -> bool:
        """Whether it may be the other one after a move to another server or a rename."""
        here = (self.system_identifier, self.oid)
        return self.name == other.name or (all(here) and here == (other.system_identifier, other.oid))


@dataclass(frozen=True)
class Origin:
    """What a backup's manifest says of its origin: the plan, the database, and the selection (empty: it is whole).

    Also whether it found the contents odd, and whether it looked.
    """

    plan: str
    database: Database
    anomalous: bool = False
    compared: bool = False
    selection: str = ""


@dataclass(frozen=True)
class Whose:
    """The databases whose backups count: the plan's own and those declared as its own; all if none is known."""

    database: Database | None = None
    others: tuple[Database, ...] = ()

    def owns(self, origin: Origin | None) -> bool:
        """Whether a backup counts; one without a readable manifest belongs to nobody, and counts."""
        known = (*([self.database] if self.database else []), *self.others)
        return origin is None or not known or any(d.is_same(origin.database) for d in known)

    def made(self, origin: Origin) -> bool:
        """Whether system identifier and OID show that a backup is of this very database."""
        ours, theirs = self.database, origin.database
        if ours is None or not ours.system_identifier or not ours.oid:
            return False
        return (ours.system_identifier, ours.oid) == (theirs.system_identifier, theirs.oid)

    def has_former_name(self, origin: Origin) -> bool:
        """Whether a backup is of a database on the same server under a name other than this one's current name."""
        ours, theirs = self.database, origin.database
        if ours is None or not theirs.oid or ours.name == theirs.name:
            return False
        return ours.system_identifier == theirs.system_identifier

    def may_own(self, origin: Origin | None) -> bool:
        """Whether it may be of this database from before it was moved or renamed."""
        return bool(origin and self.database and self.database.may_be(origin.database))


def databases_named(text: str | None) -> tuple[Database, ...]:
    """Parse `shop, shop@7712734137005552605`: a name on any server, and one on a given server; `%2C` is a comma."""
    found = []
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        match = _SERVER.fullmatch(part)
        found.append(Database(unquote(match[1]), match[2]) if match else Database(unquote(part)))
    return tuple(found)


def read_identity(connection: Connection, name: str) -> Database:
    """Ask a server which database this is; if it hides its identifier, return the name and perhaps the OID."""
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
    """Name up to five of them, for people."""
    names = sorted({str(d) for d in databases})
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
