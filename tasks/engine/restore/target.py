"""Replace the target database with a restored one, atomically."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from blocks.errors import (
    CreateDatabaseDenied,
    DatabaseError,
    DatabaseRefused,
    PgRoundtripError,
    TargetNotEmpty,
    TargetRefused,
)
from blocks.sql import sqlstate
from blocks.sql.connection import Connection
from blocks.sql.server import Server, ServerFacts
from tasks.engine.restore.contents import contents_of
from tasks.engine.servers.sandbox_settings import ONE_DATABASE
from tasks.engine.servers.scratch import drop_at_last, mark, settle, unmark

# How to undo a partly restored dump: drop what it made outside schemas, then the schemas with their contents.
_CLEARING = """
SELECT 'DROP PUBLICATION ' || quote_ident(pubname) || ';' FROM pg_publication
UNION ALL SELECT 'DROP EVENT TRIGGER ' || quote_ident(evtname) || ';' FROM pg_event_trigger e
  WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e')
UNION ALL SELECT 'DROP SCHEMA ' || quote_ident(nspname) || ' CASCADE;' || CASE WHEN nspname <> 'public' THEN '' ELSE
  ' CREATE SCHEMA public AUTHORIZATION ' || quote_ident(pg_get_userbyid(nspowner)) || '; GRANT USAGE ON SCHEMA public TO PUBLIC;'
  || ' COMMENT ON SCHEMA public IS ''standard public schema'';' END
  FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"""
_UNLINK = "SELECT lo_unlink(oid) FROM pg_largeobject_metadata;"
_SETTINGS = """
SELECT coalesce(r.rolname, ''), split_part(s.setting, '=', 1), substr(s.setting, strpos(s.setting, '=') + 1)
FROM pg_db_role_setting x JOIN pg_database d ON d.oid = x.setdatabase LEFT JOIN pg_roles r ON r.oid = x.setrole,
unnest(x.setconfig) AS s(setting) WHERE d.datname = %s"""
_SWAPS = 5  # in each, the server waits five seconds for other sessions to leave the database
# The settings that hold a list of names, as in pg_dump; every other value is a single one, even if it has commas.
_LISTS = {"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
          "temp_tablespaces", "unix_socket_directories"}  # fmt: skip
_TABLESPACES = """
SELECT DISTINCT spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname IN (%s, %s)"""
_GRANTS = """
SELECT a.privilege_type, coalesce(r.rolname, ''), a.is_grantable FROM pg_database d, aclexplode(d.datacl) a
LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE d.datname = %s"""


@dataclass(frozen=True)
class Target:
    """What is known about the target of a restore before anything is done."""

    database: Server
    maintenance: Server  # another database of the same server, to create and rename from
    facts: ServerFacts  # of the server, seen from the maintenance database
    exists: bool
    objects: int  # that users made in it
    owned: bool
    replace: bool
    tied: str = ""  # an extension of the backup that works in only one database, which it identifies by name
    as_new: bool = False  # whether an empty database leaves nothing to the one that takes its name

    @property
    def in_place(self) -> bool:
        """Whether the role can only fill the existing database instead of swapping in a new one."""
        nowhere_else = self.maintenance.database == self.database.database
        return (
            bool(self.tied) or nowhere_else or not self.facts.may_create_databases or (self.exists and not self.owned)
        )


def inspect_target(
    database: Server, *, replace: bool, extensions: Collection[str] = (), as_new: bool = False
) -> Target:
    """Inspect the target and refuse what must not be done to it.

    Raises TargetNotEmpty for a database with objects in it unless `replace`, TargetRefused when an extension rules out
    a swap, CreateDatabaseDenied when the role lacks the right to create the missing database or to replace this one.
    """
    maintenance = maintenance_of(database)
    facts = maintenance.inspect()
    with maintenance.connect() as connection:
        found = connection.query(
            "SELECT pg_has_role(current_user, datdba, 'MEMBER') FROM pg_database WHERE datname = %s", database.database
        )
    tied = next((name for name in sorted(extensions) if name in ONE_DATABASE), "")
    target = Target(database, maintenance, facts, bool(found), 0, bool(found and found[0][0]), replace, tied, as_new)
    objects = 0
    if found:
        there = contents_of(database)
        # In place, nothing is dropped: what the backup needs may be there, if only an administrator can create it.
        objects = there.count(extensions if target.in_place else ())
        if objects and not replace:
            raise TargetNotEmpty(f"{database.address}: {there}")
    if tied and (objects or not found):
        raise TargetRefused(
            f"{tied} works in only one database of a server, so a restored database cannot be swapped in",
            hint=f"set {ONE_DATABASE[tied]} to the target, create it empty, and restore into it without --replace",
        )
    if target.in_place and (objects or not found):
        raise CreateDatabaseDenied(
            database.address,
            hint="let the role create databases (ALTER ROLE … CREATEDB) and own the target, or restore into an empty database",
        )
    return dataclasses.replace(target, objects=objects)


def take_over(
    target: Target, restored: str, aside: str, warn: Callable[[str], None],
    finish: Callable[[Connection], None] = lambda _: None,
) -> None:  # fmt: skip
    """Give a restored database the target's name, in one transaction; then drop the old one.

    `finish` does the rest in the same transaction, so that the database never appears without it; it may be called again.

    `aside` is the old database's name in between. Its owner, privileges and settings carry over, unless it is `as_new`.
    Raises DatabaseError when other sessions are connected to it. A problem with the old database does not fail the
    restore: it goes to `warn`.
    """
    wanted = target.database.database
    with target.maintenance.connect(to_write=True) as connection:
        settle(connection, restored)
        if target.exists:
            if not target.as_new:
                _inherit(connection, wanted, restored)
            _inherit_tablespace(connection, wanted, restored, warn)
        _swap(connection, target, restored, aside, finish)
        if target.exists and not target.replace:
            if contents_of(target.maintenance.on(aside)).count():
                warn(f"The target got tables while the restore ran; they are kept in the database {aside}")
                return
            mark(connection, aside)
    if target.exists:
        drop_at_last(target.maintenance, aside, warn)


def _swap(
    connection: Connection, target: Target, restored: str, aside: str, finish: Callable[[Connection], None]
) -> None:
    """Exchange the names in one transaction. If an application reconnects before the rename, disconnect it again."""
    wanted = target.database.database
    replacing = target.exists and target.replace
    for left in reversed(range(_SWAPS if replacing else 1)):
        if replacing:
            _disconnect_all(connection, wanted)
        try:
            with connection.transaction():
                if target.exists:
                    _set_aside(connection, wanted, aside)
                connection.execute("ALTER DATABASE {} RENAME TO {}", restored, wanted)
                unmark(connection, wanted)
                if not target.as_new:
                    _inherit_limit(connection, aside, wanted)
                    _inherit_comment(connection, aside, wanted)
                # Otherwise check it first: if this run dies, the next run drops a database that is marked.
                if replacing:
                    mark(connection, aside)
                finish(connection)
        except DatabaseError as error:
            if not left or error.sqlstate != sqlstate.OBJECT_IN_USE:
                raise
        else:
            return


def _set_aside(connection: Connection, wanted: str, aside: str) -> None:
    try:
        connection.execute("ALTER DATABASE {} RENAME TO {}", wanted, aside)
    except DatabaseError as error:
        if error.sqlstate == sqlstate.OBJECT_IN_USE:
            error.hint = "close the connections to the database, or pass --replace to have them closed"
        raise


def what_is_left(database: Server) -> str:
    """Say what a failed restore in place left behind, and how to clear it."""
    try:
        left = contents_of(database)
        with database.connect() as connection:
            clearing = [str(row[0]) for row in connection.query(_CLEARING)]
    except PgRoundtripError as error:
        return f"what it left in the database could not be checked: {error.sentence}"
    if not left.objects and not left.large_objects and len(clearing) <= 1:
        return "it left nothing in the database"
    statements = " ".join([*clearing, *([_UNLINK] if left.large_objects else [])])
    return (
        f"it left {left.objects} tables and other objects, and {left.large_objects} large objects;"
        f" clear it with: {statements}"
    )


def maintenance_of(database: Server) -> Server:
    """Find a database other than the target to work from, under one of its customary names."""
    for name in ("postgres", "template1", "defaultdb"):
        if name == database.database:
            continue
        try:
            with database.on(name).connect():
                return database.on(name)
        except DatabaseRefused:
            continue
    with database.connect():  # reports a wrong password as such
        return database  # a role that cannot connect anywhere else can still fill the existing database


def _inherit(connection: Connection, old: str, new: str) -> None:
    """Give the new database the old one's owner, privileges and settings: a dump does not include them."""
    owner = connection.query("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", old)[0][0]
    connection.execute("ALTER DATABASE {} OWNER TO {}", new, str(owner))
    for role, name, value in connection.query(_SETTINGS, old):
        on, names = ("ALTER ROLE {} IN DATABASE {}", [role, new]) if role else ("ALTER DATABASE {}", [new])
        items = _list_items(value) if name.lower() in _LISTS else [value]
        literals = {f"item_{number}": item for number, item in enumerate(items)}
        wanted = ", ".join(f"{{{item}}}" for item in literals)
        connection.execute(f"{on} SET {{}} TO {wanted}", *names, name, **literals)
    if connection.query("SELECT 1 FROM pg_database WHERE datname = %s AND datacl IS NOT NULL", old):
        connection.execute("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}", new, str(owner))
    for privilege, role, grantable in connection.query(_GRANTS, old):
        option = " WITH GRANT OPTION" if grantable else ""
        if role:
            connection.execute(f"GRANT {privilege} ON DATABASE {{}} TO {{}}{option}", new, role)
        else:
            connection.execute(f"GRANT {privilege} ON DATABASE {{}} TO PUBLIC", new)


