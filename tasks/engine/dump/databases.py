"""List a server's databases by a plan's patterns: those to back up, those that can't be, and what the patterns miss."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.config.databases import Databases, name_in, names_one
from blocks.sql.connection import Connection
from tasks.engine.repository.identity import read_identity
from tasks.engine.servers.scratch import MARK_LIMIT

TEMPLATE = "it is a template"
NO_SUCH = "there is no database of this name"
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
    """The databases of a server: to back up; to leave alone, with the reason; and what the patterns miss.

    `missing` are those that a pattern names in full and that can't be backed up, with the reason; `unmatched` are other
    patterns that match none.
    """

    members: tuple[str, ...]
    left_alone: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    unmatched: tuple[str, ...] = ()
    system_identifier: str = ""


def list_databases(connection: Connection, wanted: Databases) -> Listed:
    """Ask the server, each time: a database that was created since is a member, too."""
    patterns = [pattern.name for pattern in (*wanted.wanted, *wanted.but)]
    rows = connection.query(_DATABASES, patterns)
    return sorted_out(rows, wanted, read_identity(connection, "").system_identifier)


def sorted_out(rows: Sequence[tuple[Any, ...]], wanted: Databases, system_identifier: str = "") -> Listed:
    """Sort what the server answered by what the patterns mean; throwaway databases of ours are none. Pure."""
    numbered = dict(enumerate(wanted.wanted, 1))
    named = {number for number, pattern in numbered.items() if names_one(pattern)}
    members, left_alone, missing = list[str](), list[tuple[str, str]](), list[tuple[str, str]]()
    for name, template, connects, limit, matched in rows:
        if limit == MARK_LIMIT or not matched or max(matched) > len(numbered):
            continue
        shown = bytes(name).decode(errors="replace")
        if reason := _reason(bytes(name), template=template, connects=connects, limit=limit):
            (missing if named & set(matched) else left_alone).append((shown, reason))
        else:
            members.append(shown)
    unmatched = _unmatched(rows, numbered)
    missing += [(name_in(numbered[number]), NO_SUCH) for number in unmatched if number in named]
    others = tuple(numbered[number].text for number in unmatched if number not in named)
    return Listed(tuple(members), tuple(left_alone), tuple(missing), others, system_identifier)


def _unmatched(rows: Sequence[tuple[Any, ...]], numbers: Collection[int]) -> list[int]:
    matched = {number for row in rows for number in row[4]}
    return [number for number in numbers if number not in matched]


def _reason(name: bytes, *, template: bool, connects: bool, limit: int) -> str:
    """Return why a database can't be backed up; empty if it can."""
    if template:
        return TEMPLATE
    if limit == _INVALID:
        return "it is invalid: its removal was interrupted"
    if name.decode(errors="replace").encode() != name:
        return _NO_UTF8
    return "" if connects else "it accepts no connections (datallowconn)"
