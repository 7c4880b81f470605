"""Find what can't be restored from a dump because of what its selection leaves out: told when the backup is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocks.sql.connection import Connection
from tasks.engine.dump.left_out import LeftOut as Finding
from tasks.engine.dump.left_out import listed
from tasks.engine.repository.checks import counted
from tasks.engine.repository.omissions import Omissions

_TIMEOUT_S, _PUBLISHED = 60, 18
_MOST_NAMED, _AT_ONCE = 20, 4
_ALL_OUT = "leave it out, too, or back up what it needs"

# What is gone: the named relations, what is in a schema that is left out, and what belongs to an extension that is. Then
# the objects that need one of them, each with the relation that it is a part of: a rule is its view, a default its table.
_NEEDING = """
WITH relations AS (
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE quote_ident(n.nspname) = ANY (%s::text[])
  OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY (%s::text[])),
schemas AS (SELECT oid FROM pg_namespace WHERE quote_ident(nspname) = ANY (%s::text[])),
gone (classid, objid) AS (
  SELECT 'pg_class'::regclass::oid, oid FROM relations
  UNION SELECT 'pg_type'::regclass, t.oid FROM pg_type t WHERE t.typrelid IN (SELECT oid FROM relations)
    OR t.typelem IN (SELECT e.oid FROM pg_type e WHERE e.typrelid IN (SELECT oid FROM relations)) OR t.typnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE opcnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_collation'::regclass, oid FROM pg_collation WHERE collnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config WHERE cfgnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict WHERE dictnamespace IN (SELECT oid FROM schemas)
  UNION SELECT 'pg_extension'::regclass, oid FROM pg_extension WHERE quote_ident(extname) = ANY (%s::text[])
  UNION SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE d.deptype = 'e' AND quote_ident(e.extname) = ANY (%s::text[])
  -- Every new database has the schema public.
  UNION SELECT 'pg_namespace'::regclass, oid FROM schemas WHERE oid <> 'public'::regnamespace),
needs AS (
  SELECT DISTINCT d.classid, d.objid, d.refclassid, d.refobjid, coalesce(r.ev_class, a.adrelid, k.conrelid, t.tgrelid, p.polrelid, x.indrelid,
    CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END) AS part_of, r.rulename = '_RETURN' AS is_view
  FROM pg_depend d JOIN gone g ON (g.classid, g.objid) = (d.refclassid, d.refobjid)
  LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
  LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
  LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.conrelid <> 0
  LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
  LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
  LEFT JOIN pg_index x ON d.classid = 'pg_class'::regclass AND x.indexrelid = d.objid
  WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass,
    'pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_operator'::regclass, 'pg_extension'::regclass, 'pg_event_trigger'::regclass,
    'pg_cast'::regclass, 'pg_opclass'::regclass, 'pg_aggregate'::regclass, 'pg_publication_rel'::regclass, 'pg_publication_namespace'::regclass)
  AND (d.deptype = 'n' OR (%s AND d.classid IN ('pg_publication_rel'::regclass, 'pg_publication_namespace'::regclass)) OR (d.deptype = 'a' AND d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relispartition
    AND c.relkind IN ('r', 'p', 'f')))))
SELECT DISTINCT o.type || ' ' || o.identity, CASE WHEN n.refclassid = 'pg_namespace'::regclass THEN 'schema ' ELSE '' END || f.identity
FROM needs n, pg_identify_object(CASE WHEN n.is_view THEN 'pg_class'::regclass ELSE n.classid END, CASE WHEN n.is_view THEN n.part_of ELSE n.objid END, 0) o,
  pg_identify_object(n.refclassid, n.refobjid, 0) f
