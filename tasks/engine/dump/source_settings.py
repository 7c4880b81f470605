"""Compute in a restore under the settings by which the source computed: checks, generated columns, indexes, materialized views.

pg_dump writes rows in a form that every session reads alike. What a restore derives from them follows the session's settings:
`at::date` is another day in another time zone. So a manifest says what the source had, and psql's session gets that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from blocks.errors import DatabaseError
from blocks.sql.connection import Connection

# What a session can set, and what values are computed by.
COMPUTED_BY = ("TimeZone", "DateStyle", "IntervalStyle", "bytea_output", "extra_float_digits", "default_text_search_config",
               "lc_time", "lc_numeric", "xmlbinary")  # fmt: skip
_EFFECTIVE = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY (%s)"
# Settings of extensions that the database or the role has; the role's go before the database's.
_OWN = """
SELECT split_part(s.setting, '=', 1), substr(s.setting, strpos(s.setting, '=') + 1)
FROM pg_catalog.pg_db_role_setting x, unnest(x.setconfig) AS s (setting)
WHERE x.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
AND x.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))
ORDER BY x.setrole <> 0, x.setdatabase <> 0"""
# A procedural language may run code of such a setting: theirs stay where they are.
_OF_EXTENSION = re.compile(r"(?!pl)[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}")
_MOST, _LONGEST = 200, 200
_PLAIN = re.compile(r"[\x20-\x5b\x5d-\x7e]*")


def read_settings(connection: Connection) -> dict[str, str]:
    """The settings of a database by which values are computed, as a session there has them."""
    found = {str(name): str(value) for name, value in connection.query(_EFFECTIVE, list(COMPUTED_BY))}
    found |= {str(name): str(value) for name, value in connection.query(_OWN) if "." in str(name)}
    return usable(found)


def usable(settings: Mapping[str, str]) -> dict[str, str]:
    """Those that a session may be told: nothing else, whoever wrote them down."""
    known = {name: value for name, value in settings.items() if name in COMPUTED_BY or _OF_EXTENSION.fullmatch(name)}
    plain = {name: value for name, value in known.items() if len(value) <= _LONGEST and _PLAIN.fullmatch(value)}
    return dict(sorted(plain.items())[:_MOST])


def of_extensions(settings: Mapping[str, str]) -> dict[str, str]:
    """Those by which extensions print their values: a copy has to be dumped under them as well."""
    return {name: value for name, value in usable(settings).items() if "." in name}


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
