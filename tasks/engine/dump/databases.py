"""List a server's databases by a plan's patterns: those to back up, those that can't be, and names that no database has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.config.databases import Databases, names_one
from blocks.sql.connection import Connection
from tasks.engine.repository.identity import read_identity
from tasks.engine.servers.scratch import MARK_LIMIT

TEMPLATE = "it is a template"
_INVALID = -2  # the connection limit of a database whose removal was interrupted
_NO_UTF8 = "its name is not in UTF-8"
# For each database, the numbers of the patterns that match its name. Its name in bytes: the server doesn't check them.
_DATABASES = """
SELECT pg_catalog.namesend(d.datname), d.datistemplate, d.datallowconn, d.datconnlimit, ARRAY(
  SELECT p.n FROM pg_catalog.unnest(%s::pg_catalog.text[]) WITH ORDINALITY AS p (pattern, n)
  WHERE d.datname::pg_catalog.text OPERATOR(pg_catalog.~) p.pattern)
FROM pg_catalog.pg_database d ORDER BY d.datname"""


@dataclass(frozen=True)
class Listed:
    """The databases of a server: to back up; to leave alone, with the reason; and names in patterns that none has."""

    members: tuple[str, ...]
    left_alone: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    system_identifier: str = ""


def list_databases(connection: Connection, wanted: Databases) -> Listed:
    """Ask the server, each time: a database that was created since is a member, too."""
    patterns = [pattern.name for pattern in (*wanted.wanted, *wanted.but)]
    rows = connection.query(_DATABASES, patterns)
    members, left_alone = list[str](), list[tuple[str, str]]()
    for name, reason in _chosen(rows, len(wanted.wanted)):
        left_alone.append((name, reason)) if reason else members.append(name)
    matched = {number for row in rows for number in row[4]}
    missing = (p.text for n, p in enumerate(wanted.wanted, 1) if n not in matched and names_one(p))
    identity = read_identity(connection, "")
    return Listed(tuple(members), tuple(left_alone), tuple(missing), identity.system_identifier)


def _chosen(rows: Sequence[tuple[Any, ...]], wanted: int) -> Iterator[tuple[str, str]]:
    """Yield the databases that the patterns mean, with the reason to leave one alone; throwaway ones of ours are none."""
    for name, template, connects, limit, matched in rows:
        if limit == MARK_LIMIT or not matched or max(matched) > wanted:
            continue
        shown = bytes(name).decode(errors="replace")
        if template:
            yield shown, TEMPLATE
        elif limit == _INVALID:
            yield shown, "it is invalid: its removal was interrupted"
        elif shown.encode() != bytes(name):
            yield shown, _NO_UTF8
        else:
            yield shown, "" if connects else "it accepts no connections (datallowconn)"
