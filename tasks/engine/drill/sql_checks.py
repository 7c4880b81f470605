"""Check with SQL what a dump of the restored copy does not show: valid indexes, sequences ahead of their columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from blocks.errors import DatabaseError, DatabaseUnreachable
from blocks.sql.connection import Connection
from blocks.sql.server import Server
from tasks.engine.drill.own_rows import count_dumped_rows, dumped_tables, tables_of_extensions
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.checks import compared, counted, failed, not_possible, passed, timed, warned
from tasks.engine.repository.manifest import Check, Manifest
from tasks.engine.repository.omissions import MATERIALIZED, TABLE

_OURS = (
    "JOIN pg_namespace n ON n.oid = {0}.relnamespace AND n.nspname !~ '^pg_(toast|temp|catalog)'"
    " AND n.nspname <> 'information_schema'"
)
_NAME = "quote_ident(n.nspname) || '.' || quote_ident({0}.relname)"
_BY_EXTENSION = (
    "EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')"
)
# Leave out indexes of partitioned tables: they can be invalid on the source too, as long as a partition has none.
_INDEXES = f"""
SELECT {_NAME.format("c")}, i.indisvalid AND i.indisready FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
{_OURS.format("c")} WHERE c.relkind = 'i' ORDER BY 1"""
_NOT_VALIDATED = """
SELECT count(*), count(*) FILTER (WHERE NOT convalidated) FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"""
_VIEWS = f"""
SELECT {_NAME.format("c")}, c.relispopulated FROM pg_class c {_OURS.format("c")} WHERE c.relkind = 'm' ORDER BY 1"""
# The sequences that fill a column and do not cycle, and which way they count.
_FILLED = f"""
SELECT {_NAME.format("s")}, {_NAME.format("c")}, quote_ident(a.attname), q.seqincrement > 0
FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN pg_class c ON c.oid = d.refobjid {_OURS.format("s")}
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid AND NOT a.attisdropped
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
AND d.deptype IN ('a', 'i') AND NOT q.seqcycle AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
AND s.relnamespace = c.relnamespace AND NOT {_BY_EXTENSION} ORDER BY 1"""

_LONGEST_S = 86_400.0
_SqlCheck = Callable[[Connection, Manifest | None, DumpSummary], Check]


def run_sql_checks(
    copy: Server,
    manifest: Manifest | None,
    stored: DumpSummary,
    remaining_s: Callable[[], float] = lambda: _LONGEST_S,
) -> list[Check]:
    """Make every check that needs SQL. If the server refuses a query, only that check is not possible.

    Raises what `remaining_s` raises when no time is left.
    """
    checks = []
    with copy.connect() as connection:
        for name, look in _LOOKS:
            begun = time.monotonic()
            connection.limit(remaining_s())
            try:
                check = look(connection, manifest, stored)
            except DatabaseUnreachable:
                raise
            except DatabaseError as error:
                check = not_possible(name, error.context)
            checks += timed([check], time.monotonic() - begun)
    return checks


def _indexes(connection: Connection, _manifest: Manifest | None, _stored: DumpSummary) -> Check:
    found = connection.query(_INDEXES)
    invalid = [f"{name} is not valid" for name, valid in found if not valid]
    return compared(checklist.INDEXES, invalid, f"{counted(len(found), 'index', 'indexes')}, all valid")


def _constraints(connection: Connection, _manifest: Manifest | None, _stored: DumpSummary) -> Check:
    number, unchecked = connection.query(_NOT_VALIDATED)[0]
    rest = f", {unchecked} of them not validated, as on the source" if unchecked else ", all validated"
    return passed(checklist.CONSTRAINTS, f"{counted(number, 'constraint')}{rest}")


def _materialized(connection: Connection, manifest: Manifest | None, _stored: DumpSummary) -> Check:
    found = connection.query(_VIEWS)
    empty = sum(not populated for _, populated in found)
    chosen = manifest is not None and manifest.left_out is not None and MATERIALIZED in manifest.left_out.rows_of
    rest = (
        f", {empty} of them not populated, as {'chosen or ' if chosen else ''}on the source"
        if empty
        else ", all populated"
        if found
        else ""
    )
    return passed(checklist.MATERIALIZED, f"{counted(len(found), 'materialized view')}{rest}")


def _extensions(connection: Connection, manifest: Manifest | None, stored: DumpSummary) -> Check:
    installed = {
        str(name): str(version) for name, version in connection.query("SELECT extname, extversion FROM pg_extension")
    }
    gone = [f"{name} is missing" for name in sorted(stored.extensions - installed.keys())]
    if gone:
        return failed(checklist.EXTENSIONS, "; ".join(gone))
    had = {name: version for name, version in (manifest.extensions if manifest else {}).items() if version}
    others = [f"{n} {had[n]} on the source, {installed[n]} here" for n in had if installed.get(n, had[n]) != had[n]]
    if others:
        return warned(checklist.EXTENSIONS, "; ".join(others))
    return passed(
        checklist.EXTENSIONS, ", ".join(f"{n} {installed[n]}" for n in sorted(stored.extensions)) or "none required"
    )


def _sequences(connection: Connection, manifest: Manifest | None, _stored: DumpSummary) -> Check:
    """Check that the next value of each sequence is free. If the source's lagged too, the backup is not to blame."""
    behind, found = [], connection.query(_FILLED)
    for sequence, table, column, upwards in found:
        extreme = "max" if upwards else "min"
        value, called, reached = connection.query(
            f"SELECT last_value, is_called, (SELECT {extreme}({column}) FROM {table}) FROM {sequence}"
        )[0]
        # A sequence that was never called returns this very value next.
        free = called and value == reached
        if reached is not None and not free and (value <= reached if upwards else value >= reached):
            behind.append(f"{sequence} is at {value}, {table}.{column} at {reached}")
    if behind:
        source = ", as it did on the source" if manifest else ""
        return warned(checklist.SEQUENCES, "; ".join(behind[:5]) + source)
    return passed(checklist.SEQUENCES, f"{len(found)} of them fill a column, and none is behind it")


