"""Compute in a restore under the settings by which the source computed: checks, generated columns, indexes, materialized views.

pg_dump writes rows in a form that every session reads alike. What a restore derives from them follows the session's settings:
`at::date` is another day in another time zone. So a manifest says what the source had, and psql's session gets that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from blocks.errors import DatabaseError
from blocks.sql.connection import Connection
from tasks.engine.dump.text_settings import FORCED_VALUES

# What a session can set, and what values are computed by.
COMPUTED_BY = ("TimeZone", "timezone_abbreviations", "DateStyle", "IntervalStyle", "bytea_output", "extra_float_digits",
               "default_text_search_config", "lc_time", "lc_numeric", "xmlbinary")  # fmt: skip
# The same of extensions: whoever may set anything may set these, and none of them holds a secret.
OF_EXTENSIONS = ("unit.byte_output_iec", "unit.output_base_units", "unit.output_superscript", "unit.time_output_custom",
                 "pg_trgm.similarity_threshold", "pg_trgm.word_similarity_threshold", "pg_trgm.strict_word_similarity_threshold",
                 "orafce.nls_date_format", "orafce.timezone", "orafce.varchar2_null_safe_concat", "isn.weak")  # fmt: skip
_EFFECTIVE = """
SELECT name, pg_catalog.current_setting(name, true) FROM pg_catalog.unnest(%s::text[]) AS s (name)
WHERE pg_catalog.current_setting(name, true) OPERATOR(pg_catalog.<>) ''"""
# What the database or the role has set besides. A name is all that is taken: such a setting may hold a key.
_OWN = """
SELECT DISTINCT pg_catalog.split_part(s.setting, '=', 1)
FROM pg_catalog.pg_db_role_setting x, pg_catalog.unnest(x.setconfig) AS s (setting)
WHERE x.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
AND x.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)) ORDER BY 1"""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}(?:\.[A-Za-z_][A-Za-z0-9_$]{0,62})+")
_MOST, _LONGEST = 100, 200
_PLAIN = re.compile(r"[\x20-\x5b\x5d-\x7e]*")


@dataclass(frozen=True)
class SourceSettings:
    """The settings by which a source computes values, and the names of those that it has and a restore will not have."""

    values: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def read_settings(connection: Connection) -> SourceSettings:
    """Ask a database for its settings, as a session there has them."""
    wanted = [*COMPUTED_BY, *OF_EXTENSIONS]
    found = {str(name): str(value) for name, value in connection.query(_EFFECTIVE, wanted)}
    noted = usable(found)
    own = [str(name) for (name,) in connection.query(_OWN)]
    others = [name for name in own if _NAME.fullmatch(name) and name not in noted]
    forced = [name for name, value in FORCED_VALUES.items() if _setting(connection, name) not in (value, None)]
    return SourceSettings(noted, (*forced, *others, *(found.keys() - noted.keys()))[:_MOST])


def _setting(connection: Connection, name: str) -> str | None:
    ((value,),) = connection.query("SELECT pg_catalog.current_setting(%s, true)", name)
    return None if value is None else str(value)


def usable(settings: Mapping[str, str]) -> dict[str, str]:
    """Those that a session may be told: nothing else, whoever wrote them down."""
    known = {name: value for name, value in settings.items() if name in COMPUTED_BY or name in OF_EXTENSIONS}
    plain = {name: value for name, value in known.items() if len(value) <= _LONGEST and _PLAIN.fullmatch(value)}
    return dict(sorted(plain.items()))


def of_extensions(settings: Mapping[str, str]) -> dict[str, str]:
    """Those by which extensions print their values: a copy has to be dumped under them as well."""
    return {name: value for name, value in usable(settings).items() if name in OF_EXTENSIONS}


def settable(connection: Connection, settings: Mapping[str, str]) -> dict[str, str]:
    """Those that a session can have there: a time zone or a dictionary may not be installed."""
    found = {}
    for name, value in usable(settings).items():
        try:
            with connection.transaction():
                connection.query("SELECT pg_catalog.set_config(%s, %s, true)", name, value)
        except DatabaseError:
            if connection.lost:
                raise
        else:
            found[name] = value
    return found


def as_statements(settings: Mapping[str, str]) -> str:
    """The statements that give psql's session such settings."""
    quoted = [(name, value.replace("'", "''")) for name, value in usable(settings).items()]
    return "".join(f"SELECT pg_catalog.set_config('{name}', '{value}', false);\n" for name, value in quoted)


def as_options(settings: Mapping[str, str]) -> str:
    """The same as options of libpq, in which a space is written with a backslash."""
    return " ".join("-c " + f"{name}={value}".replace(" ", "\\ ") for name, value in usable(settings).items())
