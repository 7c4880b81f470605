"""Say which circumstances of a restored copy explain what a server refused, so that no backup is blamed for its place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from blocks.sql import sqlstate

_SETTING = re.compile(r'"([A-Za-z_]\w*\.[\w.]+)"')
_MONEY = re.compile(r"\bmoney\b")  # the name of a type, which no server translates
_QUOTED = re.compile(r'"([^"]+)"')
_PLACE = ("current_database", "current_catalog", "current_user", "session_user", "current_role", "inet_server_addr", "inet_client_addr",
          "version")  # fmt: skip
_ASKS = re.compile(rb"\bcurrent_setting\('([^']{1,127})'|\b(" + "|".join(_PLACE).encode() + rb")\b", re.IGNORECASE)
_ROUTINE = re.compile(rb'CREATE (?:FUNCTION|PROCEDURE) (?:[^(]*\.)?"?([^(".]+)"?\(')
_LIBRARIES = "shared_preload_libraries"  # the name of a setting, which no server translates


@dataclass(frozen=True)
class Conditions:
    """In what a restored copy's surroundings differ from the source's."""

    extensions: frozenset[str] = frozenset()  # that the dump makes
    locale: str = ""  # that the copy should have and has not
    versions: tuple[str, ...] = ()  # of the server or extensions, in words, where others are here
    left_over_roles: tuple[str, ...] = ()  # numbers of dropped roles, which the source does not know either
    settings_left_out: tuple[str, ...] = ()  # names of settings that the source has and the copy has not
    asked: tuple[str, ...] = ()  # what an expression that was not met asks its place for
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
    if code == sqlstate.INVALID_TEXT_REPRESENTATION and _MONEY.search(message):
        return _explain_money(conditions)
    if code in sqlstate.BY_SETTINGS:
        return _explain_place(conditions)
    if conditions.versions and code in sqlstate.BY_VERSION:
        return "other versions are here: " + ", ".join(conditions.versions)
    return ""


def _explain_money(conditions: Conditions) -> str:
    if conditions.money_unknown:
        return "the backup does not say under which lc_monetary its money was written, and this server has another"
    if conditions.monetary:
        return f"the source shows money under the lc_monetary {conditions.monetary}, and the copy is made under another"
    return ""


def _explain_place(conditions: Conditions) -> str:
    """What an expression asks its place for, and is answered otherwise than on the source."""
    for name in conditions.asked:
        if name in _PLACE:
            return f"an expression asks for {name}, and the copy is another place"
        if name in conditions.settings_left_out:
            return f"an expression asks for the setting {name}, which the source has and the copy has not"
    forced = [name for name in conditions.settings_left_out if "." not in name]
    if forced:
        return f"the source has another {forced[0]}, under which no backup can be read"
    if conditions.settings_unknown:
        return "the backup does not say under which settings (TimeZone, DateStyle and others) its values were computed"
    return ""


def asked_by(message: str, statements: Iterable[bytes]) -> tuple[str, ...]:
    """What the constraint that a server names, or a routine that it calls, asks its place for: settings, names, addresses."""
    names = [re.escape(name.encode()) for name in _QUOTED.findall(message)]
    if not names:
        return ()
    constraint = re.compile(rb'CONSTRAINT "?(?:' + b"|".join(names) + rb')"? CHECK .*')
    texts: list[bytes] = []
    routines: dict[bytes, bytes] = {}
    for statement in statements:
        texts += constraint.findall(statement)
        if found := _ROUTINE.match(statement):
            routines[found[1] + b"("] = statement
    for text in texts:  # which grows as it is read
        called = [name for name in routines if name in text]
        texts += [routines.pop(name) for name in called]
    asked = [setting or place.lower() for text in texts for setting, place in _ASKS.findall(text)]
    return tuple(dict.fromkeys(word.decode(errors="replace") for word in asked))


def names_left_over(code: str, message: str, conditions: Conditions) -> str:
    """The number of a dropped role that an error names; empty when it names none."""
    if code != sqlstate.UNDEFINED_OBJECT:
        return ""
    return next((role for role in conditions.left_over_roles if re.search(rf"\W{role}\W", message)), "")