def _collations(connection: Connection, manifest: Manifest | None, _stored: DumpSummary) -> Check:
    row = connection.query(
        "SELECT datcollate, datctype, coalesce(to_jsonb(d)->>'datlocprovider', 'c'), coalesce(to_jsonb(d)->>'datlocale',"
        " to_jsonb(d)->>'daticulocale', ''), coalesce(to_jsonb(d)->>'datcollversion', '') FROM pg_database d"
        " WHERE datname = current_database()"
    )[0]
    here = (*map(str, row[:4]),)
    if manifest is None:
        return not_possible(checklist.COLLATIONS, "without a manifest, the source's collation is unknown")
    there = (manifest.collation, manifest.character_type, manifest.locale_provider, manifest.locale)
    if here != there:
        why = f"the source orders text by {_locale(there)}, which this server lacks; {_locale(here)} was used instead"
        return not_possible(checklist.COLLATIONS, why)
    if row[4] == manifest.collation_version:
        return passed(
            checklist.COLLATIONS, f"{_locale(here)}, {f'version {row[4]}' if row[4] else 'which has no versions'}"
        )
    # Every index was built here, with this version, so the difference breaks none of them.
    versions = f"version {manifest.collation_version or 'unknown'} on the source, {row[4] or 'unknown'} here"
    return passed(checklist.COLLATIONS, f"{_locale(here)}, {versions}; the restored indexes were built by the latter")


def _locale(locale: Sequence[str]) -> str:
    collation, _, provider, name = locale
    return f"{name} ({'ICU' if provider == 'i' else 'built in'})" if name else collation


def _count_tables(connection: Connection, _manifest: Manifest | None, stored: DumpSummary) -> Check:
    found = len(dumped_tables(connection))
    evidence = counted(found, "table")
    if found < len(stored.tables):
        return failed(checklist.TABLE_QUERY, f"{evidence}, {len(stored.tables)} in the backup")
    return passed(checklist.TABLE_QUERY, evidence)


def _count_rows(connection: Connection, manifest: Manifest | None, stored: DumpSummary) -> Check:
    counts = count_dumped_rows(connection)
    empty = manifest.left_out.rows_of.get(TABLE, ()) if manifest and manifest.left_out else ()
    others = [
        f"{n}: {t.rows} rows in the backup, {counts[n]} counted"
        for n, t in stored.tables.items()
        if counts.get(n, t.rows) != t.rows
    ]
    # Those of an extension have the rows of its script.
    made = tables_of_extensions(connection) if empty else set()
    others += [f"{n}: its rows were left out, {counts[n]} counted" for n in empty if counts.get(n) and n not in made]
    return compared(checklist.ROW_QUERY, others, counted(sum(counts.values()), "row"))


def _count_indexes(connection: Connection, _manifest: Manifest | None, _stored: DumpSummary) -> Check:
    return passed(checklist.INDEX_QUERY, counted(len(connection.query(_INDEXES)), "index", "indexes"))


_LOOKS: tuple[tuple[str, _SqlCheck], ...] = (
    (checklist.INDEXES, _indexes),
    (checklist.CONSTRAINTS, _constraints),
    (checklist.MATERIALIZED, _materialized),
    (checklist.EXTENSIONS, _extensions),
    (checklist.SEQUENCES, _sequences),
    (checklist.COLLATIONS, _collations),
    (checklist.TABLE_QUERY, _count_tables),
    (checklist.ROW_QUERY, _count_rows),
    (checklist.INDEX_QUERY, _count_indexes),
)
