"""Healthy backups of every kind are PROVEN without findings, wherever they are drilled."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.services import Storage
from flows.restore import restore
from tasks.engine.drill.place import Place
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.servers.programs import Client
from tests.conftest import HARD_SQL, MAJORS, FlowRun, NewDatabase, psql
from tests.integration.objects import (
    LARGE_OBJECTS,
    LIBRARY,
    manifest_of,
    object_of,
    put_object,
    take_backup,
    told,
    without_manifest,
)
from tests.integration.sandboxes import rehearsed, row

Clients = dict[int, Client]
ServerOf = Callable[[int], Server]
PlacesOn = Callable[[int], list[Place]]
EVERY_KIND_SQL = HARD_SQL.with_name("every_kind.sql")
ROLES = """SELECT format('CREATE ROLE %I NOLOGIN', name) FROM unnest(ARRAY['reader', 'röle with "quotes"']) name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \\gexec
"""
PAIRS = [(source, target) for source in MAJORS for target in MAJORS if source <= target]
# Checks that need what no foreign backup has.
UNKNOWN = {checklist.MANIFEST, checklist.SIZE, checklist.COLLATIONS, checklist.ANOMALIES}


@pytest.fixture
def places_on(server_of: ServerOf, clients: Clients) -> PlacesOn:
    """A function that returns both places of a major version."""
    return lambda major: [Place("sandbox", client=clients[major]), Place("database", server=server_of(major))]


def assert_proven(report: DrillReport, impossible: frozenset[str] | set[str] = frozenset()) -> None:
    """The backup is PROVEN without findings, and only these checks were not possible; it was taken without roles."""
    assert (report.verdict, report.cause) == ("PROVEN", "")
    found = {
        c.name: (c.result, c.evidence) for c in report.checks if c.result != "passed" and c.name != checklist.GLOBALS
    }
    assert {name: result for name, (result, _) in found.items()} == dict.fromkeys(impossible, "not possible"), found


# --- every kind of object, on every version ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hard_backups(server_of: ServerOf, clients: Clients, storage_server: Storage) -> Callable[[int], ObjectStore]:
    """A function that backs up, once per major version, a database with every kind of object and everything hard."""
    made: dict[int, ObjectStore] = {}

    def make(major: int) -> ObjectStore:
        if major not in made:
            server = server_of(major)
            told(server, "CREATE DATABASE healthy")
            hard = re.sub(r"(?m)^CREATE ROLE .*$", "", HARD_SQL.read_text())
            psql(clients[major], server.on("healthy"), ROLES + hard + EVERY_KIND_SQL.read_text())
            made[major] = storage_server.store(f"healthy/{major}")
            take_backup(made[major], server.on("healthy"), clients[major])
            told(server, "DROP DATABASE healthy")
        return made[major]

    return make


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_kind_of_object(
    source: int,
    target: int,
    hard_backups: Callable[[int], ObjectStore],
    places_on: PlacesOn,
    server_of: ServerOf,
    clients: Clients,
) -> None:
    """Proven on its own and every newer version, in both places; the report says what could not be compared by meaning."""
    sandbox, database = places_on(target)
    psql(clients[target], server_of(target), ROLES)
    # A sandbox of a newer version is used where the backup's own isn't installed; one such pair will do.
    for place in (sandbox, database) if source == target or (source, target) == (15, 18) else (database,):
        report = rehearsed(hard_backups(source), place)
        assert_proven(report)
        assert report.target_version.startswith(f"{target}.")
        schema = row(report, checklist.SCHEMA).evidence
        # Version 18 says NOT NULL of some inherited columns in CREATE TABLE, where older ones say it in a statement after it.
        reworded = f"worded differently by pg_dump {source}.* and pg_dump {target}.*: only their presence was compared"
        assert bool(re.search(reworded, schema)) == (source < 18 <= target), schema


@pytest.mark.parametrize(("target", "source"), list(pairwise(MAJORS)))
def test_an_older_server_is_never_the_backups_fault(
    source: int,
    target: int,
    new_database: NewDatabase,
    hard_backups: Callable[[int], ObjectStore],
    storage: ObjectStore,
    places_on: PlacesOn,
    clients: Clients,
) -> None:
    """An older server may not understand the dump, but never makes it FAILED."""
    script = LIBRARY + LARGE_OBJECTS + "CREATE TABLE child (own int NOT NULL) INHERITS (authors);"
    take_backup(storage, new_database(source, script), clients[source])
    for stored in (storage, hard_backups(source)):
        report = rehearsed(stored, places_on(target)[0])
        assert report.verdict in ("PROVEN", "INCONCLUSIVE")
        assert [c for c in report.checks if c.result == "failed"] == []


def test_a_server_that_counts_the_versions_of_its_columns(
    new_database: NewDatabase, storage: ObjectStore, places_on: PlacesOn, clients: Clients
) -> None:
    """A pg_dump older than the server's minor release dumps its pg_attver counts.

    A server of the older minor release doesn't know them, and is what gets the blame.
    """
    server = new_database(15, LIBRARY + "ALTER TABLE authors ALTER COLUMN id SET (n_distinct = 5);")
    take_backup(storage, server, clients[18])
    report = rehearsed(storage, places_on(18)[0])
    assert report.verdict == "PROVEN" or (report.verdict, "pg_attver" in report.cause) == ("INCONCLUSIVE", True), report


@pytest.mark.parametrize("source", [16])
def test_a_newer_pg_dump_than_the_server(
    source: int,
    hard_database: Callable[[int], Server],
    storage: ObjectStore,
    places_on: PlacesOn,
    clients: Clients,
) -> None:
    """With only the newest client programs installed, the source server words its views differently than a sandbox."""
    server = hard_database(source)
    psql(clients[source], server, EVERY_KIND_SQL.read_text())
    take_backup(storage, server, clients[18])
    report = rehearsed(storage, places_on(18)[0])
    assert_proven(report)
    assert row(report, checklist.SCHEMA).result == "passed"


def test_a_foreign_backup(
    new_database: NewDatabase, storage: ObjectStore, places_on: PlacesOn, clients: Clients
) -> None:
    """Another tool's ordinary dump passes every check except those that it lacks the facts for."""
    take_backup(storage, new_database(16, LIBRARY + LARGE_OBJECTS), clients[16])
    without_manifest(storage)
    for place in places_on(16):
        assert_proven(rehearsed(storage, place), UNKNOWN)


