"""Find on the source what a plan's patterns match, and turn it into arguments for pg_dump.

pg_dump gets the names that were found, not the patterns: so the manifest says exactly what was left out, tables take
their partitions along, and the dump of a restored copy leaves out the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from blocks.config.dump_options import excluded_extensions, name_of, of_copies, unknown_to
from blocks.config.selection import PATTERNS, Selection, variable_for
from blocks.errors import BackupDamaged, ConfigurationError, DatabaseError, Problem
from blocks.sql import sqlstate
from blocks.sql.connection import Connection
from blocks.sql.patterns import NamePattern, plain_pattern
from tasks.engine.dump.selected import Catalog, Relation, Schema, decide
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.omissions import Omissions

# Linux allows two megabytes for all arguments and the environment.
_MOST_BYTES = 1_000_000
_NOT_OURS = "n.nspname OPERATOR(pg_catalog.!~) '^pg_' AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema'"
_NAMED = '{}.{} OPERATOR(pg_catalog.~) %s COLLATE pg_catalog."default"'
_RELATIONS = f"""
SELECT c.oid::pg_catalog.int8, c.relnamespace::pg_catalog.int8,
  pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname), c.relkind::pg_catalog.text,
  c.relpersistence OPERATOR(pg_catalog.=) 'u', EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'),
  EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE c.oid OPERATOR(pg_catalog.=) ANY (e.extconfig)),
  o.refobjid::pg_catalog.int8, coalesce(o.deptype OPERATOR(pg_catalog.=) 'i', false)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
LEFT JOIN pg_catalog.pg_depend o ON c.relkind OPERATOR(pg_catalog.=) 'S' AND o.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
  AND o.objid OPERATOR(pg_catalog.=) c.oid AND o.refclassid OPERATOR(pg_catalog.=) o.classid AND o.refobjsubid OPERATOR(pg_catalog.>) 0
  AND (o.deptype OPERATOR(pg_catalog.=) 'a' OR o.deptype OPERATOR(pg_catalog.=) 'i')
WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p,f,v,m,S}}') AND c.relpersistence OPERATOR(pg_catalog.<>) 't' AND {_NOT_OURS}"""
_SCHEMAS = f"""
SELECT n.oid::pg_catalog.int8, pg_catalog.quote_ident(n.nspname),
  EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extnamespace OPERATOR(pg_catalog.=) n.oid)
FROM pg_catalog.pg_namespace n WHERE {_NOT_OURS}"""
# A table stands for its partitions, and for those that inherit from it: without it, they can't be restored.
_TABLES_NAMED = f"""
WITH RECURSIVE found (oid) AS (
  SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p,f,v,m,S}}') AND {_NOT_OURS} AND {_NAMED.format("c", "relname")} AND SCHEMA_FITS
  UNION
  SELECT i.inhrelid FROM found f JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) f.oid)
SELECT oid::pg_catalog.int8 FROM found"""
_VISIBLE, _IN_SCHEMA = "pg_catalog.pg_table_is_visible(c.oid)", _NAMED.format("n", "nspname")
_SCHEMAS_NAMED = f"""
SELECT n.oid::pg_catalog.int8 FROM pg_catalog.pg_namespace n WHERE {_NOT_OURS} AND {_NAMED.format("n", "nspname")}"""
_EXTENSIONS_NAMED = f"""
SELECT pg_catalog.quote_ident(e.extname) FROM pg_catalog.pg_extension e WHERE {_NAMED.format("e", "extname")} ORDER BY 1"""
_ENCODED = (
    "SELECT pg_catalog.convert_to(%s, coalesce(nullif(%s, ''), pg_catalog.getdatabaseencoding())::pg_catalog.name)"
)


