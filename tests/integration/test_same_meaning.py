"""What a restore inevitably words differently or leaves out is not damage; a real loss of the same kind is found."""

from __future__ import annotations

import pytest

from tasks.engine.repository import checks as checklist
from tasks.engine.servers.programs import Client
from tests.conftest import MAJORS, NewDatabase
from tests.integration.round_trips import taken_round, wrong

Clients = dict[int, Client]

INHERITED = """
CREATE TABLE par (a int, b text);
CREATE TABLE chi (x int DEFAULT 7 CHECK (x > 1), b text DEFAULT 'a,
    z', a int);
ALTER TABLE chi INHERIT par;
CREATE STATISTICS chi_x ON x, a, b FROM chi;
INSERT INTO chi VALUES (9, 'b', 1), (8, 'c', 2);
CREATE TABLE par2 (a int, b text, c text);
CREATE TABLE chi2 (x int) INHERITS (par2);
CREATE TABLE grandchi2 (y int) INHERITS (chi2);
ALTER TABLE par2 ALTER b SET COMPRESSION pglz, ALTER c SET STORAGE external;
ALTER TABLE ONLY chi2 ALTER b SET COMPRESSION default, ALTER c SET STORAGE extended;
ALTER TABLE ONLY grandchi2 ALTER b SET COMPRESSION default, ALTER c SET STORAGE extended;
INSERT INTO chi2 VALUES (1, 'b', 'c', 2);
"""


@pytest.mark.parametrize("major", MAJORS)
def test_a_child_that_had_its_columns_before(major: int, new_database: NewDatabase, clients: Clients) -> None:
    """A restore reorders such a table's columns and gives them the parent's settings: at most a warning."""
    checks = taken_round(new_database(major, INHERITED), new_database(major), clients[major])
    assert wrong(checks) == {}
    (schema,) = (c for c in checks if c.name == checklist.SCHEMA)
    assert schema.result == "warning"
    assert "ALTER TABLE public.grandchi2 ALTER COLUMN c SET STORAGE" in schema.evidence


@pytest.mark.parametrize("damage", [
    "ALTER TABLE chi ALTER x DROP DEFAULT",
    "ALTER TABLE chi ALTER b SET DEFAULT 'other'",
    "ALTER TABLE chi DROP CONSTRAINT chi_x_check",
    "ALTER TABLE chi DROP x CASCADE",
    "ALTER TABLE chi ADD z int",
    "ALTER TABLE chi NO INHERIT par",
    "ALTER TABLE chi ALTER x TYPE bigint",
    "DROP STATISTICS chi_x; CREATE STATISTICS chi_x ON x, a FROM chi",
    "ALTER TABLE ONLY par2 ALTER b SET COMPRESSION default",
    "ALTER TABLE ONLY par2 ALTER c SET STORAGE main",
    "ALTER TABLE ONLY chi2 ALTER c SET STORAGE main",
    "ALTER TABLE ONLY chi ALTER b SET STORAGE external",
])  # fmt: skip
def test_another_child_is_another_schema(damage: str, new_database: NewDatabase, clients: Clients) -> None:
    """What the child defined itself, and what its parent lacks, still counts."""
    found = wrong(taken_round(new_database(16, INHERITED), new_database(16), clients[16], damage))
    assert checklist.SCHEMA in found


@pytest.mark.parametrize("major", [MAJORS[0], MAJORS[-1]])
def test_a_table_that_was_made_like_another(major: int, new_database: NewDatabase, clients: Clients) -> None:
    """Constraint names clash: a restore creates them in another order and numbers the other one."""
    script = "CREATE TABLE orders (id int PRIMARY KEY, v text NOT NULL); CREATE TABLE archive (LIKE orders); CREATE TABLE all_of (LIKE orders INCLUDING ALL)"
    assert wrong(taken_round(new_database(major, script), new_database(major), clients[major])) == {}