# --- odd databases ----------------------------------------------------------------------------------------------------

KINDS = {
    "nothing": "",
    "large objects alone": "SELECT lo_from_bytea(1, 'x'), lo_from_bytea(2, ''), lo_from_bytea(3, decode(repeat('00ff', 9999), 'hex'))",
    "partitions alone": """CREATE TABLE p (a int, b text, PRIMARY KEY (a, b)) PARTITION BY RANGE (a);
      CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (9) PARTITION BY LIST (b); CREATE TABLE p_1_x PARTITION OF p_1 FOR VALUES IN ('x');
      CREATE TABLE p_rest PARTITION OF p DEFAULT; CREATE INDEX ON ONLY p (b); INSERT INTO p VALUES (1, 'x'), (99, 'y')""",
    "a schema alone": "CREATE TABLE t (a serial PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t",
    "no public schema": "DROP SCHEMA public; CREATE SCHEMA s; CREATE TABLE s.t (a int GENERATED ALWAYS AS IDENTITY); INSERT INTO s.t DEFAULT VALUES",
    "sequences at their ends": """CREATE SEQUENCE last MAXVALUE 2; SELECT nextval('last'), nextval('last'); CREATE SEQUENCE down INCREMENT -1 START -5;
      CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY (INCREMENT -1), b int); INSERT INTO t (b) VALUES (1), (2)""",
    "long rows": "CREATE TABLE t AS SELECT n, repeat(chr(64 + n), 3000000) FROM generate_series(1, 3) n",
}  # fmt: skip


