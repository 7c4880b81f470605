"""Put a restored database in the place of the one that was asked for, all at once or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from blocks.errors import CreateDatabaseDenied, DatabaseError, DatabaseRefused, PgRoundtripError, TargetNotEmpty
from blocks.postgres import Connection, PostgresServer, ServerFacts
from tasks.engine.scratch import unmark

# Relations that a person made: not the system's, and not an extension's.
_RELATIONS = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1"""
_SETTINGS = """
SELECT coalesce(r.rolname, ''), split_part(s.setting, '=', 1), substr(s.setting, strpos(s.setting, '=') + 1)
FROM pg_db_role_setting x JOIN pg_database d ON d.oid = x.setdatabase LEFT JOIN pg_roles r ON r.oid = x.setrole,
unnest(x.setconfig) AS s(setting) WHERE d.datname = %s"""
_GRANTS = """
SELECT a.privilege_type, coalesce(r.rolname, ''), a.is_grantable FROM pg_database d, aclexplode(d.datacl) a
LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE d.datname = %s"""


@dataclass(frozen=True)
class Target:
    """What is known of the place that a backup is to be restored to, before anything is done."""

    database: PostgresServer
    maintenance: PostgresServer  # another database of the same server, to create and rename from
    facts: ServerFacts  # of the server, seen from the maintenance database
    exists: bool
    relations: int
    owned: bool

    @property
    def in_place(self) -> bool:
        """Whether the role can only fill the database that is there, instead of swapping a new one in."""
        return not self.facts.may_create_databases or (self.exists and not self.owned)


def inspect_target(database: PostgresServer, *, replace: bool) -> Target:
    """Look at the target and refuse what must not be done to it.

    Raises TargetNotEmpty for a database that has tables unless `replace`, CreateDatabaseDenied when it is missing
    and may not be created, or when replacing would need that right.
    """
    maintenance = _maintenance(database)
    facts = maintenance.inspect()
    with maintenance.connect() as connection:
        found = connection.query(
            "SELECT pg_has_role(current_user, datdba, 'MEMBER') FROM pg_database WHERE datname = %s", database.database
        )
    relations = 0
    if found:
        with database.connect() as connection:
            relations = len(connection.query(_RELATIONS))
    target = Target(database, maintenance, facts, bool(found), relations, bool(found and found[0][0]))
    if relations and not replace:
        raise TargetNotEmpty(f"{database.address}: {relations} tables, views and sequences")
    if target.in_place and (relations or not found):
        raise CreateDatabaseDenied(
            database.address,
            hint="let the role create databases (ALTER ROLE … CREATEDB) and own the target, or restore into an empty database",
        )
    return target


def take_over(target: Target, restored: str, aside: str) -> None:
    """Give a restored database the target's name, in one transaction; the old one is dropped after that.

    `aside` is the name that the old database has for the moment between. Who owned it, who may use it and
    its settings go over to the new one. Raises DatabaseError when somebody is connected to it.
    """
    wanted = target.database.database
    with target.maintenance.connect() as connection:
        if target.exists:
            _inherit(connection, wanted, restored)
            if target.relations:
                _disconnect_all(connection, wanted)
        with connection.transaction():
            if target.exists:
                connection.execute("ALTER DATABASE {} RENAME TO {}", wanted, aside)
            connection.execute("ALTER DATABASE {} RENAME TO {}", restored, wanted)
            unmark(connection, wanted)
            _inherit_limit(connection, aside, wanted)
        if target.exists:
            connection.execute("DROP DATABASE {} WITH (FORCE)", aside)


def what_is_left(database: PostgresServer) -> str:
    """Say what a failed restore in place left behind, and how to clear it."""
    try:
        with database.connect() as connection:
            left = [str(row[0]) for row in connection.query(_RELATIONS)]
            objects = connection.query("SELECT count(*) FROM pg_largeobject_metadata")[0][0]
            schemas = connection.query(
                "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
            )
    except PgRoundtripError as error:
        return f"what it left in the database could not be looked at: {error.sentence}"
    if not left and not objects:
        return "it left no table and no large object in the database"
    drops = " ".join(f"DROP SCHEMA {row[0]} CASCADE;" for row in schemas)
    unlink = " SELECT lo_unlink(oid) FROM pg_largeobject_metadata;" if objects else ""
    return f"it left {len(left)} relations and {objects} large objects; clear them with: {drops} CREATE SCHEMA public;{unlink}"


def _maintenance(database: PostgresServer) -> PostgresServer:
    """Find a database to work from that is not the target itself; its name is a matter of habit."""
    refusal: DatabaseRefused | None = None
    for name in ("postgres", "template1", "defaultdb"):
        if name == database.database:
            continue
        try:
            with database.on(name).connect():
                return database.on(name)
        except DatabaseRefused as error:
            refusal = error
    with database.connect():  # a wrong password is said here, as it is
        pass
    raise refusal or DatabaseError(database.address)


def _inherit(connection: Connection, old: str, new: str) -> None:
    """Give the new database the old one's owner, rights and settings: a dump does not have them."""
    owner = connection.query("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", old)[0][0]
    connection.execute("ALTER DATABASE {} OWNER TO {}", new, str(owner))
    for role, name, value in connection.query(_SETTINGS, old):
        on, names = ("ALTER ROLE {} IN DATABASE {}", [role, new]) if role else ("ALTER DATABASE {}", [new])
        if "," in value:  # lists like search_path must not be quoted as one
            connection.execute(f"{on} SET {{}} TO {value.replace('{', '{{').replace('}', '}}')}", *names, name)
        else:
            connection.execute(f"{on} SET {{}} TO {{value}}", *names, name, value=value)
    grants = connection.query(_GRANTS, old)
    if grants:
        connection.execute("REVOKE ALL ON DATABASE {} FROM PUBLIC", new)
    for privilege, role, grantable in grants:
        option = " WITH GRANT OPTION" if grantable else ""
        if role:
            connection.execute(f"GRANT {privilege} ON DATABASE {{}} TO {{}}{option}", new, role)
        else:
            connection.execute(f"GRANT {privilege} ON DATABASE {{}} TO PUBLIC", new)


def _inherit_limit(connection: Connection, old: str, new: str) -> None:
    limit = connection.query("SELECT datconnlimit FROM pg_database WHERE datname = %s", old)
    if limit and limit[0][0] >= 0:
        connection.execute("ALTER DATABASE {} CONNECTION LIMIT {limit}", new, limit=limit[0][0])


def _disconnect_all(connection: Connection, name: str) -> None:
    """Only for a database whose replacement was asked for."""
    connection.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)


def aside_name(now: datetime) -> str:
    """The name that a replaced database has until it is dropped."""
    return f"replaced_{now:%Y%m%d_%H%M%S}"
