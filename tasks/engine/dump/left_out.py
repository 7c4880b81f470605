"""Find what pg_dump leaves out of a dump without an error, and mostly without a word.

`check` looks for it before the first backup, and so does every backup: otherwise a drill would call a backup PROVEN
that is as incomplete as its dump.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.sql.connection import Connection
from blocks.sql.server import Server
from tasks.engine.repository.checks import counted

_TIMEOUT_S = 60
_SHOWN = 5

# Tables that belong to an extension but that it does not declare as data (pg_extension_config_dump).
_EXTENSION_TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), e.extname, array(SELECT e.xmin::text UNION SELECT m.xmin::text
 FROM pg_depend m WHERE m.classid = 'pg_extension'::regclass AND m.objid = e.oid),
 greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid)), has_schema_privilege(n.oid, 'USAGE') AND
 has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
AND c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid <> ALL (coalesce(e.extconfig, '{}'))
AND (c.relpersistence = 'p' OR NOT pg_is_in_recovery()) AND pg_relation_size(c.oid) > 0
ORDER BY 4 DESC, 1 LIMIT 200"""
# Those it does declare, with a condition that leaves out the rows from its own script.
_DECLARED_TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), e.extname, array(SELECT e.xmin::text UNION SELECT m.xmin::text
 FROM pg_depend m WHERE m.classid = 'pg_extension'::regclass AND m.objid = e.oid), e.extcondition[array_position(e.extconfig, c.oid)]
FROM pg_extension e JOIN pg_class c ON c.oid = ANY (e.extconfig) JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND coalesce(e.extcondition[array_position(e.extconfig, c.oid)], '') <> '' AND has_schema_privilege(n.oid, 'USAGE')
AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid) ORDER BY 1 LIMIT 200"""
_UNLOGGED = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE pg_is_in_recovery() AND c.relpersistence = 'u' AND c.relkind IN ('r', 'S') AND n.nspname !~ '^pg_' ORDER BY 1"""
_SUBSCRIPTIONS = """
SELECT quote_ident(s.subname) FROM pg_subscription s
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1"""
# Follows the rules of the view pg_user_mappings, which pg_dump reads.
_USER_MAPPINGS = """
SELECT CASE m.umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(m.usename) END || ' on ' || quote_ident(m.srvname)
FROM pg_user_mappings m JOIN pg_foreign_server s ON s.oid = m.srvid
WHERE m.umoptions IS NULL AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND NOT CASE m.umuser
WHEN 0 THEN pg_has_role(s.srvowner, 'USAGE')
ELSE m.usename = current_user AND (pg_has_role(s.srvowner, 'USAGE') OR has_server_privilege(s.oid, 'USAGE')) END ORDER BY 1"""
_INVALID_INDEXES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT (i.indisready AND (i.indisvalid OR t.relkind = 'p')) AND t.relpersistence <> 't' AND n.nspname !~ '^pg_' ORDER BY 1"""
# 16384 is the first OID that a server gives to users' objects.
_IN_SYSTEM_SCHEMAS = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(o.name) FROM (
SELECT 'pg_proc'::regclass AS kind, oid, pronamespace AS schema, proname AS name FROM pg_proc
UNION ALL SELECT 'pg_class'::regclass, oid, relnamespace, relname FROM pg_class
WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace, typname FROM pg_type WHERE typtype IN ('b', 'd', 'e', 'r')
UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace, collname FROM pg_collation
UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace, conname FROM pg_conversion
UNION ALL SELECT 'pg_opclass'::regclass, oid, opcnamespace, opcname FROM pg_opclass
UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace, opfname FROM pg_opfamily
UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace, cfgname FROM pg_ts_config
UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace, dictname FROM pg_ts_dict
UNION ALL SELECT 'pg_ts_parser'::regclass, oid, prsnamespace, prsname FROM pg_ts_parser
UNION ALL SELECT 'pg_ts_template'::regclass, oid, tmplnamespace, tmplname FROM pg_ts_template
UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace, oprname FROM pg_operator) o
JOIN pg_namespace n ON n.oid = o.schema
WHERE o.oid >= 16384 AND (n.nspname = 'information_schema' OR n.nspname ~ '^pg_' AND n.nspname !~ '^pg_(toast|temp|toast_temp)(_|$)')
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.kind AND d.objid = o.oid AND d.deptype IN ('e', 'i')) ORDER BY 1"""