@pytest.mark.parametrize(("number", "kind"), list(enumerate(KINDS)), ids=str)
def test_an_odd_database(
    number: int, kind: str, new_database: NewDatabase, storage: ObjectStore, places_on: PlacesOn, clients: Clients
) -> None:
    """A database with nothing, or with only one kind of thing, is PROVEN."""
    take_backup(storage, new_database(15, KINDS[kind]), clients[15])
    assert_proven(rehearsed(storage, places_on(15)[number % 2]))


@pytest.mark.parametrize(("major", "extension"), [(15, "hstore"), (16, "vector"), (17, "pg_trgm"), (18, "vector")])
def test_an_extension(
    major: int, extension: str, new_database: NewDatabase, storage: ObjectStore, places_on: PlacesOn, clients: Clients
) -> None:
    """An extension is restored, and its version is reported."""
    take_backup(storage, new_database(major, f"CREATE EXTENSION {extension}"), clients[major])
    report = rehearsed(storage, places_on(major)[major % 2])
    assert_proven(report)
    assert re.search(rf"{extension} \d", row(report, checklist.EXTENSIONS).evidence)


@pytest.mark.parametrize("level", [1, 6, 9])
def test_every_compression(
    level: int, new_database: NewDatabase, storage: ObjectStore, places_on: PlacesOn, clients: Clients
) -> None:
    """A backup is readable whichever program compressed it."""
    take_backup(storage, new_database(15, LIBRARY + LARGE_OBJECTS), clients[15], level=level)
    assert_proven(rehearsed(storage, places_on(15)[0]))


def test_what_the_server_prints_differently_is_no_corruption(
    new_database: NewDatabase, storage: ObjectStore, places_on: PlacesOn, clients: Clients
) -> None:
    """Inherited columns come back in another order, and IN lists of varchar in another spelling."""
    script = """
    CREATE TABLE parent (a int, b text);
    CREATE TABLE child (own text) INHERITS (parent);
    ALTER TABLE parent ADD COLUMN later timestamptz, ADD COLUMN last int;
    INSERT INTO child VALUES (1, 'b', 'own', '2026-01-01', 5), (2, NULL, E'tab\\t', NULL, NULL);
    CREATE TABLE states (state varchar(9) CHECK (state IN ('new', 'it''s', 'old')), other varchar DEFAULT 'x'
      CHECK (other::text = ANY (ARRAY['x'::varchar, 'y'::varchar]::text[])));
    INSERT INTO states VALUES ('new'), ('it''s');
    """
    take_backup(storage, new_database(17, script), clients[17])
    assert_proven(rehearsed(storage, places_on(17)[0]))


BEHIND = {
    "was never asked": "INSERT INTO t VALUES (1)",
    "is at less": "INSERT INTO t VALUES (DEFAULT), (DEFAULT), (7)",
}


@pytest.mark.parametrize("case", BEHIND)
def test_a_sequence_that_the_source_left_behind(
    case: str, new_database: NewDatabase, storage: ObjectStore, places_on: PlacesOn, clients: Clients
) -> None:
    """A sequence whose next value is already taken is a warning about the source, not an error in the backup."""
    take_backup(storage, new_database(15, f"CREATE TABLE t (id serial PRIMARY KEY); {BEHIND[case]}"), clients[15])
    report = rehearsed(storage, places_on(15)[0])
    assert (report.verdict, report.cause) == ("PROVEN", "")
    found = {c.name: c.result for c in report.checks if c.result != "passed" and c.name != checklist.GLOBALS}
    assert found == {checklist.SEQUENCES: "warning"}
    assert "public.t_id_seq is at" in row(report, checklist.SEQUENCES).evidence


# --- encodings and locales --------------------------------------------------------------------------------------------

