"""A drill asks the server what a statement means: other words are no damage, and another meaning is found."""

from __future__ import annotations

import pytest

from blocks.errors import RestoreFailed
from blocks.s3.client import ObjectStore
from tasks.engine.drill.place import Place
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import Verdict
from tasks.engine.servers.programs import Client
from tests.conftest import MAJORS, NewDatabase
from tests.integration.objects import take_backup
from tests.integration.round_trips import taken_round, wrong
from tests.integration.sandboxes import rehearsed

Clients = dict[int, Client]

# What a server prints in one way before a restore and in another after it.
REWORDED = """
CREATE TABLE t (a int DEFAULT -1::int CHECK (a >= -1::int), v varchar(9), lat numeric CHECK (lat BETWEEN -90.0::numeric AND 90.0::numeric),
  g int GENERATED ALWAYS AS (a * -1::int) STORED, CHECK (v IN ('x', 'y')), CHECK (a > 0 AND lat BETWEEN 1 AND 2 OR (a, lat) < (1, 2)));
INSERT INTO t VALUES (5, 'x', 1.5);
CREATE DOMAIN small AS int CHECK (VALUE > -3::int AND VALUE IN (-2::int, 7));
CREATE INDEX part ON t (a) WHERE v IN ('x', 'y') AND a <> -1::int;
CREATE POLICY p ON t USING (a = ANY (ARRAY[-1::int, 2]));
CREATE FUNCTION f(n int DEFAULT -1::int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT n - -1::int; END;
CREATE VIEW w AS SELECT a FROM t UNION ALL VALUES (1), (2);
CREATE VIEW w2 AS SELECT EXISTS (SELECT B'1' FROM t) AS e, ARRAY(SELECT (SELECT 'x') FROM t) AS f, -(-1::int) AS g;
CREATE STATISTICS s ON (a - -1::int), (a + -2::int) FROM t;
CREATE MATERIALIZED VIEW m AS SELECT a FROM t WHERE v IN ('x', 'y') UNION ALL VALUES (-1::int);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW WHEN (NEW.v IN ('x', 'y') AND NEW.a > -1::int) EXECUTE FUNCTION noted();
CREATE TABLE orders (id int PRIMARY KEY, v text NOT NULL); CREATE TABLE archive (LIKE orders);
"""
LONG = (
    "CREATE TABLE t (v varchar(9)); CREATE VIEW w AS SELECT CASE WHEN v IN ({items}) THEN 1 END AS c FROM t WHERE "
    + " AND ".join(["v IN ({items})"] * 40)
)


@pytest.mark.parametrize("major", MAJORS)
def test_other_words_are_no_damage(major: int, new_database: NewDatabase, clients: Clients) -> None:
    """Negative constants, lists, nameless columns, statistics and names of constraints come back in other words."""
    checks = taken_round(new_database(major, REWORDED), new_database(major), clients[major])
    assert wrong(checks) == {}
    assert {c.result for c in checks if c.name == checklist.SCHEMA} == {"passed"}


def test_long_statements_are_compared_as_well(new_database: NewDatabase, clients: Clients) -> None:
    """No list is too long: the server reads it."""
    script = LONG.format(items=", ".join(f"'k{n}'" for n in range(1000)))
    assert wrong(taken_round(new_database(16, script), new_database(16), clients[16])) == {}


AGAIN = "CREATE TABLE rw (v varchar(9) CHECK (v IN ('x', 'y')));"
LONG_ARGUMENTS = ", ".join(f"argument_number_{n} int" for n in range(9))
READ_AS_DUMPED = {
    "columns by position": """CREATE TABLE par (id int);
        CREATE TABLE chi (z int, a text, v varchar(9) CHECK (v IN ('x', 'y'))) INHERITS (par);
        CREATE VIEW cv AS SELECT ROW(1, 2, 'abc', 'x')::chi AS k; CREATE VIEW cw AS SELECT c.q + 1 AS s FROM chi c(i, q, w, e);""",
    "overloads with long signatures": f"""
        CREATE FUNCTION f({LONG_ARGUMENTS}, x int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT x - -1::int; END;
        CREATE VIEW seen AS SELECT f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) AS a;
        CREATE FUNCTION f({LONG_ARGUMENTS}, x text) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a - -1::int FROM seen; END;""",
    "circular views": """CREATE VIEW one AS SELECT 1 AS a; CREATE VIEW two AS SELECT a FROM one WHERE a <> -1::int;
        CREATE OR REPLACE VIEW one AS SELECT 1 AS a WHERE NOT EXISTS (SELECT FROM two) OR 1 <> -2::int;""",
}


@pytest.mark.parametrize("script", READ_AS_DUMPED.values(), ids=READ_AS_DUMPED.keys())
def test_statements_are_read_as_they_were_dumped(script: str, new_database: NewDatabase, clients: Clients) -> None:
    """The order of columns, and the place of each statement among the others, are the backup's."""
    assert wrong(taken_round(new_database(16, AGAIN + script), new_database(16), clients[16])) == {}


# Its schema can be created only where the table has its row.
ONLY_WITH_ROWS = (
    AGAIN
    + """
CREATE TABLE conf (k text PRIMARY KEY, n int NOT NULL); INSERT INTO conf VALUES ('lim', 5);
CREATE FUNCTION lim(key text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ DECLARE r int; BEGIN SELECT n INTO STRICT r FROM public.conf WHERE k = key; RETURN r; END $$;
CREATE TABLE t (a int, b int CONSTRAINT bc CHECK (b > 10)); CREATE INDEX i ON t (a) WHERE a > lim('lim');
"""
)


