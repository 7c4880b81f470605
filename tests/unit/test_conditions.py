"""Which differences in the copy's environment explain an error; the backup is blamed for the rest."""

from __future__ import annotations

import pytest

from tasks.engine.drill.conditions import Conditions, explain, names_left_over
from tasks.engine.dump.roles import left_over_roles
from tasks.engine.repository.manifest import RoleRecord

ALIKE = Conditions()
LOCALE = Conditions(locale="de_DE.UTF-8")
VERSIONS = Conditions(versions=("hstore 1.8 instead of 1.7",))
CRON = Conditions(extensions=frozenset({"pg_cron"}))


@pytest.mark.parametrize(("code", "text", "conditions", "explained"), [
    ("55000", "x must be loaded via shared_preload_libraries", ALIKE, True),
    ("55000", 'x must be loaded via "shared_preload_libraries"', ALIKE, True),
    ("55000", 'materialized view "m" has not been populated', ALIKE, False),
    ("P0001", "load it with shared_preload_libraries", ALIKE, False),
    ("42704", 'unrecognized configuration parameter "cron.database_name"', ALIKE, True),
    ("42704", 'unrecognized configuration parameter "cron"', ALIKE, False),
    ("42704", 'type "a.b" does not exist', ALIKE, False),
    ("P0001", "can only create extension in database crondb", CRON, True),
    ("P0001", "can only create extension in database crondb", ALIKE, False),
    ("23514", "no partition of relation found for row", LOCALE, True),
    ("23514", "no partition of relation found for row", ALIKE, False),
    ("23505", 'could not create unique index "i"', LOCALE, True),
    ("23505", 'could not create unique index "i"', VERSIONS, False),
    ("23503", "violates foreign key constraint", LOCALE, False),
    ("22P02", "invalid input syntax for type integer", LOCALE, False),
    ("42601", "syntax error", LOCALE, False), ("42601", "syntax error", VERSIONS, False),
    ("42883", "function f() does not exist", VERSIONS, True), ("42883", "function f() does not exist", ALIKE, False),
])  # fmt: skip
def test_what_explains_an_error(code: str, text: str, conditions: Conditions, explained: bool) -> None:
    """A condition excuses only the errors that it can cause."""
    assert bool(explain(code, text, conditions)) == explained


def test_the_numbers_of_dropped_roles() -> None:
    """A role with that name on the source is a real role; letters, or digits of other scripts, make a name."""
    assert left_over_roles(["12", "app", "34", "٣"], [RoleRecord(name="34")]) == ["12"]
    left = Conditions(left_over_roles=("12",))
    assert names_left_over("42704", 'role "12" does not exist', left) == "12"
    assert names_left_over("42704", 'role "112" does not exist', left) == ""
    assert names_left_over("23505", 'key "12"', left) == ""
