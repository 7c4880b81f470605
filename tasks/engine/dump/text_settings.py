"""Keep settings of a role, database or server from changing what a dump says, or how it is read.

What pg_dump takes care of itself is not here: DateStyle, IntervalStyle, extra_float_digits, synchronize_seqscans,
row_security, search_path and timeouts in its own session; standard_conforming_strings, client_encoding, xmloption,
default_tablespace, default_table_access_method and check_function_bodies in what it writes
(https://www.postgresql.org/docs/current/runtime-config-client.html).
The environment sets TimeZone to UTC for every child; the session of a restore has the source's: `source_settings`.
"""

from __future__ import annotations

from typing import Any

from blocks.sql.connection import Connection
from tasks.engine.repository.manifest import Manifest

# For pg_dump's session. Without these, a row could be printed in two ways, and a copy would not compare equal.
WRITTEN_UNDER = {"bytea_output": "hex", "quote_all_identifiers": "off", "standard_conforming_strings": "on"}
# The lc_monetary under which `money` is written and read: every server has it. The stored number comes back unchanged,
# however the lc_monetary of either side displays it.
MONETARY = "C"
# For the session of a restore; settings that the server does not know are skipped.
READ_UNDER = {
    "array_nulls": "on",  # otherwise NULL in an array is the text "NULL"
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "icu_validation_level": "warning",  # otherwise a collation that the source has can be refused
    "standard_conforming_strings": "on",  # the reader assumes it: otherwise a string ends elsewhere for the server
    "restrict_nonsystem_relation_kind": "",  # otherwise a materialized view over views is not filled
    "transform_null_equals": "off",
    "xmloption": "content",
}
# Those of them that a source can have set differently and that affect computed values: a cast to an array or to xml.
FORCED_VALUES = {name: READ_UNDER[name] for name in ("array_nulls", "xmloption")}
MONEY_HINT = "take a new backup, which is written under one lc_monetary everywhere; or use a server with the source's"
_CURRENT = "SELECT pg_catalog.current_setting(%s)"
# Two amounts that show where locales differ: the sign and its place, the symbol, the grouping and the number of digits.
_AMOUNTS = "SELECT (1234567.89)::pg_catalog.numeric::pg_catalog.money::text, (-5.5)::pg_catalog.numeric::pg_catalog.money::text"
_IN_C = ("$1,234,567.89", "-$5.50")
# The types that contain money at any depth: arrays, domains, ranges, rows with such a column.
_OF_MONEY = """
WITH RECURSIVE of_money (type) AS (
  SELECT 'pg_catalog.money'::pg_catalog.regtype::oid
  UNION SELECT more.type FROM of_money m JOIN (
    SELECT typelem AS part, oid AS type FROM pg_catalog.pg_type WHERE typelem <> 0
    UNION ALL SELECT typbasetype, oid FROM pg_catalog.pg_type WHERE typbasetype <> 0
    UNION ALL SELECT rngsubtype, rngtypid FROM pg_catalog.pg_range
    UNION ALL SELECT rngtypid, rngmultitypid FROM pg_catalog.pg_range
    UNION ALL SELECT a.atttypid, c.reltype FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
      WHERE a.attnum > 0 AND NOT a.attisdropped AND c.reltype <> 0) AS more ON more.part = m.type)
"""
_TABLES_WITH_MONEY = (
    _OF_MONEY
    + """
SELECT DISTINCT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
FROM pg_catalog.pg_attribute a JOIN of_money m ON m.type = a.atttypid
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')"""
)


def forced_for_dump(connection: Connection, *, monetary: bool = True) -> dict[str, str]:
    """Return the settings that pg_dump's session needs, found out in a session that starts as pg_dump's will.

    Only those needed, because poolers refuse such options. Without `monetary`, money stays as the database prints it.
    """
    connection.execute("RESET quote_all_identifiers")  # every session of ours sets it
    forced = {n: v for n, v in WRITTEN_UNDER.items() if connection.query(_CURRENT, n)[0][0] != v}
    # Don't look for columns of type money: a constant in a view, a check or a default belongs to no column.
    if monetary and connection.query(_AMOUNTS)[0] != _IN_C:
        forced["lc_monetary"] = MONETARY
    return forced


def monetary_of(manifest: Manifest | None) -> str:
    """Return the lc_monetary under which to read a backup's money; empty if only the server's own can be tried."""
    return MONETARY if manifest and manifest.lc_monetary == MONETARY else ""


def read_under(manifest: Manifest | None) -> dict[str, Any]:
    """Return the settings under which to read a backup and dump its copy: `monetary` and `settings`."""
    return {"monetary": monetary_of(manifest), "settings": manifest.source_settings if manifest else {}}


def tables_with_money(connection: Connection) -> frozenset[str]:
    """Return the tables whose rows read differently under a different lc_monetary."""
    return frozenset(str(row[0]) for row in connection.query(_TABLES_WITH_MONEY))


def read_preamble(monetary: str) -> str:
    """Return the first query of a restore's session; an empty `monetary` leaves the server's own."""
    wanted = {**READ_UNDER, **({"lc_monetary": monetary} if monetary else {})}
    values = ", ".join(f"('{name}', '{value}')" for name, value in wanted.items())
    return (
        f"SELECT pg_catalog.set_config(v.name, v.value, false) FROM (VALUES {values}) AS v (name, value)"
        " JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) v.name"
    )