LOCALES = {
    "LATIN1": (16, "ENCODING 'LATIN1' LOCALE 'C'"),
    "WIN1251": (18, "ENCODING 'WIN1251' LOCALE 'C'"),
    "SQL_ASCII": (15, "ENCODING 'SQL_ASCII' LOCALE 'C'"),
    "ICU": (15, "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' ENCODING 'UTF8' LOCALE 'C'"),
    "C.UTF-8 on 17": (17, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' ENCODING 'UTF8' LOCALE 'C'"),
    "C.UTF-8 on 18": (18, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' ENCODING 'UTF8' LOCALE 'C'"),
}
WORDS = {"WIN1251": "Таблица", "SQL_ASCII": "tïble"}


@pytest.fixture
def database_in(server_of: ServerOf, clients: Clients) -> Iterator[Callable[[str], Server]]:
    """A function that creates a database with one of LOCALES, with non-ASCII names and rows."""
    made: list[Server] = []

    def create(locale: str) -> Server:
        major, options = LOCALES[locale]
        server = server_of(major)
        told(server, f"CREATE DATABASE localised TEMPLATE template0 {options}")
        made.append(server)
        word = WORDS.get(locale, "täble")
        script = f"""CREATE TABLE "{word}" ("{word}" text PRIMARY KEY); CREATE SEQUENCE "{word} s";
        INSERT INTO "{word}" SELECT '{word} ' || n FROM generate_series(1, 200) n;"""
        if locale == "SQL_ASCII":  # bytes that aren't text in any encoding
            script += f"""INSERT INTO "{word}" VALUES (E'\\xff\\xfe\\x80');"""
        psql(clients[major], server.on("localised"), "SET client_encoding = 'UTF8';" * (locale != "SQL_ASCII") + script)
        return server.on("localised")

    yield create
    for server in made:
        told(server, "DROP DATABASE IF EXISTS localised WITH (FORCE)", "DROP DATABASE IF EXISTS restored WITH (FORCE)")


@pytest.mark.parametrize("locale", LOCALES)
def test_any_encoding_and_locale(
    locale: str,
    database_in: Callable[[str], Server],
    storage: ObjectStore,
    flow_run: FlowRun,
    places_on: PlacesOn,
) -> None:
    """A database is restored with its own encoding and locale; names in the manifest are readable text."""
    source = database_in(locale)
    ran = flow_run(backup, source)
    assert ran.error is None
    names = [t.name for t in manifest_of(storage, ran.result.name).tables]
    assert names == [f'public."{WORDS.get(locale, "täble")}"']
    for place in places_on(LOCALES[locale][0]):
        assert_proven(rehearsed(storage, place, name=ran.result.name))
    assert flow_run(restore, to=source.on("restored"), backup="latest").error is None
    facts, restored = source.inspect(), source.on("restored").inspect()
    fields = ("encoding", "collation", "character_type", "locale_provider", "locale")
    assert [getattr(restored, f) for f in fields] == [getattr(facts, f) for f in fields]


def test_a_locale_that_the_drill_server_lacks_is_replaced(
    database_in: Callable[[str], Server], storage: ObjectStore, places_on: PlacesOn, clients: Clients
) -> None:
    """A server without ICU still proves the contents of a database that used it, but not its sort order."""
    take_backup(storage, database_in("ICU"), clients[15])
    for place in places_on(16):
        report = rehearsed(storage, place)
        assert_proven(report, {checklist.COLLATIONS})
        assert "de-u-co-phonebk (ICU), which this server lacks" in row(report, checklist.COLLATIONS).evidence


@pytest.mark.parametrize("locale", ["LATIN1", "WIN1251", "SQL_ASCII"])
def test_a_foreign_backup_in_another_encoding(
    locale: str,
    database_in: Callable[[str], Server],
    storage: ObjectStore,
    places_on: PlacesOn,
    clients: Clients,
) -> None:
    """A foreign dump states its encoding; the copy uses the same, because not all bytes are valid in another."""
    major, _ = LOCALES[locale]
    take_backup(storage, database_in(locale), clients[major])
    put_object(storage, gzip.compress(gzip.decompress(object_of(storage))))
    without_manifest(storage)
    assert_proven(rehearsed(storage, places_on(major)[major % 2]), UNKNOWN)
