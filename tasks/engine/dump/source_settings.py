"""Make a restore compute checks, generated columns, indexes and materialized views under the source's settings.

pg_dump writes rows in a form that every session reads alike. What a restore derives from them depends on the session's
settings: `at::date` is a different day in a different time zone. So the manifest records the source's settings, and
the session of a restore gets them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from blocks.errors import DatabaseError
from blocks.sql.connection import Connection
from tasks.engine.dump.text_settings import FORCED_VALUES

# The settings that a session can set and that affect computed values.
COMPUTED_BY = ("TimeZone", "timezone_abbreviations", "DateStyle", "IntervalStyle", "bytea_output", "extra_float_digits",
               "default_text_search_config", "lc_time", "lc_numeric", "xmlbinary")  # fmt: skip
# The same for extensions: any role can set these, and none of them holds a secret.
OF_EXTENSIONS = ("unit.byte_output_iec", "unit.output_base_units", "unit.output_superscript", "unit.time_output_custom",
                 "pg_trgm.similarity_threshold", "pg_trgm.word_similarity_threshold", "pg_trgm.strict_word_similarity_threshold",
                 "orafce.nls_date_format", "orafce.timezone", "orafce.varchar2_null_safe_concat", "isn.weak")  # fmt: skip
_EFFECTIVE = """
SELECT name, pg_catalog.current_setting(name, true) FROM pg_catalog.unnest(%s::text[]) AS s (name)
WHERE pg_catalog.current_setting(name, true) OPERATOR(pg_catalog.<>) ''"""
# What else the database or the role has set. Only the name is recorded: such a setting can hold a key.
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
    """The settings under which a source computes values, and the names of those that a restore will not have."""

    values: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def read_settings(connection: Connection) -> SourceSettings:
    """Read a database's settings as a session there has them."""
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
    """Return the settings that a session may be given, and no others, wherever they come from."""
    known = {name: value for name, value in settings.items() if name in COMPUTED_BY or name in OF_EXTENSIONS}
    plain = {name: value for name, value in known.items() if len(value) <= _LONGEST and _PLAIN.fullmatch(value)}
    return dict(sorted(plain.items()))


def of_extensions(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings under which extensions print their values: a copy must be dumped under them too."""
    return {name: value for name, value in usable(settings).items() if name in OF_EXTENSIONS}


def settable(connection: Connection, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that a session can use there: a time zone or a dictionary may not be installed."""
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


def as_options(settings: Mapping[str, str]) -> str:
    """Return the settings as libpq options, in which a space is escaped with a backslash."""
    return " ".join("-c " + f"{name}={value}".replace(" ", "\\ ") for name, value in usable(settings).items())
