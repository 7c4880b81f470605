"""Count with SQL the rows that a dump holds of each table; of an extension's tables, those are not all rows."""

from __future__ import annotations

from blocks.sql.connection import Connection

# The tables whose rows pg_dump dumps: ordinary tables, and those of an extension that it declares as user data. For
# these the extension can set a condition, which leaves out the rows that CREATE EXTENSION inserts.
_TABLES = """
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), coalesce((
  SELECT x.extcondition[pg_catalog.array_position(x.extconfig, c.oid)] FROM pg_catalog.pg_extension x
  WHERE c.oid = ANY (x.extconfig) ORDER BY x.oid DESC LIMIT 1), '')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_(toast|temp|catalog)' AND n.nspname <> 'information_schema'
AND (NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  AND e.objid = c.oid AND e.deptype = 'e')
OR EXISTS (SELECT FROM pg_catalog.pg_extension x WHERE c.oid = ANY (x.extconfig))) ORDER BY 1"""

_OF_EXTENSIONS = """
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
FROM pg_catalog.pg_depend e JOIN pg_catalog.pg_class c ON c.oid = e.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.deptype = 'e'"""


def dumped_tables(connection: Connection) -> dict[str, str]:
    """Return the tables whose rows a dump holds, each with its extension's condition; most have none."""
    return {str(name): str(condition) for name, condition in connection.query(_TABLES)}


def tables_of_extensions(connection: Connection) -> set[str]:
    """Return the tables that extensions made."""
    return {str(row[0]) for row in connection.query(_OF_EXTENSIONS)}


def count_dumped_rows(connection: Connection) -> dict[str, int]:
    """Count the rows of each table that pg_dump would dump.

    A condition is SQL from the database, which pg_dump runs as is. Here it can neither write nor end its query.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY; SET LOCAL row_security = off")
        return {t: _count(connection, t, condition) for t, condition in dumped_tables(connection).items()}


def _count(connection: Connection, table: str, condition: str) -> int:
    # Close on a new line, because a condition can end with a comment. Like pg_dump, include the table's children.
    rows = f"(SELECT * FROM {table} {condition}\n) dumped" if condition else f"ONLY {table}"
    ((number,),) = connection.stream(f"SELECT pg_catalog.count(*) FROM {rows}")
    return int(number)
