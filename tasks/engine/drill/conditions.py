"""Say which circumstances of a restored copy explain what a server refused, so that no backup is blamed for its place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from blocks.sql import sqlstate

_SETTING = re.compile(r'"([A-Za-z_]\w*\.[\w.]+)"')
_MONEY = re.compile(r"\bmoney\b")  # the name of a type, which no server translates
_LIBRARIES = "shared_preload_libraries"  # the name of a setting, which no server translates


@dataclass(frozen=True)
class Conditions:
    """In what a restored copy's surroundings differ from the source's."""

    extensions: frozenset[str] = frozenset()  # that the dump makes
    locale: str = ""  # that the copy should have and has not
    versions: tuple[str, ...] = ()  # of the server or extensions, in words, where others are here
    left_over_roles: tuple[str, ...] = ()  # numbers of dropped roles, which the source does not know either
    settings_unknown: bool = False  # whether the backup does not say by which settings its values were computed
    monetary: str = ""  # the lc_monetary of the source, where it shows money otherwise than the copy's session
    money_unknown: bool = False  # whether the backup does not say how its money is written
    roles_known: bool = False  # whether the backup says what the source's roles were


def explain(code: str, message: str, conditions: Conditions) -> str:
    """The condition that can explain an error, in words; empty when none can, and the backup has to answer for it."""
    if code in sqlstate.NOT_PRELOADED and _LIBRARIES in message:
        return "a library of an extension is not preloaded here"
    if (
        code == sqlstate.UNDEFINED_OBJECT
        and (setting := _SETTING.search(message))
        and "configuration parameter" in message
    ):
        return f"the setting {setting[1]} is not known here: its library is not preloaded, or nobody set it"
    if (
        code == sqlstate.RAISE_EXCEPTION
        and "pg_cron" in conditions.extensions
        and "can only create extension in database" in message
    ):
        return "pg_cron works in one database of a server only, the one that cron.database_name names"
    return _explain_text(code, message, conditions)


def _explain_text(code: str, message: str, conditions: Conditions) -> str:
    """The conditions of how text is read and ordered, and of versions."""
    if conditions.locale and code in sqlstate.BY_LOCALE:
        return f"the locale {conditions.locale} is not installed here, and the copy has another"
    if code == sqlstate.INVALID_TEXT_REPRESENTATION and conditions.money_unknown and _MONEY.search(message):
        return "the backup does not say under which lc_monetary its money was written, and this server has another"
    if conditions.settings_unknown and code in sqlstate.BY_SETTINGS:
        return "the backup does not say under which settings (TimeZone, DateStyle and others) its values were computed"
    if conditions.monetary and code == sqlstate.INVALID_TEXT_REPRESENTATION and _MONEY.search(message):
        return f"the source shows money under the lc_monetary {conditions.monetary}, and the copy is made under another"
    if conditions.versions and code in sqlstate.BY_VERSION:
        return "other versions are here: " + ", ".join(conditions.versions)
    return ""


def names_left_over(code: str, message: str, conditions: Conditions) -> str:
    """The number of a dropped role that an error names; empty when it names none."""
    if code != sqlstate.UNDEFINED_OBJECT:
        return ""
    return next((role for role in conditions.left_over_roles if re.search(rf"\W{role}\W", message)), "")