def read_selection(connection: Connection, selection: Selection, major: int) -> Omissions | None:
    """Find what a selection leaves out; None if it names nothing. The session must have the role's own search path.

    Raises ConfigurationError for an option that this pg_dump lacks, and for a pattern that is none or matches nothing.
    """
    if problems := unknown_to(major, selection.options):
        raise ConfigurationError(problems)
    if not selection.partial:
        return None
    catalog = Catalog(
        tuple(Relation(*row) for row in connection.query(_RELATIONS)), tuple(Schema(*row) for row in connection.query(_SCHEMAS))
    )  # fmt: skip
    matched = {
        kind: frozenset(oid for text in texts for oid in _matching(connection, kind, PATTERNS[kind](text)))
        for kind, texts in selection.patterns.items()
    }
    extensions = [
        str(name)
        for text in excluded_extensions(selection.options)
        for name in _found(connection, "PG_DUMP_OPTIONS", plain_pattern(text), _EXTENSIONS_NAMED)
    ]
    left_out = decide(selection, catalog, matched).model_copy(update={"extensions": tuple(dict.fromkeys(extensions))})
    if _too_many(names_in(left_out)):
        many = Problem("The selection leaves out more names than a command can have", "leave out whole schemas instead")
        raise ConfigurationError([many])
    return left_out if any(names_in(left_out)) or left_out.patterns or extensions else None


def _matching(connection: Connection, kind: str, pattern: NamePattern) -> list[int]:
    if kind.endswith("schemas"):
        return _found(connection, variable_for(kind), pattern, _SCHEMAS_NAMED)
    where = _VISIBLE if pattern.schema is None else _IN_SCHEMA
    return _found(connection, variable_for(kind), pattern, _TABLES_NAMED.replace("SCHEMA_FITS", where))


def _found(connection: Connection, variable: str, pattern: NamePattern, question: str) -> list[Any]:
    """Return what a pattern matches; raises ConfigurationError if that is nothing, or the server can't read it."""
    try:
        found = [row[0] for row in connection.query(question, pattern.name, *filter(None, [pattern.schema]))]
    except DatabaseError as error:
        if error.sqlstate != sqlstate.INVALID_REGULAR_EXPRESSION:
            raise
        hint = "put what is no regular expression into double quotes"
        raise ConfigurationError(
            [Problem(f"Invalid {variable} [{pattern.text[:80]}: {error.context}]", hint)]
        ) from None
    if not found:
        hint = "correct it; without a schema, a pattern matches only what the search path finds: schema.name"
        raise ConfigurationError([Problem(f"{variable} names nothing in the database [{pattern.text[:80]}]", hint)])
    return found


def names_in(left_out: Omissions) -> Iterator[str]:
    """Yield the arguments that leave out what was found; a name as SQL writes it is a pattern that matches only that."""
    yield from (f"--exclude-schema={name}" for name in left_out.schemas)
    yield from (f"--exclude-table={name}" for names in left_out.relations.values() for name in names)
    yield from _rows_in(left_out)


def _rows_in(left_out: Omissions) -> Iterator[str]:
    yield from (f"--exclude-table-data={name}" for names in left_out.rows_of.values() for name in names)


def arguments(left_out: Omissions | None, options: Sequence[str]) -> list[str]:
    """Return the arguments for the dump of a source."""
    return [*options, *(names_in(left_out) if left_out else ())]


def arguments_for_copy(manifest: Manifest | None) -> list[str]:
    """Return the arguments for the dump of a restored copy: only what it has, and would be dumped otherwise, is left out.

    So a table that should not be there is noticed.
    """
    if manifest is None:
        return []
    given = [*of_copies(manifest.dump_options), *(_rows_in(manifest.left_out) if manifest.left_out else ())]
    if _too_many(given):
        raise BackupDamaged("the manifest leaves out more names than a command can have", check=checklist.MANIFEST)
    return given


def _too_many(given: Iterable[str]) -> bool:
    return sum(len(os.fsencode(argument)) for argument in given) > _MOST_BYTES


def waits_by_itself(given: Sequence[str]) -> bool:
    """Whether the arguments say how long to wait for a lock."""
    return "--lock-wait-timeout" in map(name_of, given)


def encoded(connection: Connection, given: Sequence[str], encoding: str | None) -> list[str]:
    """Return arguments in the encoding that pg_dump reads them in: that of its dump, by default the database's."""
    if all(argument.isascii() for argument in given):
        return list(given)
    return [os.fsdecode(bytes(connection.query(_ENCODED, text, encoding or "")[0][0])) for text in given]
