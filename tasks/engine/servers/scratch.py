"""Create databases that are ours to drop, and never drop any other.

A database of ours has three marks: the pattern of its name, a connection limit that nobody else uses (set by CREATE
DATABASE itself), and an advisory lock that its owner holds for as long as it lives. A marked database whose lock is
free belongs to a run that died, and is swept. Advisory locks are local to a database and runs work from different
ones, so whether a lock is free is checked across the whole server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from blocks.errors import DatabaseError, NoFreeName, PgRoundtripError
from blocks.sql.connection import Connection
from blocks.sql.server import APPLICATION_NAME, Server
from tasks.engine.deadline import within

MARK_LIMIT = 20_412
_COMMENT = "made by pg-roundtrip, which also drops it"
_LOCK_CLASS = 0x7067_7274  # "pgrt"
_PATTERN = r"^(verify|restore|replaced)_\d{8}_\d{6}(_\d+)?$"
_SOON_S = 4.0
# From version 17 on, a restored trigger can fire on login, ours included, and write rows that were not dumped.
_MAY_SILENCE = """
SELECT 1 FROM pg_settings WHERE name = 'event_triggers' AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"""
_PROVIDERS = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}


@dataclass(frozen=True)
class Locale:
    """What a new database must share with the dumped one, so that the same bytes have the same meaning."""

    encoding: str = "UTF8"
    collation: str = ""
    character_type: str = ""
    provider: str = "c"
    name: str = ""


@contextmanager
def scratch_database(server: Server, kind: Literal["verify", "restore"], locale: Locale, now: datetime,
                     warn: Callable[[str], None] | None) -> Iterator[Server]:  # fmt: skip
    """Create a marked, empty database on a server for as long as the context lasts, and drop it afterwards.

    Yields the new database. Raises CreateDatabaseDenied. If the database cannot be dropped, `warn` gets a message and
    the next sweep drops it. A caller that unmarks it takes it over: it is not dropped then. Without `warn` it is not
    dropped either, because the server itself is about to be deleted.
    """
    with server.connect(to_write=True) as guard:
        name = _reserve(guard, scratch_name(kind, now))
        told_to_stop = True
        try:
            _create(guard, name, locale, exact=kind == "restore")
            yield server.on(name)
            told_to_stop = False
        except Exception:
            told_to_stop = False
            raise
        finally:
            if warn:
                drop_at_last(server, name, warn, soon=told_to_stop)


@contextmanager
def in_its_place(server: Server, name: str, locale: Locale) -> Iterator[Server]:
    """Create an empty database under the name of a rehearsed copy, which keeps another name as long as the context lasts.

    Some extensions work only in a database of a certain name. For a sandbox: a drill that dies takes both along.
    """
    aside = f"{name}_aside"
    with server.connect(to_write=True) as connection:
        connection.execute("ALTER DATABASE {} RENAME TO {}", name, aside)
        try:
            _create(connection, name, locale, exact=False)
            yield server.on(name)
        finally:
            connection.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            connection.execute("ALTER DATABASE {} RENAME TO {}", aside, name)


def scratch_name(kind: Literal["verify", "restore"], now: datetime) -> str:
    """Return the name of a database of ours created at `now`; if it is taken, a number is appended later."""
    return f"{kind}_{now.astimezone(UTC):%Y%m%d_%H%M%S}"


def sweep_scratch_databases(server: Server) -> list[str]:
    """Drop the databases that our runs left behind when they died; return their names."""
    swept = []
    with server.connect(to_write=True) as connection:
        for name in _marked(connection):
            if not _lock(connection, name):
                continue  # its owner is alive
            if not _strangers(connection, name):
                _drop(server, connection, name)
                swept.append(name)
            _unlock(connection, name)
    return swept


def mark(connection: Connection, name: str) -> None:
    """Mark a database that must be dropped, so that a sweep finds it if we die first."""
    connection.execute(f"ALTER DATABASE {{}} CONNECTION LIMIT {MARK_LIMIT}", name)


def unmark(connection: Connection, name: str) -> None:
    """Remove our marks from a database: from now on it is the user's."""
    connection.execute("ALTER DATABASE {} CONNECTION LIMIT -1", name)
    connection.execute("COMMENT ON DATABASE {} IS NULL", name)


def settle(connection: Connection, name: str) -> None:
    """Reset what we had set on a restored database, before it gets its own settings."""
    connection.execute("ALTER DATABASE {} RESET ALL", name)


def _reserve(guard: Connection, wanted: str) -> str:
    """Find a name that no database has and no other run is about to use."""
    for attempt in range(100):
        name = wanted if not attempt else f"{wanted}_{attempt}"
        taken = guard.query("SELECT 1 FROM pg_database WHERE datname = %s", name)
        if not taken and _lock(guard, name):
            return name
    raise NoFreeName(wanted, hint="drop the verify_ and restore_ databases that are not in use")


