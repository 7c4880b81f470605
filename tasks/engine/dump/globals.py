"""Read what belongs to a database but lies outside of it: roles, tablespaces, and the database's own settings.

The text comes from PostgreSQL's own programs: `pg_dumpall --globals-only --no-role-passwords`, which needs no access to
passwords, and the statements about the database itself of `pg_dump --create`.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blocks.config.environment import child_environment
from blocks.errors import GlobalsUnreadable, PgRoundtripError
from blocks.sql.server import SAFE_OPTION, Server
from tasks.engine.dump.global_statements import (
    GlobalStatement,
    NotAllowed,
    as_text,
    read_statements,
    statements_of_database,
)
from tasks.engine.dump.pg_dump import DumpSource
from tasks.engine.dump.roles import left_over_roles
from tasks.engine.process import Child
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.manifest import GlobalsRecord, Manifest
from tasks.engine.servers.programs import Client
from tasks.engine.wording import tool_version

# Ten thousand roles with settings take two or three.
MOST_BYTES = 64 << 20
_TIMEOUT_S = 600.0
_COMPLETE = re.compile(rb"^-- PostgreSQL database (?:cluster )?dump complete$", re.MULTILINE)
# So that the same moment is always written in the same way, and no limit that is meant for applications applies.
_SESSION = (
    f"{SAFE_OPTION} -c TimeZone=UTC -c DateStyle=ISO,YMD -c standard_conforming_strings=on -c statement_timeout=0"
    " -c lock_timeout=0"
)
_OUTSIDE_OF_A_SCHEMA = ("--no-publications", "--no-subscriptions")
_MISSING = "install pg_dumpall beside pg_dump, or set BACKUP_GLOBALS=false"
_SUPERUSER = "SELECT rolname FROM pg_roles WHERE oid = 10"
_FOR_ALL_ROLES = "SELECT 1 FROM pg_db_role_setting WHERE setdatabase = 0 AND setrole = 0"
OWN_LEFT_OUT = "the database's owner, rights and settings: pg_dump refuses a name with a line break"
UNSEEN = "ALTER ROLE ALL SET …: pg_dumpall leaves out settings for all roles"


@dataclass(frozen=True)
class Globals:
    """The statements, and the name of the role that initdb made: only that one is on every server already."""

    statements: tuple[GlobalStatement, ...]
    superuser: str
    client_version: str = ""
    warnings: tuple[str, ...] = ()

    def roles(self) -> set[str]:
        """The roles that it creates."""
        return {s.values["role"] for s in self.statements if s.kind == "role"}


@dataclass(frozen=True)
class Companion:
    """The object that is stored beside a backup, and what its manifest says of it."""

    data: bytes
    record: GlobalsRecord


def read_globals(server: Server, client: Client, timeout_s: float = _TIMEOUT_S) -> Globals:
    """Read the roles of a server and the settings of its database.

    Raises GlobalsUnreadable if the role may not, or the server has something that we would not restore.
    """
    with server.connect() as connection:
        superuser = str(connection.query(_SUPERUSER)[0][0])
        warnings = (UNSEEN,) if connection.query(_FOR_ALL_ROLES) else ()
        options = _SESSION if connection.takes_options else ""
    try:
        found = read_statements(_printed(_of_server(server, client), server, options, timeout_s), server.database)
        if re.search(r"[\r\n]", server.database):  # pg_dump --create refuses such a name
            warnings = (*warnings, OWN_LEFT_OUT)
        else:
            printed = _printed(_of_database(server, client), server, options, timeout_s)
            found += statements_of_database(printed, server.database)
    except OSError as error:  # some images have pg_dump only
        raise GlobalsUnreadable(f"pg_dumpall: {error.strerror}", hint=_MISSING) from None
    except NotAllowed as error:
        raise GlobalsUnreadable(str(error), hint="set BACKUP_GLOBALS=false, and report this statement") from None
    except PgRoundtripError as error:
        if error.transient:
            raise
        raise GlobalsUnreadable(error.context) from None
    return Globals(tuple(found), superuser, client.version, warnings)


def missing_roles(manifest: Manifest, found: Globals) -> list[str]:
    """Return the roles that a dump names and that neither these statements nor a server bring along."""
    left_over = left_over_roles(manifest.roles, manifest.role_attributes)
    return sorted(r for r in {*manifest.roles} - found.roles() - {*left_over} if not r.startswith("pg_"))


def packed(found: Globals, file: str, database: str) -> Companion:
    """Return the companion of a backup of a database."""
    text = (_heading(found, database) + as_text(found.statements)).encode(errors="surrogateescape")
    data = gzip.compress(text, 6, mtime=0)
    counts = {name: _count(found.statements, kind) for name, kind in _COUNTED.items()}
    record = GlobalsRecord(
        file=file, raw_bytes=len(text), object_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
        client_version=found.client_version, superuser=found.superuser, statements=len(found.statements), **counts,
    )  # fmt: skip
    return Companion(data, record)


def sealed_companion(made: Companion, keys: Keys) -> Companion:
    """Return it encrypted: its size and SHA-256 are those of what is stored."""
    data = keys.sealed(made.data)
    stored = {"object_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return Companion(data, made.record.model_copy(update=stored))


_COUNTED = {"roles": "role", "memberships": "membership", "tablespaces": "tablespace", "settings": "setting"}


def _count(statements: Iterable[GlobalStatement], kind: str) -> int:
    return sum(s.kind == kind for s in statements)


def _heading(found: Globals, database: str) -> str:
    name = ascii(database)
    return (
        f"-- Roles, tablespaces, and the settings of the database {name}; written by pg-roundtrip {tool_version()}.\n"
        f"-- From pg_dumpall {found.client_version} --globals-only --no-role-passwords, and pg_dump --create. Without passwords.\n\n"
        "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n\n"
    )


def _of_server(server: Server, client: Client) -> list[str]:
    # Otherwise it connects to `postgres` or `template1`, which the role may not be allowed to.
    name = server.database.replace("\\", "\\\\").replace("'", "\\'")
    command = [
        client.program("pg_dumpall"),
        "--globals-only",
        "--no-role-passwords",
        "--no-password",
        "--encoding=UTF8",
    ]
    return [*command, *server.child_options(), f"--database=dbname='{name}'"]


def _of_database(server: Server, client: Client) -> list[str]:
    # Without schemas, no table is locked.
    command = [client.program("pg_dump"), "--create", "--schema-only", "--exclude-schema=*", *_OUTSIDE_OF_A_SCHEMA]
    return [*command, "--no-password", "--encoding=UTF8", *server.child_options()]


def _printed(command: Sequence[str], server: Server, options: str, timeout_s: float) -> bytes:
    """Return what a program prints, all of it; raises what it complains of."""
    environ = server.child_environment()
    environ["PGOPTIONS"] = f"{environ.get('PGOPTIONS', '')} {options}".strip()
    printed = bytearray()
    with Child(command, child_environment(environ), read=True) as child:
        child.limit(timeout_s)
        while chunk := os.read(child.output, 1 << 16):
            printed += chunk
            if len(printed) > MOST_BYTES:
                raise GlobalsUnreadable(f"{child.name} printed more than {MOST_BYTES >> 20} MiB")
        child.wait()
        if child.timed_out:
            raise GlobalsUnreadable(f"{child.name} did not end within {timeout_s:.0f} s")
        DumpSource(child).check_end()
    if not _COMPLETE.search(printed):
        raise GlobalsUnreadable(f"the output of {child.name} has no end")
    return bytes(printed)