def _list_items(value: str) -> list[str]:
    """Split a list of names as in `search_path`: quoted or not, separated by commas."""
    found = re.findall(r'"([^"]*+(?:""[^"]*+)*+)"|([^\s,"][^,"]*)', value)
    return [quoted.replace('""', '"') or plain.strip() for quoted, plain in found] or [""]


def _inherit_limit(connection: Connection, old: str, new: str) -> None:
    limit = connection.query("SELECT datconnlimit FROM pg_database WHERE datname = %s", old)
    if limit and limit[0][0] >= 0:
        connection.execute("ALTER DATABASE {} CONNECTION LIMIT {limit}", new, limit=limit[0][0])


def _inherit_comment(connection: Connection, old: str, new: str) -> None:
    found = connection.query(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s AND oid IN"
        " (SELECT objoid FROM pg_shdescription WHERE classoid = 'pg_database'::regclass)", old
    )  # fmt: skip
    if found:
        connection.execute("COMMENT ON DATABASE {} IS {comment}", new, comment=found[0][0])


def _inherit_tablespace(connection: Connection, old: str, new: str, warn: Callable[[str], None]) -> None:
    """Move the new database to the old one's tablespace; keep it where it is if the role is not allowed to."""
    places = connection.query(_TABLESPACES, old, new)
    if len({tablespace for (tablespace,) in places}) < 2:
        return
    ((wanted,),) = connection.query(_TABLESPACES, old, old)
    try:
        connection.execute("ALTER DATABASE {} SET TABLESPACE {}", new, wanted)
    except DatabaseError as error:
        if connection.lost:
            raise
        warn(f"The restored database is not in the target's tablespace {wanted}: {error.context}")


def _disconnect_all(connection: Connection, name: str) -> None:
    """Disconnect all sessions; only for a database that the user asked to replace."""
    connection.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)


def aside_name(now: datetime) -> str:
    """Return the name that a replaced database has until it is dropped."""
    return f"replaced_{now:%Y%m%d_%H%M%S}"