WHERE NOT EXISTS (SELECT FROM gone g WHERE (g.classid, g.objid) = (n.classid, n.objid))
AND NOT EXISTS (SELECT FROM gone g WHERE g.classid = 'pg_class'::regclass AND g.objid = n.part_of)
AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.deptype = 'e' AND (e.classid, e.objid) = (n.classid, n.objid))
AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = 'pg_class'::regclass AND e.objid = n.part_of)
AND NOT EXISTS (SELECT FROM pg_trigger t WHERE n.classid = 'pg_trigger'::regclass AND t.oid = n.objid AND t.tgisinternal)
AND NOT EXISTS (SELECT FROM pg_class c WHERE n.classid = 'pg_class'::regclass AND c.oid = n.objid AND (c.relkind IN ('t', 'c')
  OR c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')))
AND coalesce(o.schema, '') !~ '^pg_' ORDER BY 1, 2 LIMIT 1000"""
_REFERRING = """
SELECT quote_ident(k.conname) || ' on ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname),
  quote_ident(rn.nspname) || '.' || quote_ident(r.relname)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE k.contype = 'f' AND k.convalidated
AND quote_ident(rn.nspname) || '.' || quote_ident(r.relname) = ANY (%s::text[])
AND quote_ident(n.nspname) || '.' || quote_ident(c.relname) <> ALL (%s::text[])
AND quote_ident(n.nspname) <> ALL (%s::text[]) ORDER BY 1, 2 LIMIT 1000"""
_COMPUTED = """
SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_depend d
JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
JOIN pg_class c ON c.oid = w.ev_class AND c.relkind = 'm' JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON d.refclassid = 'pg_class'::regclass AND r.oid = d.refobjid JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE quote_ident(rn.nspname) || '.' || quote_ident(r.relname) = ANY (%s::text[])
AND quote_ident(n.nspname) || '.' || quote_ident(c.relname) <> ALL (%s::text[])
AND quote_ident(n.nspname) <> ALL (%s::text[]) ORDER BY 1 LIMIT 1000"""


def what_needs_it(
    connection: Connection, left_out: Omissions | None, major: int, options: Sequence[str] = ()
) -> list[Finding]:
    """Return what a selection makes impossible to restore, or different; the session searches pg_catalog alone."""
    if left_out is None:
        return []
    gone = [name for names in left_out.relations.values() for name in names]
    without_rows = [name for names in left_out.rows_of.values() for name in names]
    schemas, extensions = list(left_out.schemas), list(left_out.extensions)
    with connection.read_only(_TIMEOUT_S):
        # From version 18 on, pg_dump dumps that a publication has a table even if it doesn't dump the table.
        published = major >= _PUBLISHED and "--no-publications" not in options
        needing = connection.query(_NEEDING, schemas, gone, schemas, extensions, extensions, published)
        both = (without_rows, [*gone, *without_rows], schemas)
        referring, computed = connection.query(_REFERRING, *both), connection.query(_COMPUTED, *both)
    return [*_unrestorable(needing), *_without_their_rows(referring), *_emptier([str(row[0]) for row in computed])]


def _unrestorable(needing: Sequence[Sequence[object]]) -> Iterator[Finding]:
    many = counted(len({what for what, _ in needing}), "object")
    lead = f"{many} can't be restored, because the selection leaves out what it needs"
    return _in_turn(lead, [f"{what} needs {needed}" for what, needed in needing], _ALL_OUT)


def _without_their_rows(referring: Sequence[Sequence[object]]) -> Iterator[Finding]:
    many = counted(len(referring), "foreign key")
    lead = f"{many} can't be restored unless its table is empty, because the rows it refers to are left out"
    said = [f"{what} refers to {table}" for what, table in referring]
    return _in_turn(lead, said, "leave out the rows of both tables, or of neither")


def _in_turn(lead: str, said: Sequence[str], hint: str) -> Iterator[Finding]:
    """Yield several findings for many names: each is cut at a length."""
    for at in range(0, min(len(said), _MOST_NAMED), _AT_ONCE):
        rest = len(said) - _MOST_NAMED if at + _AT_ONCE >= _MOST_NAMED else 0
        more = f" and {rest:,} more" if rest > 0 else ""
        yield Finding(f"{lead}: {', '.join(said[at : at + _AT_ONCE])}{more}", hint)


def _emptier(computed: Sequence[str]) -> Iterator[Finding]:
    if computed:
        many = counted(len(computed), "materialized view")
        text = f"{many} will be computed without the rows that are left out: {listed(computed)}"
        yield Finding(text, "refresh it when those rows are back")
