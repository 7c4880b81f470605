"""Find what can't be restored from a dump because of what its selection leaves out: told when the backup is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocks.errors import DatabaseError
from blocks.sql.connection import Connection
from tasks.engine.dump.left_out import LeftOut as Finding
from tasks.engine.dump.left_out import listed
from tasks.engine.repository.checks import counted
from tasks.engine.repository.omissions import Omissions

_TIMEOUT_S = 60
_MOST_NAMED, _AT_ONCE = 20, 4
_UNKNOWN = "Could not look for all that can't be restored without what is left out"
_ALL_OUT = "leave it out, too, or back up what it needs"
# What an option of pg_dump leaves out of every dump.
_WITH_OPTION = {
    "--no-publications": ("pg_publication_rel", "pg_publication_namespace"),
    "--no-policies": ("pg_policy",),
}
# What pg_dump, since a version, dumps even if it doesn't dump the table or schema that it is about.
_DUMPED_ANYWAY = {
    "pg_publication_rel": 18,
    "pg_publication_namespace": 18,
}

# What the catalog says of dependencies (https://www.postgresql.org/docs/current/catalog-pg-depend.html), in three words.
# `part`: comes and goes with the other, as a column's default with its table. `member`: is in a schema, or of an extension.
# `needs`: must be created after the other; named is the whole that it is a part of, as a view for its rule.
_EDGES = """
LATERAL (
  SELECT d.classid, d.objid, d.refclassid, d.refobjid, coalesce(w.refclassid, d.classid) AS class, coalesce(w.refobjid, d.objid) AS obj,
  CASE
    WHEN d.deptype = 'i' THEN 'part'
    -- A foreign key to a partitioned table can do without one of the partitions.
    WHEN k.conparentid <> 0 THEN NULL
    WHEN d.deptype = 'e' THEN 'member'
    -- CREATE EXTENSION makes it, whatever it needs.
    WHEN m.objid IS NOT NULL THEN NULL
    WHEN d.deptype = 'n' AND d.refclassid = 'pg_namespace'::regclass AND d.classid <> 'pg_extension'::regclass THEN 'member'
    -- Every new database has the schema public.
    WHEN d.classid = ANY (%s::text[]::regclass[]) OR d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace('public') THEN NULL
    WHEN d.deptype IN ('n', 'x') THEN 'needs'
    WHEN d.deptype NOT IN ('a', 'S') OR c.relkind = 'S' THEN NULL
    -- These are dumped even if what they depend on is left out.
    WHEN d.classid = ANY (%s::text[]::regclass[]) AND d.refclassid <> 'pg_publication'::regclass THEN 'needs'
    WHEN c.relispartition AND c.relkind IN ('r', 'p', 'f') OR d.classid = 'pg_opclass'::regclass THEN 'needs'
    WHEN d.classid IN ('pg_amop'::regclass, 'pg_amproc'::regclass) AND d.refclassid <> 'pg_opfamily'::regclass THEN 'needs'
    ELSE 'part'
  END AS how
  FROM pg_depend d
  LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
  LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.contype = 'f'
  LEFT JOIN pg_depend w ON w.deptype = 'i' AND (w.classid, w.objid) = (d.classid, d.objid)
  LEFT JOIN pg_depend m ON m.deptype = 'e' AND m.classid = coalesce(w.refclassid, d.classid) AND m.objid = coalesce(w.refobjid, d.objid)
  WHERE (d.refclassid, d.refobjid) = (r.classid, r.objid)
  -- A step looks up what it needs: without this, the server would read all dependencies at each of them.
  OFFSET 0) e"""
# From what is gone (the named relations, schemas and extensions; nobody dumps temporary tables either) to all that is gone
# with it, and from there to what can't be restored, and to what can't because of that. `class` and `obj` are the whole.
_NEEDING = f"""
WITH RECURSIVE reach (classid, objid, class, obj, gone) AS (
  SELECT s.classid, s.objid, s.classid, s.objid, true FROM (
    SELECT 'pg_class'::regclass::oid AS classid, c.oid AS objid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY (%s::text[]) OR c.relpersistence = 't'
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE quote_ident(nspname) = ANY (%s::text[])
    UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension WHERE quote_ident(extname) = ANY (%s::text[])) s
  UNION
  SELECT CASE how WHEN 'needs' THEN e.class ELSE e.classid END, CASE how WHEN 'needs' THEN e.obj ELSE e.objid END,
    CASE WHEN how = 'needs' THEN e.class WHEN how = 'member' AND r.gone THEN e.classid ELSE r.class END,
    CASE WHEN how = 'needs' THEN e.obj WHEN how = 'member' AND r.gone THEN e.objid ELSE r.obj END, r.gone AND how <> 'needs'
  FROM reach r, {_EDGES} WHERE how IS NOT NULL)
