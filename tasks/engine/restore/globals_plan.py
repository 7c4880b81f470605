"""Plan how roles and settings get to a server: create what is missing, and change nothing that exists.

A role, tablespace or database that is there stays as it is, with its attributes, settings, memberships and rights. So
a membership is granted only to a new role, and a right only to one, or on a new tablespace: a forged companion must not
make a role that people log in as a member of one that it brings along. Whether an empty database is there is for the
caller to say: where a whole server comes back, it counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tasks.engine.dump.global_statements import EVERYONE, GlobalStatement, literal, quoted

Action = Literal["create", "keep", "cannot"]
# Attributes that a role must have itself, or be a superuser, to give them to others.
PRIVILEGED = ("SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS")
_SUPERUSERS_ONLY = ("SUPERUSER", "REPLICATION", "BYPASSRLS")
_EXISTS = "exists, and stays as it is"
_MAY_NOT = "our role can't create roles (CREATEROLE)"
_ALL_EXIST = "the role exists, and stays as it is: grant it by hand if you want it"
# Predefined roles, with which one can read or write anything, or run programs as the server's user.
_POWERFUL = "pg_"


@dataclass(frozen=True)
class Existing:
    """What a server has, and what our role may do there; `own` names what the target database has set already."""

    roles: frozenset[str] = frozenset()
    tablespaces: frozenset[str] = frozenset()
    superuser: bool = True
    may_create_roles: bool = True
    own: frozenset[str] | None = None  # None: the database is new


@dataclass(frozen=True)
class Step:
    """What will be done about one statement, and why, if that needs saying."""

    statement: GlobalStatement
    action: Action
    why: str = ""

    def __str__(self) -> str:
        words = {"create": "create", "keep": "keep", "cannot": "can't create"}
        return f"{words[self.action]} {self.statement.subject}" + (f": {self.why}" if self.why else "")


def plan_globals(statements: Iterable[GlobalStatement], there: Existing) -> list[Step]:
    """Plan what happens to roles and tablespaces, in the order of the statements."""
    outside = [s for s in statements if not s.of_database]
    given = {s.values["role"] for s in outside if s.kind == "role"}
    new_places = {s.values["tablespace"] for s in outside if s.kind == "tablespace"} - there.tablespaces
    return [Step(s, *_decided(s, there, given - there.roles, new_places)) for s in outside]


def _decided(s: GlobalStatement, there: Existing, new: set[str], new_places: set[str]) -> tuple[Action, str]:
    concerned, place = _roles_in(s), place_in(s)
    if s.kind in ("membership", "right"):
        return _of_rights(s, there, new, is_new=_receiver(s) in new or place in new_places)
    if not (concerned & new if not place else place in new_places):
        return "keep", _EXISTS
    if place:
        return ("create", "") if there.superuser else ("cannot", "only a superuser can create a tablespace")
    return _of_new_role(s, there)


def _of_rights(s: GlobalStatement, there: Existing, new: set[str], *, is_new: bool) -> tuple[Action, str]:
    missing = sorted(_roles_in(s) - there.roles - new - {EVERYONE})
    if missing:
        return "cannot", f"role {missing[0]} is not on this server"
    if not is_new:
        return "keep", _ALL_EXIST if s.kind == "membership" else _EXISTS
    power = f"{s.values['group']} is a powerful role" if s.values.get("group", "").startswith(_POWERFUL) else ""
    if s.kind == "right" and not there.superuser:
        return "cannot", "only a superuser can grant it"
    return ("create", power) if there.may_create_roles else ("cannot", _MAY_NOT)


def _receiver(s: GlobalStatement) -> str:
    """Return who gets a membership or right."""
    return s.values["role"] if s.kind == "membership" else s.values["grantee"]


def _of_new_role(s: GlobalStatement, there: Existing) -> tuple[Action, str]:
    if not there.may_create_roles:
        return "cannot", _MAY_NOT
    if s.kind != "attributes":
        return "create", ""
    flags = s.values["flags"].split()
    given = [flag for flag in PRIVILEGED if flag in flags]
    doubtful = [flag for flag in _SUPERUSERS_ONLY if flag in flags and not there.superuser]
    notes = [f"with {', '.join(given)}"] if given else []
    notes += [f"we are no superuser, and may not be allowed {', '.join(doubtful)}"] if doubtful else []
    return "create", "; ".join([*notes, *(["it has no password yet"] if "LOGIN" in flags else [])])


def place_in(s: GlobalStatement) -> str:
    """Return the tablespace that a statement is about; empty if it is about none."""
    return s.values.get("tablespace") or (s.values["object"] if s.values.get("class") == "TABLESPACE" else "")


def _roles_in(s: GlobalStatement) -> set[str]:
    """Return the roles that a statement would change or that get something by it; not who grants it."""
    v = s.values
    named = {v[name] for name in ("role", "group", "grantee") if name in v and s.kind != "tablespace"}
    return named | ({v["object"]} if v.get("class") == "ROLE" else set())


def plan_own(statements: Iterable[GlobalStatement], database: str, there: Existing) -> list[Step]:
    """Plan what a restored database gets of what the dumped one had; one that existed gets only what it has not set."""
    own = [replace(s, text=_renamed(s, database)) for s in statements if s.of_database and s.kind != "database"]
    if not there.superuser:  # who has given a database away can't change it any more
        own.sort(key=lambda s: s.kind == "owner")
    return [Step(s, *_decided_own(s, there)) for s in own]


def _decided_own(s: GlobalStatement, there: Existing) -> tuple[Action, str]:
    if there.own is None:
        return "create", ""
    if s.kind not in ("setting", "comment"):
        return "keep", "the database existed, and stays as it is"
    return ("keep", _EXISTS) if own_name(s.kind, s.values) in there.own else ("create", "")


def own_name(kind: str, values: Mapping[str, str]) -> str:
    """Return a key for what a database has set."""
    return f"{kind} {values.get('role', '')} {values.get('parameter', '')}"


def _renamed(s: GlobalStatement, database: str) -> str:
    """Write a statement about the dumped database for the restored one, whose name may differ."""
    v, name = s.values, quoted(database)
    to = "PUBLIC" if v.get("grantee") == EVERYONE else quoted(v.get("grantee", ""))
    way = "TO" if v.get("verb") == "GRANT" else "FROM"
    place = f"ALTER ROLE {quoted(v['role'])} IN DATABASE {name}" if "role" in v else f"ALTER DATABASE {name}"
    return {
        "setting": f"{place} SET {quoted(v.get('parameter', ''))} TO {v.get('value')};",
        "owner": f"ALTER DATABASE {name} OWNER TO {quoted(v.get('role', ''))};",
        "limit": f"ALTER DATABASE {name} CONNECTION LIMIT = {v.get('limit')};",
        "template": f"ALTER DATABASE {name} IS_TEMPLATE = true;",
        "comment": f"COMMENT ON DATABASE {name} IS {v.get('value')};",
        "label": f"SECURITY LABEL FOR {quoted(v.get('provider', ''))} ON DATABASE {name} IS {v.get('value')};",
        "right": f"{v.get('verb')} {v.get('rights')} ON DATABASE {name} {way} {to}{v.get('option', '') and ' WITH GRANT OPTION'};",
    }[s.kind]  # fmt: skip


def piecemeal(s: GlobalStatement) -> Iterator[tuple[str, str]]:
    """Write the attributes of a new role one privilege at a time: the name of the privilege, empty for the rest."""
    role, flags = quoted(s.values["role"]), s.values["flags"].split()
    plain = [flag for flag in flags if flag.removeprefix("NO") not in PRIVILEGED]
    limit = f" CONNECTION LIMIT {s.values['limit']}" if "limit" in s.values else ""
    until = f" VALID UNTIL {literal(s.values['until'])}" if "until" in s.values else ""
    yield "", f"ALTER ROLE {role} WITH {' '.join(plain)}{limit}{until};"
    yield from ((flag, f"ALTER ROLE {role} WITH {flag};") for flag in flags if flag in PRIVILEGED)


def summed_up(steps: Sequence[Step]) -> str:
    """Return how much will be created, kept, and not possible."""
    counts = {action: sum(s.action == action for s in steps) for action in ("create", "keep", "cannot")}
    return f"{counts['create']} to create, {counts['keep']} that stay as they are, {counts['cannot']} that can't be created"
