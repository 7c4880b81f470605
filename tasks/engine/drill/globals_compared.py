"""Compare roles and settings before and after a restore, statement by statement, by what they mean."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.engine.dump.global_statements import GlobalStatement
from tasks.engine.dump.globals import Globals

_OPTION = re.compile(r"(ADMIN|INHERIT|SET) (OPTION|TRUE|FALSE)")
_FLAG = re.compile(r"(NO)?([A-Z]+)")
_GIVEN = {"OPTION": "TRUE"}


@dataclass(frozen=True, order=True)
class Meaning:
    """What one statement says: about what, and what of it. Two texts of the same meaning are equal."""

    subject: str
    about: tuple[str, ...]
    says: tuple[str, ...]


def differences(stored: Globals, restored: Globals, without: Collection[GlobalStatement] = ()) -> list[str]:
    """Name what came back otherwise; `without` are statements that could not be carried out where it was restored."""
    left_out = {_about(s) for s in without}
    had, has = (_meanings(found) for found in (stored, restored))
    had, has = ({m for m in side if m.about not in left_out} for side in (had, has))
    if not all(m.says[-1] for side in (had, has) for m in side if m.about[0] == "membership"):
        # A pg_dumpall doesn't tell who granted it on a server before version 16.
        had, has = (set(map(_anonymous, side)) for side in (had, has))
    before, after = _by_subject(had - has), _by_subject(has - had)
    changed = before.keys() & after.keys()
    return [
        *(f"changed: {before[about]}" for about in sorted(changed)),
        *(f"not restored: {before[about]}" for about in sorted(before.keys() - changed)),
        *(f"not in the backup: {after[about]}" for about in sorted(after.keys() - changed)),
    ]


def _by_subject(found: Iterable[Meaning]) -> dict[tuple[str, ...], str]:
    return {m.about: m.subject for m in found}


def _meanings(found: Globals) -> set[Meaning]:
    inherits = _inherits(found.statements)
    return {Meaning(s.subject, _about(s), _says(s, inherits)) for s in found.statements}


def _about(statement: GlobalStatement) -> tuple[str, ...]:
    """What a statement is about; two statements about the same thing differ in what they say of it."""
    v, names = statement.values, ("role", "group", "tablespace", "database", "parameter", "class", "object", "provider")
    named = tuple(
        f"{name} {v[name]}" for name in names if name in v and statement.kind not in ("owner", "tablespace", "database")
    )
    rights = (statement.text, statement.as_role) if statement.kind == "right" else ()
    grantor = (v.get("grantor", ""),) if statement.kind == "membership" else ()
    place = (v["tablespace"],) if statement.kind == "tablespace" else ()
    return (statement.kind, *named, *rights, *grantor, *place)


def _says(statement: GlobalStatement, inherits: Mapping[str, bool]) -> tuple[str, ...]:
    v = statement.values
    match statement.kind:
        case "membership":
            return (*membership_options(statement, inherits), v.get("grantor", ""))
        case "attributes":
            return (*sorted(v["flags"].split()), v.get("limit", ""), _moment(v.get("until", "")))
        case "tablespace":  # its location belongs to the server
            return (v["role"],)
        case "options":
            return tuple(sorted(v["options"].replace("'", "").split(", ")))
        case "database":  # how it sorts and encodes text is in the manifest, and compared with the dump
            return (v.get("tablespace", ""),)
        case _:
            return (v.get("value", ""), v.get("limit", ""), v.get("role", ""))


def _moment(written: str) -> str:
    """Return a moment in UTC: a pooler may not let us choose the zone in which it is written."""
    try:
        return datetime.fromisoformat(written).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):  # infinity, or a year beyond Python's
        return written


def _anonymous(membership: Meaning) -> Meaning:
    if membership.about[0] != "membership":
        return membership
    return Meaning(membership.subject, membership.about[:-1], membership.says[:-1])


def membership_options(statement: GlobalStatement, inherits: Mapping[str, bool]) -> tuple[str, str, str]:
    """Return ADMIN, INHERIT and SET of a membership; what it doesn't say is what the server takes then."""
    inherit = "TRUE" if inherits.get(statement.values["role"], True) else "FALSE"
    given = {"ADMIN": "FALSE", "INHERIT": inherit, "SET": "TRUE"}
    given |= {name: _GIVEN.get(how, how) for name, how in _OPTION.findall(statement.values.get("options", ""))}
    return given["ADMIN"], given["INHERIT"], given["SET"]


def _inherits(statements: Sequence[GlobalStatement]) -> dict[str, bool]:
    """Whether each role inherits by itself."""
    flags = {s.values["role"]: s.values["flags"].split() for s in statements if s.kind == "attributes"}
    return {role: "NOINHERIT" not in given for role, given in flags.items()}