def _lock(connection: Connection, name: str) -> bool:
    """Take the lock of a name unless another session holds it, from whichever database of the server."""
    if not connection.query("SELECT pg_try_advisory_lock(%s, hashtext(%s))", _LOCK_CLASS, name)[0][0]:
        return False
    elsewhere = connection.query(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = hashtext(%s)::oid"
        " AND objsubid = 2 AND pid <> pg_backend_pid()", _LOCK_CLASS, name
    )  # fmt: skip
    if elsewhere:
        _unlock(connection, name)
    return not elsewhere


def _unlock(connection: Connection, name: str) -> None:
    connection.query("SELECT pg_advisory_unlock(%s, hashtext(%s))", _LOCK_CLASS, name)


def _create(guard: Connection, name: str, locale: Locale, *, exact: bool) -> None:
    """Create a database with the dumped one's locale; without `exact`, fall back to C if the server lacks it."""
    start = f"CREATE DATABASE {{}} TEMPLATE template0 CONNECTION LIMIT {MARK_LIMIT} ENCODING {{encoding}}"
    clauses = " LC_COLLATE {collation} LC_CTYPE {character_type}" if locale.collation else ""
    if locale.provider in _PROVIDERS:
        provider, option = _PROVIDERS[locale.provider]
        clauses += f" LOCALE_PROVIDER {provider} {option} {{locale}}"
    literals = {"encoding": locale.encoding, "collation": locale.collation, "character_type": locale.character_type}
    try:
        guard.execute(start + clauses, name, locale=locale.name, **literals)
    except DatabaseError as error:
        if type(error) is not DatabaseError or not clauses:
            raise
        if exact:
            # With another locale, text would sort and compare differently from then on.
            error.hint = "install the locale on the server, or create the database by hand and restore with psql"
            raise
        guard.execute(start + " LC_COLLATE 'C' LC_CTYPE 'C'", name, encoding=locale.encoding)
    guard.execute("COMMENT ON DATABASE {} IS {comment}", name, comment=_COMMENT)
    if guard.query(_MAY_SILENCE):
        guard.execute("ALTER DATABASE {} SET event_triggers = off", name)


def drop_marked(server: Server, name: str, warn: Callable[[str], None]) -> None:
    """Drop a database that carries our mark; call `warn` if that fails.

    Use a separate connection: the one that guards the database may be gone by now.
    """
    try:
        with server.connect(to_write=True) as connection:
            if name in _marked(connection):
                _drop(server, connection, name)
            elif connection.query("SELECT 1 FROM pg_database WHERE datname = %s", name):
                warn(f"Failed to cleanup temp database [{name}: our mark on it is gone; drop it by hand]")
    except PgRoundtripError as error:
        warn(f"Failed to cleanup temp database [{name}: {error.context}]")


def drop_at_last(server: Server, name: str, warn: Callable[[str], None], *, soon: bool = False) -> None:
    """Drop a marked database as the last step; hurry if `soon`, or if we are told to stop in the meantime."""
    done = False
    try:
        if not soon:
            drop_marked(server, name, warn)
            done = True
    finally:
        if not done:
            _drop_soon(server, name, warn)


def _drop_soon(server: Server, name: str, warn: Callable[[str], None]) -> None:
    """Have the server drop a database without waiting long: it finishes the job even when we are gone."""
    if not within(_SOON_S, lambda: drop_marked(server, name, warn)):
        warn(
            f"Failed to cleanup temp database [{name}: the server is slow; if it is still there, the next run drops it]"
        )


def _drop(server: Server, connection: Connection, name: str) -> None:
    """Drop a database of ours; drop its restored subscriptions first, which would block that though never connected."""
    held = "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %s"
    if subscriptions := connection.query(held, name):
        with server.on(name).connect(to_write=True) as inside:
            for (subscription,) in subscriptions:
                inside.execute("ALTER SUBSCRIPTION {} DISABLE", subscription)
                # The slot belongs to the source, and is in use there.
                inside.execute("ALTER SUBSCRIPTION {} SET (slot_name = NONE)", subscription)
                inside.execute("DROP SUBSCRIPTION {}", subscription)
    connection.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _marked(connection: Connection) -> list[str]:
    """Return the marked databases that our role may drop; another role's are swept by its own runs."""
    found = connection.query(
        "SELECT datname FROM pg_database WHERE datname ~ %s AND datconnlimit = %s"
        " AND pg_has_role(datdba, 'USAGE') ORDER BY 1", _PATTERN, MARK_LIMIT
    )  # fmt: skip
    return [str(row[0]) for row in found]


def _strangers(connection: Connection, name: str) -> bool:
    """Whether a session that is not ours is connected."""
    return bool(
        connection.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND application_name <> %s", name, APPLICATION_NAME
        )
    )
