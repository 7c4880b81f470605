"""Create on a throwaway server what a dump expects outside its database: roles and tablespaces.

Both live outside any database, so a backup of one cannot include them. Nothing is created on a server that is in use.
"""

from __future__ import annotations

from collections.abc import Iterable

from blocks.sql.connection import Connection
from blocks.sql.server import Server
from tasks.engine.dump.roles import left_over_roles, make_roles
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository.manifest import RoleRecord


class ClusterObjects:
    """The roles and tablespaces around a dump's database, created as soon as the dump names them."""

    def __init__(self, connection: Connection, known: Iterable[RoleRecord] = ()) -> None:
        self._connection = connection
        self._roles, self._tablespaces = _there(connection)
        self._known = tuple(known)
        self._roles = make_roles(connection, self._known, self._roles)

    def prepare(self, summary: DumpSummary) -> None:
        """Create the roles (without login) and tablespaces that the dump has named so far.

        The OID of a dropped role is not a role: no server has it, and creating it would hide that.
        """
        for role in sorted(summary.roles - self._roles - set(left_over_roles(summary.roles, self._known))):
            self._connection.execute("CREATE ROLE {} NOLOGIN", role)
        for tablespace in sorted(summary.tablespaces - self._tablespaces):
            # In the server's own folder, which is deleted with it.
            self._connection.execute("SET allow_in_place_tablespaces = on")
            self._connection.execute("CREATE TABLESPACE {} LOCATION ''", tablespace)
        self._roles |= summary.roles
        self._tablespaces |= summary.tablespaces


def missing_cluster_objects(server: Server, summary: DumpSummary) -> str:
    """Name the roles and tablespaces that a dump needs and a server lacks; empty if it has them all."""
    with server.connect() as connection:
        roles, tablespaces = _there(connection)
    lacking = {"role": summary.roles - roles, "tablespace": summary.tablespaces - tablespaces}
    return ", ".join(f"{kind} {name}" for kind, names in lacking.items() for name in sorted(names))


def _there(connection: Connection) -> tuple[set[str], set[str]]:
    roles = {str(row[0]) for row in connection.query("SELECT rolname FROM pg_roles")}
    return roles, {str(row[0]) for row in connection.query("SELECT spcname FROM pg_tablespace")}
