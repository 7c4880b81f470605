"""`show` and `diff` look into backups without a server, and read only the parts that they show."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from blocks.errors import BackupDamaged, ConfigurationError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup as backup_flow
from tasks.engine.age.identities import new_identity
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.schema_parts import title_of
from tasks.engine.look.rows import lines_of
from tasks.engine.look.schema import read_schema
from tasks.engine.servers.programs import Client
from tasks.look import Opened, open_backup, table_named
from tests.conftest import MAJORS, Ended, FlowRun, NewDatabase
from tests.integration.objects import (
    LARGE_OBJECTS,
    NAME,
    manifest_of,
    object_of,
    put_manifest,
    put_object,
    take_backup,
    told,
)
from tests.plans import plan_of

LARGE = """
CREATE SCHEMA "Odd.one";
CREATE TABLE a (n int);
CREATE TABLE big AS SELECT n, (SELECT string_agg(md5((n * m)::text), '') FROM generate_series(1, 16) m) AS v
FROM generate_series(1, 40000) n;
CREATE TABLE orders (id serial PRIMARY KEY, what text DEFAULT 'x', at date, big int);
COMMENT ON COLUMN orders.what IS E'a line\\n\\\\.\\nthat looks like the end of rows';
INSERT INTO orders (what, at) VALUES (E'tab\\t and back\\\\slash', '2026-11-30'), (NULL, NULL), ('line' || chr(10) || 'feed', NULL);
CREATE TABLE "Odd.one"."Order" (id int REFERENCES orders, "a ""b" text);
INSERT INTO "Odd.one"."Order" VALUES (1, 'é');
CREATE TABLE "Odd.one".orders ();
CREATE INDEX by_date ON orders (at);
CREATE STATISTICS together ON what, at FROM orders;
CREATE VIEW seen AS SELECT * FROM orders;
"""
MOST_READ_BYTES = 3 << 20
ROWS = [["1", "tab\t and back\\slash", "2026-11-30", None], ["2", None, None, None], ["3", "line\nfeed", None, None]]


@pytest.fixture
def large(new_database: NewDatabase) -> Server:
    """A database with a table of 20 MB that hardly compresses, and small ones before and behind it."""
    return new_database(16, LARGE)


def opened(storage: ObjectStore, name: str = "latest") -> Opened:
    return open_backup(plan_of(storage), name)


def in_order(storage: ObjectStore) -> list[bytes]:
    """All statements of a plain backup's schema, from reading all of it."""
    scanner = DumpScanner(keep_schema=True)
    scanner.feed(gzip.decompress(object_of(storage)))
    return list(scanner.finish().schema_kept.values())


