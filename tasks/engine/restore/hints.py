"""Say what to do about a server's refusal during a restore, by error code. Pure; it decides no verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence

from blocks.sql import sqlstate

_LONGEST, _DEEPEST = 200, 5
# In a function's body: `SQL function "slug" during inlining`, `PL/pgSQL function public.slug(text) line 1 at RETURN`.
_FUNCTION = re.compile(
    r'SQL function "(?P<sql>.+?)"(?= during | statement \d|$)|PL/\w+ function (?P<other>.+?)(?= line \d| during | while |$)'
)
_COPY = re.compile(r"COPY ([^,:]+), line (\d+)(?:, column ([^:]+))?")
# What follows these is the text of statements or rows: `SQL statement "…"`, `unnamed portal parameter $1 = '…'`.
_QUOTES = re.compile(r"^(?:SQL statement|SQL expression|PL/\w+ expression|unnamed portal|portal |JSON data)")
_DEFAULT = "the text in brackets is the server's own"
_HINTS = {
    sqlstate.UNIQUE_VIOLATION: "the source has duplicate rows under one key, most often because an index is corrupt: find them with SET enable_indexscan = off, then REINDEX there",
    sqlstate.FOREIGN_KEY_VIOLATION: "rows of the source refer to missing rows because a trigger or constraint was disabled; fix them there",
    sqlstate.CLASS_INTEGRITY: "rows of the source violate one of its constraints; fix them there and take a new backup",
    sqlstate.INVALID_PARAMETER_VALUE: "the server does not know an option that the source uses; install the newest minor release of PostgreSQL here",
    sqlstate.CLASS_DATA: "the server rejects a value that the source has; check whether a function or type behind the column works differently here",
    sqlstate.INSUFFICIENT_PRIVILEGE: "the role is not allowed to do what the dump requires; restore as a superuser, or as the role that owns the tables",
    sqlstate.DUPLICATE_TABLE: "restore into an empty database",
    sqlstate.DISK_FULL: "free some space on the server, then run it again",
    sqlstate.OUT_OF_MEMORY: "give the server more memory, then run it again",
    sqlstate.TOO_MANY_CONNECTIONS: "the server has no connections left; raise max_connections or close other connections",
    sqlstate.CLASS_LIMIT: "the backup exceeds a limit of the server; compare its settings with those of the source",
    sqlstate.UNDEFINED_FILE: "the server lacks a file, most often the library of an extension: install the package that the source's server has",
    sqlstate.FEATURE_NOT_SUPPORTED: "install the package of the extension on this server, or restore to one that has it",
    sqlstate.LOCK_NOT_AVAILABLE: "another session holds a lock there; try again later",
}

# An extension's initial privileges can still hold the OID of a dropped role, which is then printed instead of a name.
_DROPPED_ROLE = re.compile(r'role "\d+" does not exist')


def place_of(context: Sequence[str]) -> str:
    """Return where it happened, from a server's CONTEXT lines: functions, and the table, line and column of a COPY.

    Nothing else is kept, because the rest quotes statements and rows.
    """
    places: list[str] = []
    for line in context:
        if _QUOTES.match(line):
            continue
        if copied := _COPY.match(line):
            column = f", column {copied[3]}" if copied[3] else ""
            places.append(f"COPY {copied[1]}, line {copied[2]}{column}")
        elif function := _FUNCTION.match(line):
            places.append(f"function {function[function.lastgroup or 0]}")
    return "; ".join(_shown(place) for place in places[:_DEEPEST])


def hint_for(code: str, context: Sequence[str] = (), message: str = "") -> str:
    """Return what to do next: the code's own hint, or else that of its class."""
    if code == sqlstate.UNDEFINED_OBJECT and _DROPPED_ROLE.match(message):
        return "that is the OID of a dropped role: create a role of that name, or recreate the extension on the source and take a new backup"
    if code == sqlstate.UNDEFINED_OBJECT and message.startswith('role "'):
        return "create the role on the server first, with CREATE ROLE: a backup of a database does not include roles"
    named = next((found[found.lastgroup or 0] for line in context if (found := _FUNCTION.match(line))), "")
    if named and code in sqlstate.UNKNOWN_NAME:
        return (
            f"a dump is restored with an empty search_path; the function {_shown(named)} needs SET search_path or qualified"
            " names: ALTER FUNCTION … SET search_path on the source, then take a new backup"
        )
    if code in sqlstate.UNKNOWN_NAME:
        return "the backup needs something it does not contain; one of its expressions may rely on search_path, which is empty in a restore"
    return _HINTS.get(code) or _HINTS.get(code[:2]) or _DEFAULT


def _shown(text: str) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