@dataclass(frozen=True)
class LeftOut:
    """One kind of object that is missing: a sentence that names the first few, and what to do."""

    text: str
    hint: str
    said_by_pg_dump: str = ""


@dataclass(frozen=True)
class _Kind:
    question: str
    noun: str
    plural: str
    why: str
    hint: str
    said_by_pg_dump: str = ""


_KINDS = (
    _Kind(_UNLOGGED, "unlogged table", "unlogged tables", "a standby has no rows for it",
          "back up the primary, or make what matters a logged table: ALTER TABLE … SET LOGGED"),
    _Kind(_SUBSCRIPTIONS, "subscription", "subscriptions", "pg_dump leaves it out when the role is not a superuser",
          "back up as a superuser, or keep the CREATE SUBSCRIPTION somewhere else", "subscriptions not dumped"),
    _Kind(_USER_MAPPINGS, "user mapping", "user mappings", "the role is not allowed to see its options, so it is dumped without any",
          "back up as a superuser, or keep the options somewhere else"),
    _Kind(_INVALID_INDEXES, "invalid index", "invalid indexes", "pg_dump leaves it out",
          "REINDEX INDEX CONCURRENTLY makes it valid; drop what a failed CREATE INDEX CONCURRENTLY left behind"),
    _Kind(_IN_SYSTEM_SCHEMAS, "object in a system schema", "objects in a system schema", "pg_dump leaves it out",
          "create it in your own schema"),
)  # fmt: skip


def what_is_left_out(server: Server) -> list[LeftOut]:
    """Return everything that a dump by this role should contain but will not; raises DatabaseError."""
    with server.connect() as connection, connection.read_only(_TIMEOUT_S):
        tables = list(_extension_tables(connection))
        tables += _changed_tables(connection)
        kinds = [_finding(kind, [str(row[0]) for row in connection.query(kind.question)]) for kind in _KINDS]
    return [*tables, *(found for found in kinds if found)]


def _finding(kind: _Kind, names: Sequence[str]) -> LeftOut | None:
    if not names:
        return None
    text = f"{counted(len(names), kind.noun, kind.plural)}: {listed(names)}; {kind.why}"
    return LeftOut(text, kind.hint, kind.said_by_pg_dump)


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _extension_tables(connection: Connection) -> Iterator[LeftOut]:
    """Yield tables with rows that CREATE EXTENSION will not bring back; it does bring back those of its own script."""
    for name, extension, scripts, about, readable in connection.query(_EXTENSION_TABLES):
        if readable and not _has_other_rows(connection.query, str(name), scripts):
            continue
        if not readable and about <= 0:
            continue
        yield extension_table(str(name), str(extension), int(about))


def _changed_tables(connection: Connection) -> Iterator[LeftOut]:
    """Yield tables where users changed rows of an extension's script.

    No dump holds such rows, and CREATE EXTENSION brings back the originals.
    """
    for name, extension, scripts, condition in connection.query(_DECLARED_TABLES):
        quoted, held = str(name).replace("%", "%%"), str(condition).replace("%", "%%")
        statement = (
            f"SELECT count(*) FROM ONLY {quoted} WHERE xmin::text <> ALL (%s::text[])"
            f" AND ctid <> ALL (ARRAY(SELECT ctid FROM ONLY {quoted} {held}\n))"
        )
        ((changed,),) = connection.query(statement, scripts)
        if changed:
            text = f"{name} has {counted(changed, 'changed row')} of extension {extension}: a restore brings back the extension's own version"
            yield LeftOut(
                text,
                "keep such rows under your own keys, which the extension leaves to you, or keep the statements that change them",
            )


def extension_table(name: str, extension: str, about: int) -> LeftOut:
    """Describe one table; `about` is an estimate of its rows, 0 or less if unknown."""
    rows = f"about {counted(about, 'row')}" if about > 0 else "with rows"
    text = f"{name} ({rows}) belongs to extension {extension}, which does not declare it as data: pg_dump leaves it out"
    hint = "take it out of the extension with ALTER EXTENSION … DROP TABLE, or back up its rows in another way"
    return LeftOut(text, hint)


def _has_other_rows(query: Callable[..., list[tuple[Any, ...]]], name: str, scripts: list[str]) -> bool:
    """Whether any row comes from a transaction other than those that installed and last updated the extension."""
    # The name was quoted by the server.
    quoted = name.replace("%", "%%")
    statement = f"SELECT EXISTS (SELECT FROM ONLY {quoted} WHERE xmin::text <> ALL (%s::text[]))"
    return bool(query(statement, scripts)[0][0])