def test_nothing_counts_as_equal_because_nobody_could_tell(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """A schema that cannot be created a second time leaves every difference open: no drill is PROVEN then."""
    source, copy = new_database(18, ONLY_WITH_ROWS), new_database(18)
    damage = "ALTER TABLE t DROP CONSTRAINT bc, ADD CONSTRAINT bc CHECK (b > 0)"
    checks = taken_round(source, copy, clients[18], damage)
    assert wrong(checks) == {}
    assert {c.result for c in checks if c.name == checklist.SCHEMA} == {"not possible"}
    take_backup(storage, source, clients[18])
    report = rehearsed(storage, Place("sandbox", client=clients[18]))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert (
        "whether the schema is the same is unknown: the server did not create the schema a second time" in report.cause
    )
    assert {c.result for c in report.checks if c.name == checklist.DIGESTS} == {"passed"}


@pytest.mark.parametrize("error", [RestoreFailed("canceling statement", sqlstate="57014"), RestoreFailed("it ended early"),
                                   RestoreFailed("out of memory", sqlstate="53200")], ids=str)  # fmt: skip
def test_an_error_of_the_place_is_not_damage(
    error: RestoreFailed, new_database: NewDatabase, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What interrupts the second reading says nothing about the backup."""

    def interrupted(*_: object) -> None:
        raise error

    monkeypatch.setattr("tasks.engine.drill.rewording.load", interrupted)
    checks = taken_round(new_database(16, AGAIN), new_database(16), clients[16])
    assert wrong(checks) == {}
    assert {c.result for c in checks if c.name == checklist.SCHEMA} == {"not possible"}


def test_a_schema_that_is_too_large_to_keep(
    new_database: NewDatabase, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema of which only a part is kept is not called damaged for its wording."""
    monkeypatch.setattr("tasks.engine.dump.scanner._KEPT_SCHEMA_BYTES", 100)
    checks = taken_round(new_database(16, AGAIN + REWORDED), new_database(16), clients[16])
    assert wrong(checks) == {}
    assert {c.result for c in checks if c.name == checklist.SCHEMA} == {"not possible"}


SOURCE = """
CREATE TABLE t (a int, b int, d timestamptz, s text DEFAULT 'q::text AS text', n text DEFAULT 'CONSTRAINT a_not_null NOT NULL', v varchar(9));
CREATE VIEW dates AS SELECT a, d::date AS date FROM t;
CREATE VIEW numbers AS SELECT a::bigint AS int4, b::bigint AS int8 FROM t;
CREATE FUNCTION keys() RETURNS json LANGUAGE sql AS $$ SELECT to_json(x) FROM (SELECT now()::date AS date) x $$;
COMMENT ON TABLE t IS 'the END AS text';
ALTER TABLE t ADD CONSTRAINT listed CHECK (v IN ('x', 'y')), ADD CONSTRAINT least CHECK (a > -1::int);
ALTER TABLE t ALTER b SET DEFAULT (ARRAY_LENGTH((ARRAY[ARRAY[1,2],ARRAY[3,4]])::int[], 1));
CREATE STATISTICS s ON ((a + b) * 3) FROM t;
"""


@pytest.mark.parametrize("damage", [
    "ALTER VIEW dates RENAME COLUMN date TO text",
    "ALTER VIEW numbers RENAME int4 TO x; ALTER VIEW numbers RENAME int8 TO int4; ALTER VIEW numbers RENAME x TO int8",
    "ALTER TABLE t ALTER s SET DEFAULT 'q::text'", "ALTER TABLE t ALTER n SET DEFAULT 'NOT NULL'",
    "CREATE OR REPLACE FUNCTION keys() RETURNS json LANGUAGE sql AS $$ SELECT to_json(x) FROM (SELECT now()::date AS text) x $$",
    "COMMENT ON TABLE t IS 'the END'",
    "ALTER TABLE t DROP CONSTRAINT listed, ADD CONSTRAINT listed CHECK (v IN ('x', 'z'))",
    "ALTER TABLE t DROP CONSTRAINT least, ADD CONSTRAINT least CHECK (a > -2::int)",
    "ALTER TABLE t ALTER b SET DEFAULT array_length(ARRAY[(ARRAY[1,2])::text, (ARRAY[3,4])::text], 1)",
    "DROP STATISTICS s; CREATE STATISTICS s ON (a + (b * 3)) FROM t",
    "ALTER TABLE t DROP CONSTRAINT listed", "DROP VIEW dates",
])  # fmt: skip
def test_another_meaning_is_found(damage: str, new_database: NewDatabase, clients: Clients) -> None:
    """Whatever a copy has that differs from what the backup says, although other statements are only worded differently."""
    found = wrong(taken_round(new_database(16, SOURCE), new_database(16), clients[16], damage))
    assert found.keys() & {checklist.SCHEMA, checklist.CONSTRAINTS}


def test_a_renamed_constraint_of_a_column(new_database: NewDatabase, clients: Clients) -> None:
    """From version 18 on NOT NULL has a name, which may be the user's own."""
    source = new_database(18, "CREATE TABLE t (a int CONSTRAINT foo_not_null NOT NULL)")
    damage = "ALTER TABLE t RENAME CONSTRAINT foo_not_null TO bar_not_null"
    assert checklist.SCHEMA in wrong(taken_round(source, new_database(18), clients[18], damage))
