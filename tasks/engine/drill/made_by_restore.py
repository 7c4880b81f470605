"""Tell what PostgreSQL does by itself when a sound dump is restored, so that it is not held against the backup.

- A new child table takes over its parent's `STORAGE` and `COMPRESSION`, also where the child had the usual ones: pg_dump has
  no statement that says so.
- A standby cannot read its unlogged tables. pg_dump leaves out their rows there, and the tables come back empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tasks.engine.dump.schema_parts import title_of
from tasks.engine.dump.schema_text import plain_name, text_of
from tasks.engine.dump.summary import DumpSummary

_ID = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+)'
_NAME = _ID + rb"(?:\." + _ID + rb")?"
_UNLOGGED = re.compile(rb"CREATE UNLOGGED TABLE (" + _NAME + rb") ")
_CREATED = re.compile(rb"CREATE (?:UNLOGGED |FOREIGN )?TABLE (" + _NAME + rb") \(")
_PARENTS = re.compile(rb"\)\nINHERITS \((" + _NAME + rb"(?:, " + _NAME + rb")*)\)")
_EACH = re.compile(_NAME)
_TAKEN_OVER = re.compile(
    rb"ALTER (?:FOREIGN )?TABLE (?:ONLY )?(" + _NAME + rb") ALTER COLUMN (" + _ID + rb") (SET (?:STORAGE|COMPRESSION) [a-zA-Z0-9]+);\Z"
)  # fmt: skip
_Setting = tuple[bytes, bytes, bytes]


def unlogged_tables(dump: DumpSummary) -> set[str]:
    """The unlogged tables that a dump makes, by their plain names."""
    return {plain_name(text_of(found[1])) for text in dump.schema_kept.values() if (found := _UNLOGGED.match(text))}


def without_taken_over(stored: DumpSummary, restored: DumpSummary) -> tuple[DumpSummary, list[str]]:
    """The restored schema without the settings that only the restore gave to child tables; also their names.

    A setting counts as taken over when a parent of the table has it for the same column, and the backup has none of its kind
    for this column.
    """
    parents, had = _parents_of(stored.schema_kept), dict(_settings(stored.schema_kept))
    has = dict(_settings(restored.schema_kept))
    kinds = {_kind(setting) for setting in had.values()}
    known = set(had.values())
    taken: list[int] = []
    waiting = {d: s for d, s in has.items() if d not in had and _kind(s) not in kinds}
    # A grandchild takes over from a child that took over itself.
    while new := [d for d, (t, c, v) in waiting.items() if any((p, c, v) in known for p in parents.get(t, ()))]:
        taken += new
        known |= {waiting.pop(d) for d in new}
    if not taken:
        return restored, []
    return restored.exchanged(taken, {}), sorted(title_of(restored.schema_kept[d]) for d in taken)


def _settings(kept: Mapping[int, bytes]) -> Iterator[tuple[int, _Setting]]:
    for digest, text in kept.items():
        if found := _TAKEN_OVER.match(text):
            yield digest, (found[1], found[2], found[3])


def _kind(setting: _Setting) -> _Setting:
    table, column, value = setting
    return table, column, value.rpartition(b" ")[0]


def _parents_of(kept: Mapping[int, bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for text in kept.values():
        if (table := _CREATED.match(text)) and (parents := _PARENTS.search(text)):
            found[table[1]] = _EACH.findall(parents[1])
    return found
