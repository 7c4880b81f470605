"""Carry role attributes and memberships from a source to a throwaway server; a dump of one database only names roles.

Passwords and the right to log in are never read and never set.
"""

from __future__ import annotations

from collections.abc import Iterable

from blocks.sql.connection import Connection
from tasks.engine.repository.manifest import MembershipRecord, RoleRecord

_ROLES = """
SELECT r.rolname, r.rolsuper, r.rolbypassrls, r.rolinherit, r.rolcreaterole, r.rolcreatedb
FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY 1"""
# Since version 16, each membership states whether privileges are inherited and whether SET ROLE is allowed.
_MEMBERSHIPS = """
SELECT m.rolname, g.rolname, bool_or(a.admin_option),
  bool_or(coalesce((to_jsonb(a)->>'inherit_option')::boolean, m.rolinherit)),
  bool_or(coalesce((to_jsonb(a)->>'set_option')::boolean, true))
FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.member JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
GROUP BY 1, 2 ORDER BY 1, 2"""
_OPTIONS_SINCE = 160000


def read_roles(connection: Connection) -> tuple[RoleRecord, ...]:
    """Return a server's roles with their attributes and memberships, which any role can read."""
    groups: dict[str, list[MembershipRecord]] = {}
    for member, group, admin, inherit, may_set in connection.query(_MEMBERSHIPS):
        record = MembershipRecord(role=group, admin=admin, inherit=inherit, set_role=may_set)
        groups.setdefault(member, []).append(record)
    return tuple(
        RoleRecord(name=name, superuser=superuser, bypass_rls=bypass, inherit=inherit, create_role=create_role,
                   create_database=create_database, member_of=tuple(groups.get(name, ())))
        for name, superuser, bypass, inherit, create_role, create_database in connection.query(_ROLES)
    )  # fmt: skip


def make_roles(connection: Connection, records: Iterable[RoleRecord], there: set[str]) -> set[str]:
    """Create the missing roles, then their memberships; return the names of all roles that exist now.

    Predefined roles come with the server. A membership in a role that this server lacks is left out.
    """
    wanted = {r.name: r for r in records if r.name not in there and not r.name.startswith("pg_")}
    for record in wanted.values():
        connection.execute(f"CREATE ROLE {{}} NOLOGIN {' '.join(_attributes(record))}", record.name)
    present = there | set(wanted)
    version = int(connection.query("SELECT current_setting('server_version_num')")[0][0])
    for record in wanted.values():
        for membership in record.member_of:
            if membership.role in present and membership.role != record.name:
                options = _options(membership) if version >= _OPTIONS_SINCE else _old_options(membership)
                connection.execute(f"GRANT {{}} TO {{}}{options}", membership.role, record.name)
    return present


def left_over_roles(named: Iterable[str], known: Iterable[RoleRecord]) -> list[str]:
    """Return the names in a dump that are OIDs of dropped roles: the initial privileges of an extension keep them.

    A role can really have such a name, so only names that the source does not know count.
    """
    names = {r.name for r in known}
    return sorted(name for name in named if name.isascii() and name.isdecimal() and name not in names)


def _attributes(record: RoleRecord) -> list[str]:
    attributes = {"SUPERUSER": record.superuser, "BYPASSRLS": record.bypass_rls, "INHERIT": record.inherit,
                  "CREATEROLE": record.create_role, "CREATEDB": record.create_database}  # fmt: skip
    return [name if has else f"NO{name}" for name, has in attributes.items()]


def _options(membership: MembershipRecord) -> str:
    admin, inherit, may_set = (str(v).upper() for v in (membership.admin, membership.inherit, membership.set_role))
    return f" WITH ADMIN {admin}, INHERIT {inherit}, SET {may_set}"


def _old_options(membership: MembershipRecord) -> str:
    return " WITH ADMIN OPTION" if membership.admin else ""
