"""Recognize what PostgreSQL itself changes when a sound dump is restored, so that the backup is not blamed for it.

- A new child table inherits its parent's `STORAGE` and `COMPRESSION` even if the child had the defaults: pg_dump has
  no statement to express that.
- A standby cannot read its unlogged tables. There, pg_dump leaves out their rows, and the tables come back empty.
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
    """Return the plain names of the unlogged tables that a dump creates."""
    return {plain_name(text_of(found[1])) for text in dump.schema_kept.values() if (found := _UNLOGGED.match(text))}


def without_taken_over(stored: DumpSummary, restored: DumpSummary) -> tuple[DumpSummary, list[str]]:
    """Return the restored schema without settings that child tables got only by the restore, and the titles of those.

    A setting counts as inherited if a parent of the table has it for the same column and the backup has no setting of
    its kind for this column.
    """
    parents, had = _parents_of(stored.schema_kept), dict(_settings(stored.schema_kept))
    has = dict(_settings(restored.schema_kept))
    kinds = {_kind(setting) for setting in had.values()}
    known = set(had.values())
    taken: list[int] = []
    waiting = {d: s for d, s in has.items() if d not in had and _kind(s) not in kinds}
    # A grandchild inherits from a child that inherited the setting itself.
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
