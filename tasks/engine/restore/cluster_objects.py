"""Give a throwaway server what a dump expects to find around its database: roles and tablespaces.

Both live outside of any database, so no backup of one can bring them. On a server that somebody uses nothing is made.
"""

from __future__ import annotations

from collections.abc import Iterable

from blocks.sql.connection import Connection
from blocks.sql.server import Server
from tasks.engine.dump.roles import left_over_roles, make_roles
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository.manifest import RoleRecord


class Surroundings:
    """Make what a dump names, as soon as it names it."""

    def __init__(self, connection: Connection, known: Iterable[RoleRecord] = ()) -> None:
        self._connection = connection
        self._roles, self._tablespaces = _there(connection)
        self._known = tuple(known)
        self._roles = make_roles(connection, self._known, self._roles)

    def prepare(self, summary: DumpSummary) -> None:
        """Make the roles (they may not log in) and tablespaces that the dump named so far.

        The number of a dropped role is none: no server has it, and to make it would hide that.
        """
        for role in sorted(summary.roles - self._roles - set(left_over_roles(summary.roles, self._known))):
            self._connection.execute("CREATE ROLE {} NOLOGIN", role)
        for tablespace in sorted(summary.tablespaces - self._tablespaces):
            # In the server's own folder, which goes with it.
            self._connection.execute("SET allow_in_place_tablespaces = on")
            self._connection.execute("CREATE TABLESPACE {} LOCATION ''", tablespace)
        self._roles |= summary.roles
        self._tablespaces |= summary.tablespaces


def lacking_of(server: Server, summary: DumpSummary) -> str:
    """The roles and tablespaces that a dump names and a server has not, in words; empty when there are all."""
    with server.connect() as connection:
        roles, tablespaces = _there(connection)
    lacking = {"role": summary.roles - roles, "tablespace": summary.tablespaces - tablespaces}
    return ", ".join(f"{kind} {name}" for kind, names in lacking.items() for name in sorted(names))


def _there(connection: Connection) -> tuple[set[str], set[str]]:
    roles = {str(row[0]) for row in connection.query("SELECT rolname FROM pg_roles")}
    return roles, {str(row[0]) for row in connection.query("SELECT spcname FROM pg_tablespace")}
