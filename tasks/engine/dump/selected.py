"""Decide from a catalog and what patterns matched in it what a dump leaves out; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from blocks.config.dump_options import NO_UNLOGGED
from blocks.config.selection import Selection
from tasks.engine.repository.omissions import KINDS, Omissions, by_kind

_WITH_ROWS = frozenset("rmS")


@dataclass(frozen=True)
class Relation:
    """A table, view or sequence, its name as SQL writes it, and what it belongs to."""

    oid: int
    schema: int
    name: str
    kind: str  # as in pg_class
    unlogged: bool = False
    of_extension: bool = False
    configures: bool = False  # an extension that dumps its rows
    owner: int | None = None  # the table whose column it fills
    identity: bool = False  # of that column: it comes and goes with the table


@dataclass(frozen=True)
class Schema:
    """A schema, and whether an extension was created in it."""

    oid: int
    name: str
    home: bool = False


@dataclass(frozen=True)
class Catalog:
    """What users made in a database."""

    relations: tuple[Relation, ...] = ()
    schemas: tuple[Schema, ...] = ()


def decide(selection: Selection, catalog: Catalog, matched: Mapping[str, frozenset[int]]) -> Omissions:
    """Return what is left out; `matched` are the OIDs that the patterns of each kind found.

    What is included is dumped by leaving out all else, because what it needs (extensions, and with tables also types,
    functions and schemas) is then dumped, too.
    """
    schemas = _schemas(selection, catalog, matched)
    out = _relations(selection, catalog, matched, schemas)
    named = [r for r in catalog.relations if r.oid in out and r.schema not in schemas and not r.identity]
    inside = Counter(
        KINDS[r.kind] for r in catalog.relations if r.schema in schemas and not r.of_extension and not r.identity
    )
    return Omissions(
        patterns=selection.patterns,
        schemas=tuple(sorted(s.name for s in catalog.schemas if s.oid in schemas)),
        in_schemas={kind: inside[kind] for kind in KINDS.values() if inside[kind]},
        relations=by_kind([(KINDS[r.kind], r.name) for r in named]),
        rows_of=by_kind([(KINDS[r.kind], r.name) for r in _without_rows(selection, catalog, matched, schemas, out)]),
    )


def _schemas(selection: Selection, catalog: Catalog, matched: Mapping[str, frozenset[int]]) -> frozenset[int]:
    out = matched.get("exclude_schemas", frozenset())
    if selection.include_schemas and not selection.include_tables:
        # An extension can't be created without its schema, of which only the relations are left out then.
        others = {s.oid for s in catalog.schemas if not s.home} - matched["include_schemas"]
        out |= others
    return frozenset(out)


def _relations(
    selection: Selection, catalog: Catalog, matched: Mapping[str, frozenset[int]], schemas: frozenset[int]
) -> set[int]:
    """Return the relations left out by name or with their schema; what CREATE EXTENSION makes is never."""
    excluded, included = matched.get("exclude_tables", frozenset()), matched.get("include_tables", frozenset())
    only = bool(selection.include_tables or selection.include_schemas)
    inside = matched.get("include_schemas", frozenset())
    ours = [r for r in catalog.relations if not r.of_extension]
    out = {
        r.oid for r in ours if r.schema in schemas or r.oid in excluded
        or (only and r.kind != "S" and r.oid not in included and r.schema not in inside)
    }  # fmt: skip
    # pg_dump dumps the sequences of a table's columns with it, whatever the patterns say.
    out -= {r.oid for r in ours if r.owner is not None and r.owner not in out}
    return out | {r.oid for r in ours if r.owner in out and (r.identity or only)}


def _without_rows(
    selection: Selection, catalog: Catalog, matched: Mapping[str, frozenset[int]], schemas: frozenset[int], out: set[int]
) -> list[Relation]:  # fmt: skip
    """Return the relations that are dumped without rows: also an extension's, which can't be left out themselves."""
    data = matched.get("exclude_table_data", frozenset())
    gone = matched.get("exclude_tables", frozenset())
    unlogged = NO_UNLOGGED in selection.options

    def is_without(r: Relation) -> bool:
        if r.configures and (r.oid in gone or r.schema in schemas):
            return True
        if r.of_extension and not r.configures:
            return False
        return r.oid in data or (unlogged and r.unlogged and r.kind in "rS")

    return [r for r in catalog.relations if r.kind in _WITH_ROWS and r.oid not in out and is_without(r)]