SELECT n.what, n.needed FROM (
  SELECT o.type || ' ' || o.identity AS what, CASE WHEN f.schema IS NULL THEN f.type || ' ' ELSE '' END || f.identity AS needed, bool_or(r.gone) AS first
  FROM reach r, {_EDGES}, pg_identify_object(e.class, e.obj, 0) o, pg_identify_object(r.class, r.obj, 0) f
  WHERE how = 'needs' AND coalesce(o.schema, '') !~ '^pg_'
  AND NOT EXISTS (SELECT FROM reach p WHERE (p.classid, p.objid, p.class, p.obj) = (e.class, e.obj, r.class, r.obj))
  AND NOT EXISTS (SELECT FROM reach g WHERE g.gone AND (g.classid, g.objid) = (e.class, e.obj))
  -- Parts of what CREATE EXTENSION makes.
  AND NOT EXISTS (SELECT FROM pg_depend p JOIN pg_depend m ON m.deptype = 'e' AND (m.classid, m.objid) = (p.refclassid, p.refobjid)
    WHERE p.deptype IN ('a', 'i') AND (p.classid, p.objid) = (e.class, e.obj))
  GROUP BY 1, 2) n
ORDER BY n.first DESC, 1, 2 LIMIT 1000"""
# Of a partitioned table, each partition has a constraint of its own, which is part of one and in no dump.
_REFERRING = """
WITH RECURSIVE named (oid, name, schema) AS MATERIALIZED (
  SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(n.nspname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')),
whole (part, oid, parent) AS (
  SELECT oid, oid, conparentid FROM pg_constraint WHERE contype = 'f' AND convalidated
  UNION ALL SELECT w.part, k.oid, k.conparentid FROM whole w JOIN pg_constraint k ON k.oid = w.parent)
SELECT quote_ident(k.conname) || ' on ' || c.name, min(r.name)
FROM whole w JOIN pg_constraint p ON p.oid = w.part JOIN pg_constraint k ON k.oid = w.oid
JOIN named c ON c.oid = k.conrelid JOIN named r ON r.oid = p.confrelid JOIN named t ON t.oid = k.confrelid
WHERE w.parent = 0 AND r.name = ANY (%s::text[]) AND t.name <> ALL (%s::text[])
AND c.name <> ALL (%s::text[]) AND c.schema <> ALL (%s::text[]) GROUP BY 1 ORDER BY 1 LIMIT 1000"""
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
    both, schemas = [*gone, *without_rows], list(left_out.schemas)
    with connection.read_only(_TIMEOUT_S):
        referring = connection.query(_REFERRING, both, gone, both, schemas)
        computed = connection.query(_COMPUTED, without_rows, both, schemas)
    found = [*_without_their_rows(referring), *_emptier([str(row[0]) for row in computed])]
    try:
        with connection.read_only(_TIMEOUT_S):
            return [*_unrestorable(dependents(connection, left_out, major, options)), *found]
    except DatabaseError as error:
        if connection.lost:
            raise
        return [Finding(f"{_UNKNOWN}: {error.sentence}", error.hint), *found]


def dependents(
    connection: Connection, left_out: Omissions, major: int, options: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Return what can't be restored, each with what it needs: first what is left out, then what can't be restored either.

    What the body of a function needs if that is a string, nobody knows: the catalog doesn't.
    """
    gone = [name for names in left_out.relations.values() for name in names]
    never = [catalog for option, catalogs in _WITH_OPTION.items() if option in options for catalog in catalogs]
    always = [catalog for catalog, since in _DUMPED_ANYWAY.items() if major >= since]
    seeds = gone, list(left_out.schemas), list(left_out.extensions)
    found = connection.query(_NEEDING, *seeds, never, always, never, always)
    return [(str(what), str(needed)) for what, needed in found]


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
