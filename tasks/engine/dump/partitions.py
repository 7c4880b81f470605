"""Read which tables are partitions, and of what: a dump writes the rows of each partition by itself."""

from __future__ import annotations

from blocks.sql.connection import Connection

# A table that merely inherits from another has rows of its own kind; names as in the COPY statements of a dump.
_TOPMOST = """
WITH RECURSIVE up (child, parent) AS (
  SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r' AND c.relispartition
  UNION ALL
  SELECT u.child, i.inhparent FROM up u JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.parent
)
SELECT pg_catalog.format('%I.%I', cn.nspname, c.relname), pg_catalog.format('%I.%I', pn.nspname, p.relname)
FROM up u
JOIN pg_catalog.pg_class c ON c.oid = u.child JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = u.parent JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = u.parent)
ORDER BY 1"""


def read_partitions(connection: Connection) -> dict[str, str]:
    """Return the topmost table of each partition."""
    return {str(child): str(parent) for child, parent in connection.query(_TOPMOST)}
