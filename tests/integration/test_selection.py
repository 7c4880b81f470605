"""What a plan leaves out is known to the manifest, the drill, the verdict and the restore, on every version."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from blocks.config.dump_options import ALLOWED
from blocks.config.plan import Plan
from blocks.config.selection import selection_of
from blocks.errors import ConfigurationError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.engine.drill.place import Place
from tasks.engine.dump.dependents import what_needs_it
from tasks.engine.dump.selection import read_selection
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import DrillReport, Manifest
from tasks.engine.servers.programs import Client
from tasks.status.check import check_plan
from tests.conftest import HARD_SQL, MAJORS, Ended, FlowRun, NewDatabase, psql
from tests.integration.corpus import meddled
from tests.integration.objects import (
    LIBRARY,
    asked,
    new_role,
    object_of,
    put_forged,
    take_backup,
    told,
)
from tests.integration.sandboxes import rehearsed, row

SQL = HARD_SQL.with_name("selection.sql").read_text()
EXTENSIONS = {15: "pgcrypto", 16: "vector", 17: "pgcrypto", 18: "vector"}
Drilled = Callable[..., tuple[Manifest, DrillReport]]


@pytest.fixture
def drilled(
    new_database: NewDatabase, clients: dict[int, Client], storage: ObjectStore, server_of: Callable[[int], Server]
) -> Drilled:
    """A function that backs up the database of a major version with some fields of a plan, and drills the backup."""
    made: dict[int, Server] = {}

    def drill(major: int, **selection: str) -> tuple[Manifest, DrillReport]:
        if major not in made:
            made[major] = new_database(major)
            psql(clients[major], made[major], SQL + f"CREATE EXTENSION {EXTENSIONS[major]};")
        for found in list(storage.list_objects()):
            storage.remove(found.key)
        manifest = take_backup(storage, made[major], clients[major], selection=selection)
        return manifest, rehearsed(storage, Place("database", server=server_of(major)))

    return drill


def test_rows_that_are_left_out(
    new_database: NewDatabase, flow_run: FlowRun, command_line: Callable[..., Ended]
) -> None:
    """The rows of a table stay out; everything else is proven, and wherever the verdict is said, so is this."""
    server, copy = new_database(17, LIBRARY), new_database(17)
    made = flow_run(backup, server, environ={"BACKUP_EXCLUDE_TABLE_DATA": "books"}).result
    assert (made.without, made.rows, made.warnings) == ("the rows of 1 table", 20, [])
    drilled = flow_run(restore_drill, server)
    assert drilled.state == "PROVEN (without the rows of 1 table)", drilled.result.cause
    listed = command_line("list")
    assert "PROVEN (without the rows of 1 table)" in listed.out
    assert json.loads(command_line("list", "--json").out)[0]["without"] == "the rows of 1 table"
    assert "PROVEN just now (without the rows of 1 table)" in command_line("status", server=server).out
    assert flow_run(restore, to=copy, backup="latest").error is None
    assert asked(copy, "SELECT (SELECT count(*) FROM authors), (SELECT count(*) FROM books)") == [(20, 0)]


VALUES = {"--extra-float-digits": "=0", "--lock-wait-timeout": "=5s"}


def options_of(major: int) -> list[str]:
    """Return every option that a drill understands and this pg_dump has, with a value if it needs one."""
    values = {**VALUES, "--exclude-extension": f"={EXTENSIONS[major]}"}
    return [f"{name}{values.get(name, '')}" for name, option in ALLOWED.items() if option.since <= major]


@pytest.mark.parametrize("major", MAJORS)
def test_all_options_together(major: int, drilled: Drilled) -> None:
    """A dump with every option that a drill understands is PROVEN, and the verdict says what it is without."""
    manifest, report = drilled(major, pg_dump_options=" ".join(options_of(major)))
    assert report.verdict == "PROVEN", report.cause
    assert "comments, publications" in report.without
    assert "the rows of 1 table" in report.without
    assert manifest.large_objects == 0
    assert "taken without large objects" in row(report, checklist.LARGE_OBJECTS).evidence


@pytest.mark.long
def test_each_option_by_itself(drilled: Drilled) -> None:
    """None of them makes a sound backup FAILED, and only what changes contents makes it less than whole."""
    whole, _ = drilled(18)
    for option in options_of(18):
        manifest, report = drilled(18, pg_dump_options=option)
        assert report.verdict == "PROVEN", (option, report.cause)
        assert bool(manifest.selection) == bool(manifest.without) == bool(report.without), option
        same = (manifest.schema_digest, manifest.rows, manifest.large_objects) == (
            whole.schema_digest, whole.rows, whole.large_objects,
        )  # fmt: skip
        # Nobody made a tablespace, a table access method, a security label or a subscription here.
        without_effect = option in (
            "--no-tablespaces", "--no-table-access-method", "--no-security-labels", "--no-subscriptions", "--extra-float-digits=0",
        )  # fmt: skip
        assert same == (not manifest.without or without_effect), option


# Fields of a plan, what a verdict says then, and the tables whose rows are in the backup.
ALL = {"app.orders", "app.lines", "audit.log", '"Über"."Tägliche, Zahlen"', "public.measures_2025", "public.measures_2026", "public.parent",
       "public.child", "public.cache"}  # fmt: skip
MEASURES = {"public.measures_2025", "public.measures_2026"}
SELECTIONS: list[tuple[dict[str, str], str, set[str]]] = [
    ({"exclude_tables": "audit.log, cache"}, "2 tables", ALL - {"audit.log", "public.cache"}),
    ({"exclude_tables": '"Über"."Tägliche, Zahlen"'}, "1 table", ALL - {'"Über"."Tägliche, Zahlen"'}),
    ({"exclude_tables": "measures, PARENT"}, "4 tables and 1 partitioned table", ALL - MEASURES - {"public.parent", "public.child"}),
    ({"exclude_tables": "app.totals, app.summary, numbers"}, "1 view, 1 materialized view and 1 sequence", ALL),
    ({"exclude_table_data": "measures, audit.*"}, "the rows of 3 tables and the value of 1 sequence", ALL - MEASURES - {"audit.log"}),
    ({"exclude_table_data": "app.summary, parent, app.lines"}, "the rows of 3 tables and the rows of 1 materialized view", ALL - {"public.parent", "public.child", "app.lines"}),
    ({"exclude_schemas": 'aud?t, "Über"'}, "2 schemas, 2 tables and 1 sequence", ALL - {"audit.log", '"Über"."Tägliche, Zahlen"'}),
    ({"include_schemas": "app"}, "2 schemas, 7 tables, 1 partitioned table and 1 sequence", {"app.orders", "app.lines"}),
    ({"include_tables": "app.lines, app.orders"}, "7 tables, 1 partitioned table, 1 view, 1 materialized view and 1 sequence", {"app.orders", "app.lines"}),
    ({"include_tables": "measures, app.*", "exclude_tables": "measures_2025"}, "6 tables and 1 sequence", {"app.orders", "app.lines", "public.measures_2026"}),
    ({"include_schemas": "app", "include_tables": "cache"}, "6 tables, 1 partitioned table and 1 sequence", {"app.orders", "app.lines", "public.cache"}),
    ({"exclude_tables": "audit.log", "exclude_table_data": "cache", "pg_dump_options": "--no-comments"}, "1 table, the rows of 1 and comments", ALL - {"audit.log", "public.cache"}),
]  # fmt: skip


@pytest.mark.parametrize("major", MAJORS)
def test_what_is_selected(major: int, drilled: Drilled) -> None:
    """Each selection holds exactly what it should, restores, and is PROVEN with what it is without."""
    # All on the newest version, and each on one of the others as well.
    for fields, words, tables in (
        SELECTIONS if major == MAJORS[-1] else SELECTIONS[major - MAJORS[0] :: len(MAJORS) - 1]
    ):
        manifest, report = drilled(major, **fields)
        assert (report.verdict, report.without) == ("PROVEN", words), (fields, report.cause)
        assert {t.name for t in manifest.tables} == tables, fields
        assert f"taken without {words}" in row(report, checklist.TABLES).evidence
    manifest, report = drilled(major)
    assert (report.without, manifest.selection) == ("", "")
    assert not {"left_out", "dump_options", "selection"} & json.loads(manifest.encode()).keys()


NEEDING = """
CREATE SCHEMA gone;
CREATE FUNCTION gone.one() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
CREATE TYPE gone.mood AS ENUM ('sad');
CREATE TABLE t (id int PRIMARY KEY);
CREATE SEQUENCE s;
CREATE TABLE refers (id int REFERENCES t);
CREATE VIEW v AS SELECT id FROM t;
CREATE MATERIALIZED VIEW m AS SELECT id FROM t;
CREATE FUNCTION body() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM t; END;
CREATE FUNCTION of_row(t) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE filled (id int DEFAULT nextval('s'), n int DEFAULT gone.one(), f gone.mood);
CREATE TABLE ruled (a int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO t VALUES (NEW.a);
CREATE TABLE top (a int) PARTITION BY LIST (a);
CREATE TABLE part PARTITION OF top FOR VALUES IN (1);
CREATE TABLE owned (id serial);
CREATE INDEX computed ON ruled ((a + gone.one()));
CREATE VIEW of_view AS SELECT * FROM v;
CREATE PUBLICATION p FOR TABLE t, refers;
"""


@pytest.mark.parametrize("major", MAJORS)
def test_what_cannot_be_restored_is_named(major: int, new_database: NewDatabase, flow_run: FlowRun) -> None:
    """Keys, views, functions, defaults, types, rules, indexes and parents that are missing are named when the backup is taken."""
    server = new_database(major, NEEDING)
    selection = selection_of({"exclude_tables": "t, s, v, owned_id_seq", "exclude_schemas": "gone"})
    with server.connect(own_names=True) as connection:
        left_out = read_selection(connection, selection, major)
    with server.connect() as connection:
        found = what_needs_it(connection, left_out, major)
    needing = [
        "default value for public.filled.id needs public.s", "default value for public.filled.n needs gone.one()",
        "function public.body() needs public.t", "function public.of_row(public.t) needs public.t", "index public.computed needs gone.one()",
        "materialized view public.m needs public.t", *(["publication relation public.t in publication p needs public.t"] if major == 18 else []),
        "rule also on public.ruled needs public.t", "table public.filled needs gone.mood",
        "table constraint refers_id_fkey on public.refers needs public.t", "view public.of_view needs public.v",
    ]  # fmt: skip
    assert sorted(said for one in found for said in one.text.partition("what it needs: ")[2].split(", ")) == sorted(
        needing
    )
    if major != MAJORS[-1]:
        return
    ran = flow_run(backup, server, environ={"BACKUP_EXCLUDE_TABLES": "t", "BACKUP_EXCLUDE_TABLE_DATA": "filled"})
    assert "table constraint refers_id_fkey on public.refers needs public.t" in " ".join(ran.result.warnings)
    drill = flow_run(restore_drill, server)
    assert drill.state == "FAILED"
    assert "taken without 1 table and the rows of 1" in drill.result.hint


def test_keys_to_rows_that_are_left_out(new_database: NewDatabase, flow_run: FlowRun) -> None:
    """A foreign key to left-out rows fails the drill with its name, and both were announced; so is a view that will differ."""
    server = new_database(16, LIBRARY + "CREATE MATERIALIZED VIEW many AS SELECT count(*) FROM authors;")
    ran = flow_run(backup, server, environ={"BACKUP_EXCLUDE_TABLE_DATA": "authors"})
    assert "books_author_fkey on public.books refers to public.authors" in ran.result.warnings[0]
    assert "public.many" in ran.result.warnings[1]
    drill = flow_run(restore_drill, server)
    assert drill.state == "FAILED"
    assert "books_author_fkey" in drill.result.cause


@pytest.mark.parametrize(("variable", "value", "said"), [
    ("BACKUP_EXCLUDE_TABLES", "boks", "BACKUP_EXCLUDE_TABLES names nothing in the database [boks]"), ("BACKUP_EXCLUDE_TABLES", "a(", "Invalid BACKUP_EXCLUDE_TABLES [a(:"),
    ("BACKUP_INCLUDE_SCHEMAS", "nowhere", "BACKUP_INCLUDE_SCHEMAS names nothing"), ("BACKUP_EXCLUDE_TABLES", '"books', "Invalid BACKUP_EXCLUDE_TABLES format"),
    ("BACKUP_EXCLUDE_TABLES", "db.public.books", "Invalid BACKUP_EXCLUDE_TABLES format"), ("PG_DUMP_OPTIONS", "--clean", "PG_DUMP_OPTIONS can't have --clean"),
    ("PG_DUMP_OPTIONS", "--statistics", "PG_DUMP_OPTIONS has --statistics, which pg_dump 16 doesn't know"),
])  # fmt: skip
def test_a_selection_that_is_wrong(
    variable: str, value: str, said: str, new_database: NewDatabase, flow_run: FlowRun, storage: ObjectStore
) -> None:
    """It is a clear error before anything is dumped, and nothing is stored."""
    ran = flow_run(backup, new_database(16, LIBRARY), environ={variable: value})
    assert isinstance(ran.error, ConfigurationError)
    assert said in ran.error.sentence
    assert list(storage.list_objects()) == []


def test_names_in_another_encoding(
    server_of: Callable[[int], Server], clients: dict[int, Client], storage: ObjectStore
) -> None:
    """A name outside of ASCII is found, left out and proven in a database whose encoding is not UTF-8."""
    server = server_of(17)
    told(server, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        told(
            server.on("latin"),
            'CREATE TABLE "größe" (a int); INSERT INTO "größe" VALUES (1); CREATE TABLE rest (a int); CREATE TABLE "weiß" ()',
        )
        manifest = take_backup(
            storage,
            server.on("latin"),
            clients[17],
            selection={"exclude_table_data": '"größe"', "exclude_tables": '"weiß"'},
        )
        report = rehearsed(storage, Place("database", server=server))
        assert (report.verdict, report.without) == ("PROVEN", "1 table and the rows of 1"), report.cause
        assert {t.name for t in manifest.tables} == {"public.rest"}
    finally:
        told(server, "DROP DATABASE latin")


def test_only_what_is_dumped_must_be_readable(
    new_database: NewDatabase, plan_for: Callable[..., Plan], flow_run: FlowRun
) -> None:
    """A role that may not read a table can back up the others, and `check` agrees."""
    server = new_database(16, LIBRARY)
    role = new_role(server)
    told(server, f"GRANT SELECT ON authors, numbers TO {role.parameters()['user']}")
    assert [f.result for f in check_plan(plan_for(role)) if f.name == "read every table"] == ["error"]
    found = {f.name: f for f in check_plan(plan_for(role, include_tables="authors"))}
    assert (found["read every table"].result, found["selection"].text) == ("ok", "without 1 table and 1 view")
    ran = flow_run(backup, role, environ={"BACKUP_INCLUDE_TABLES": "authors"})
    assert ran.error is None, ran.error


def test_a_changed_selection(new_database: NewDatabase, flow_run: FlowRun, caplog: pytest.LogCaptureFixture) -> None:
    """The change is told once, and what vanished with it is no anomaly."""
    server, out = new_database(16, LIBRARY), {"BACKUP_EXCLUDE_TABLES": "books, titles"}

    def takes(environ: dict[str, str]) -> tuple[bool, list[str]]:
        caplog.clear()
        result = flow_run(backup, server, environ=environ).result
        return "What is backed up has changed" in caplog.text, result.anomalies

    for environ, told_ in [({}, False), ({}, False), ({}, False), (out, True), (out, False), ({}, True)]:
        assert takes(environ) == (told_, [])


def test_what_should_not_be_there(
    drilled: Drilled, storage: ObjectStore, server_of: Callable[[int], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that has what was left out is FAILED: rows that were left out, and a table that was."""
    monkeypatch.setattr("tasks.engine.dump.scanner.DumpScanner._refuse", lambda *_: None)
    manifest, _ = drilled(16, exclude_tables="audit.log", exclude_table_data="cache")
    dump = gzip.decompress(object_of(storage))
    for statement, check, said in (
        ("INSERT INTO public.cache VALUES (1)", checklist.ROW_QUERY, "public.cache: its rows were left out, 1 counted"),
        ("CREATE TABLE audit.log ()", checklist.TABLES, "audit.log is in the restored copy"),
    ):
        changed = gzip.compress(meddled(statement)(dump), 1)
        put_forged(storage, changed, manifest)
        report = rehearsed(storage, Place("database", server=server_of(16)))
        assert report.verdict == "FAILED", report.cause
        assert said in row(report, check).evidence, report.cause