@pytest.mark.parametrize("key", ["", "encrypted"])
def test_a_small_table_of_a_large_backup(
    key: str, large: Server, storage: ObjectStore, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and statements of one table cost a few megabytes, whatever is around it; in an encrypted backup, too."""
    secret, identity = new_identity()
    environ = {"BACKUP_AGE_RECIPIENTS": identity.recipient.text} if key else {}
    assert flow_run(backup_flow, large, environ=environ).error is None
    if key:
        monkeypatch.setenv("AGE_IDENTITY", secret)
    found = opened(storage)
    assert found.manifest.object_bytes > 3 * MOST_READ_BYTES
    table = table_named(found.manifest, "public.orders")
    shown = found.document(table, schema=True, rows=5)
    assert shown["first_rows"] == ROWS
    assert {title_of(text.encode()) for text in shown["schema"]} >= {
        "CREATE TABLE public.orders", "CREATE SEQUENCE public.orders_id_seq", "CREATE INDEX by_date ON public.orders",
        "ALTER TABLE public.orders ADD CONSTRAINT orders_pkey", "CREATE STATISTICS public.together",
        "COMMENT ON COLUMN public.orders.what",
    }  # fmt: skip
    assert not any(word in text for text in shown["schema"] for word in ("TABLE public.big", "Odd.one", "VIEW"))
    assert shown["read_bytes"] < MOST_READ_BYTES


def test_every_statement_of_a_large_backup(large: Server, storage: ObjectStore, clients: dict[int, Client]) -> None:
    """The schema is all that the dump has of it, in order, without reading the rows between."""
    told(large, LARGE_OBJECTS)
    take_backup(storage, large, clients[16])
    found = opened(storage)
    assert list(read_schema(found.ranges, found.manifest).normal.values()) == in_order(storage)
    assert found.ranges.read_bytes < MOST_READ_BYTES


@pytest.mark.parametrize("major", MAJORS)
def test_every_kind_of_statement(
    major: int, hard_database: Callable[[int], Server], storage: ObjectStore, clients: dict[int, Client]
) -> None:
    """Of a database with everything, every statement is found, and the rows of every table are those that were dumped."""
    take_backup(storage, hard_database(major), clients[major])
    found = opened(storage)
    assert list(read_schema(found.ranges, found.manifest).normal.values()) == in_order(storage)
    plain = gzip.decompress(object_of(storage))
    for table in found.manifest.tables:
        assert b"".join(lines_of(found.ranges, found.manifest, table)) in plain


def test_no_rows_at_all(new_database: NewDatabase, storage: ObjectStore, clients: dict[int, Client]) -> None:
    """A database without tables has a schema, too."""
    take_backup(storage, new_database(16, "CREATE VIEW v AS SELECT 1 AS a"), clients[16])
    assert [text.split(" AS")[0] for text in opened(storage).statements() if "VIEW v" in text.replace("public.", "")]


@pytest.mark.parametrize("field", ["digest", "rows"])
def test_rows_that_are_not_those_of_the_manifest(
    field: str, large: Server, storage: ObjectStore, clients: dict[int, Client]
) -> None:
    """Whoever reads all rows of a table learns that they are damaged, also if they decompress."""
    manifest = take_backup(storage, large, clients[16])
    wrong = {field: "0" * 32 if field == "digest" else 9}
    tables = tuple(t.model_copy(update=wrong) for t in manifest.tables)
    put_manifest(storage, manifest.model_copy(update={"tables": tables}))
    found = opened(storage)
    with pytest.raises(BackupDamaged, match=r"the rows of public\.orders are not those"):
        list(lines_of(found.ranges, found.manifest, table_named(found.manifest, "public.orders")))


def test_a_damaged_object(large: Server, storage: ObjectStore, clients: dict[int, Client]) -> None:
    """A flipped bit, an object that was cut off and another schema are errors, not half of a table or of a schema."""
    manifest = take_backup(storage, large, clients[16])
    data, table = bytearray(object_of(storage)), next(t for t in manifest.tables if t.name == "public.big")
    data[table.member_offset + (1 << 20)] ^= 1
    put_object(storage, bytes(data))
    found = opened(storage)
    with pytest.raises(BackupDamaged):
        list(lines_of(found.ranges, found.manifest, table))
    put_object(storage, bytes(data[:-500]))
    found = opened(storage)
    with pytest.raises(BackupDamaged):
        read_schema(found.ranges, found.manifest)
    put_object(storage, bytes(data))
    put_manifest(storage, manifest.model_copy(update={"schema_digest": "0" * 32}))
    found = opened(storage)
    with pytest.raises(BackupDamaged):
        read_schema(found.ranges, found.manifest)


def test_names_of_tables(large: Server, storage: ObjectStore, clients: dict[int, Client]) -> None:
    """A table is found by the name that people type; one that isn't there, or several, are said."""
    manifest = take_backup(storage, large, clients[16])
    for typed, name in {
        "big": "public.big", "public.big": "public.big", '"public"."big"': "public.big",
        "Odd.one.Order": '"Odd.one"."Order"', '"Odd.one"."Order"': '"Odd.one"."Order"',
    }.items():  # fmt: skip
        assert table_named(manifest, typed).name == name
    for typed, said in {"orders": "several tables", "order": "no table", "public.nothing": "no table"}.items():
        with pytest.raises(ConfigurationError, match=said):
            table_named(manifest, typed)


def test_the_command_shows(
    large: Server, storage: ObjectStore, clients: dict[int, Client], command_line: Callable[..., Ended]
) -> None:
    """What people see: facts and tables, the rows of one, or its statements; with --json, the same for scripts."""
    told(large, 'CREATE TABLE "\x1b[2J" (n int)')
    take_backup(storage, large, clients[16])
    shown = command_line("show", NAME)
    assert shown.status == 0, shown.err
    assert "public.big " in shown.out
    assert "40,000" in shown.out
    assert "\x1b" not in shown.out
    assert json.loads(command_line("show", "latest", "--json").out)["rows"] == manifest_of(storage).rows
    rows = command_line("show", NAME, "--table", "public.orders", "--rows", "2").out.splitlines()
    assert [line.split() for line in rows] == [
        ["id", "what", "at", "big"], ["1", r"tab\t", "and", r"back\slash", "2026-11-30", "NULL"], ["2", "NULL", "NULL", "NULL"],
    ]  # fmt: skip
    ddl = command_line("show", NAME, "--table", "public.orders", "--schema")
    assert ddl.out.startswith("CREATE TABLE public.orders (\n")
    assert command_line("show", NAME, "--rows", "2").status == 2
    assert command_line("show", "backup_20200101_000000").status == 1


def test_what_came_and_went(
    large: Server, storage: ObjectStore, clients: dict[int, Client], command_line: Callable[..., Ended]
) -> None:
    """Two backups are compared by their manifests: tables, their columns, and parts of the schema; by name if wanted."""
    later = "backup_20240208_143022"
    take_backup(storage, large, clients[16])
    assert command_line("diff", NAME, NAME).out == "Both have the same contents\n"
    told(
        large, "DROP TABLE a", "CREATE TABLE b (n int)", "DELETE FROM big WHERE n > 100", "DROP INDEX by_date",
        "UPDATE orders SET what = 'other' WHERE id = 2", "ALTER TABLE orders DROP COLUMN big CASCADE, ADD COLUMN c int",
        """INSERT INTO "Odd.one"."Order" VALUES (2)""",
    )  # fmt: skip
    take_backup(storage, large, clients[16], later)
    found = json.loads(command_line("diff", NAME, later, "--schema", "--json").out)
    assert {t["name"]: (t["change"], t["rows_before"], t["rows_now"], t["columns"]) for t in found["tables"]} == {
        "public.a": ("gone", 0, 0, ""), "public.b": ("new", 0, 0, ""), "public.big": ("shrank", 40000, 100, ""),
        "public.orders": ("changed", 3, 3, "-big, +c"), '"Odd.one"."Order"': ("grew", 1, 2, ""),
    }  # fmt: skip
    assert (found["same"], found["same_tables"], "indexes" in found["parts"]) == (False, 1, True)
    assert "CREATE INDEX by_date ON public.orders" in found["schema"]["missing"]
    assert "CREATE TABLE public.b" in found["schema"]["added"]
    shown = command_line("diff", NAME, "--schema")
    assert shown.status == 0, shown.err
    assert "missing: CREATE INDEX by_date ON public.orders\n" in shown.out
    one = json.loads(command_line("diff", NAME, later, "--table", "b", "--json").out)
    assert [t["name"] for t in one["tables"]] == ["public.b"]
    assert command_line("diff", NAME, later, "--table", "nothing").status == 2


def test_a_key_is_needed(large: Server, flow_run: FlowRun, command_line: Callable[..., Ended]) -> None:
    """An encrypted backup shows nothing without a key."""
    _, identity = new_identity()
    assert flow_run(backup_flow, large, environ={"BACKUP_AGE_RECIPIENTS": identity.recipient.text}).error is None
    for command in (("show", "latest"), ("diff", "latest", "latest")):
        ended = command_line(*command)
        assert (ended.status, "PGR-KEY-MISSING" in ended.err) == (1, True)
        assert "orders" not in ended.out + ended.err
