"""Find the conditions around a restored copy that explain a server's refusal, so that the backup is not blamed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from blocks.sql import sqlstate

_SETTING = re.compile(r'"([A-Za-z_]\w*\.[\w.]+)"')
_MONEY = re.compile(r"\bmoney\b")  # a type name, which servers do not translate
_QUOTED = re.compile(r'"([^"]+)"')
_PLACE = ("current_database", "current_catalog", "current_user", "session_user", "current_role", "inet_server_addr", "inet_client_addr",
          "version")  # fmt: skip
_ASKS = re.compile(rb"\bcurrent_setting\('([^']{1,127})'|\b(" + "|".join(_PLACE).encode() + rb")\b", re.IGNORECASE)
_ROUTINE = re.compile(rb'CREATE (?:FUNCTION|PROCEDURE) (?:[^(]*\.)?"?([^(".]+)"?\(')
_LIBRARIES = "shared_preload_libraries"  # a setting's name, which servers do not translate


@dataclass(frozen=True)
class Conditions:
    """How a restored copy's environment differs from the source's."""

    extensions: frozenset[str] = frozenset()  # that the dump creates
    locale: str = ""  # that the copy should have but lacks
    versions: tuple[str, ...] = ()  # of the server or extensions, in words, if they differ here
    left_over_roles: tuple[str, ...] = ()  # OIDs of dropped roles, which the source does not know either
    settings_left_out: tuple[str, ...] = ()  # names of settings that the source has and the copy lacks
    asked: tuple[str, ...] = ()  # what a violated expression reads from its environment
    settings_unknown: bool = False  # whether the backup does not say under which settings its values were computed
    monetary: str = ""  # the lc_monetary of the source, if it prints money differently from the copy's session
    money_unknown: bool = False  # whether the backup does not say how its money is written
    roles_known: bool = False  # whether the backup says what the source's roles were
    without: str = ""  # what the backup was taken without, in words


def explain(code: str, message: str, conditions: Conditions) -> str:
    """Return the condition that can explain an error, in words; empty if none can, and the backup is to blame."""
    if code in sqlstate.NOT_PRELOADED and _LIBRARIES in message:
        return "a library of an extension is not preloaded here"
    if (
        code == sqlstate.UNDEFINED_OBJECT
        and (setting := _SETTING.search(message))
        and "configuration parameter" in message
    ):
        return f"the setting {setting[1]} is unknown here: its library is not preloaded, or it was never set"
    if (
        code == sqlstate.RAISE_EXCEPTION
        and "pg_cron" in conditions.extensions
        and "can only create extension in database" in message
    ):
        return "pg_cron works in only one database of a server, the one that cron.database_name names"
    return _explain_text(code, message, conditions)


def _explain_text(code: str, message: str, conditions: Conditions) -> str:
    """Look at the conditions that affect how text is read and ordered, and at versions."""
    if conditions.locale and code in sqlstate.BY_LOCALE:
        return f"the locale {conditions.locale} is not installed here, and the copy has a different one"
    if code == sqlstate.INVALID_TEXT_REPRESENTATION and _MONEY.search(message):
        return _explain_money(conditions)
    if code in sqlstate.BY_SETTINGS:
        return _explain_place(conditions)
    if conditions.versions and code in sqlstate.BY_VERSION:
        return "the versions here differ: " + ", ".join(conditions.versions)
    return ""


def _explain_money(conditions: Conditions) -> str:
    if conditions.money_unknown:
        return "the backup does not say under which lc_monetary its money was written, and this server's differs"
    if conditions.monetary:
        return f"the source shows money under the lc_monetary {conditions.monetary}, and the copy under a different one"
    return ""


def _explain_place(conditions: Conditions) -> str:
    """Explain an error by what an expression reads from its environment and is different on the source."""
    for name in conditions.asked:
        if name in _PLACE:
            return f"an expression uses {name}, which is different in the copy"
        if name in conditions.settings_left_out:
            return f"an expression uses the setting {name}, which the source has and the copy lacks"
    forced = [name for name in conditions.settings_left_out if "." not in name]
    if forced:
        return f"the source has a different {forced[0]}, under which no backup can be read"
    if conditions.settings_unknown:
        return "the backup does not say under which settings (TimeZone, DateStyle and others) its values were computed"
    return ""


def asked_by(message: str, statements: Iterable[bytes]) -> tuple[str, ...]:
    """Return what a constraint named by the server, or a routine it calls, reads from its environment.

    That is the names of settings, and functions for the database, the user, addresses or the version.
    """
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
    for text in texts:  # `texts` grows during the loop
        called = [name for name in routines if name in text]
        texts += [routines.pop(name) for name in called]
    asked = [setting or place.lower() for text in texts for setting, place in _ASKS.findall(text)]
    return tuple(dict.fromkeys(word.decode(errors="replace") for word in asked))


def names_left_over(code: str, message: str, conditions: Conditions) -> str:
    """Return the OID of a dropped role that an error names; empty if it names none."""
    if code != sqlstate.UNDEFINED_OBJECT:
        return ""
    return next((role for role in conditions.left_over_roles if re.search(rf"\W{role}\W", message)), "")
