"""A backup on real servers: the contents of object and manifest, and the command's output."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.config.load import load_settings
from blocks.plan import BackupPlan
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import BackupResult
from flows.backup import backup as backup_flow
from flows.demo.services import Storage
from tasks.engine.repository.manifest import Manifest, read_manifest
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, FlowRun, NewDatabase, psql
from tests.integration.objects import put_object

RUN = Callable[..., Ended]
NAME = re.compile(r"backup_\d{8}_\d{6}")
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR): \S")


def names(storage: ObjectStore) -> list[str]:
    """Return the sorted names of the objects in the test's folder, without the folder."""
    return sorted(found.key.removeprefix(storage.key("")) for found in storage.list_objects())


def fetch(storage: ObjectStore) -> tuple[Manifest, bytes]:
    """Return the manifest and the object of the only backup in the test's folder."""
    companion, manifest_file, object_file = names(storage)
    name = object_file.removesuffix(".sql.gz")
    assert (companion, manifest_file) == (f"{name}.globals.sql.gz", f"{name}.manifest.json")
    return read_manifest(storage.get(storage.key(manifest_file)), name), storage.get(storage.key(object_file))


def test_the_object_is_plain_gzip_sql_of_a_hard_database(
    hard_database: Callable[[int], Server], command_line: RUN, storage: ObjectStore
) -> None:
    """The key, the object, the manifest and the JSON document of a backup all agree with each other."""
    server = hard_database(16)
    made = command_line("backup", "--json", server=server)
    assert made.status == 0, made.err
    said = json.loads(made.out)
    manifest, stored = fetch(storage)
    raw = gzip.decompress(stored)
    assert list(said) == [
        "name",
        "key",
        "object_bytes",
        "raw_bytes",
        "rows",
        "tables",
        "sha256",
        "seconds",
        "warnings",
        "anomalies",
        "without",
    ]
    assert NAME.fullmatch(said["name"])
    assert said["key"] == storage.key(said["name"] + ".sql.gz")
    assert said["object_bytes"] == manifest.object_bytes == len(stored)
    assert said["raw_bytes"] == manifest.raw_bytes == len(raw)
    assert said["sha256"] == manifest.sha256 == hashlib.sha256(stored).hexdigest()
    assert (said["rows"], said["tables"]) == (manifest.rows, len(manifest.tables))
    assert said["seconds"] > 0
    assert (manifest.database, manifest.plan, manifest.format) == (server.database, "default", 1)
    begun = datetime.strptime(manifest.name, "backup_%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - begun < timedelta(minutes=5)
    assert b"\n-- PostgreSQL database dump complete\n" in raw[-500:]
    assert b'OWNER TO "r\xc3\xb6le with ""quotes""";' in raw
    assert b"GRANT SELECT ON TABLES TO reader;" in raw
    assert b"GRANT SELECT(id) ON TABLE public.guarded TO reader;" in raw
    assert {"reader", 'röle with "quotes"'} <= set(manifest.roles)
    lines = made.err.splitlines()
    assert lines
    assert [line for line in lines if not LOG_LINE.match(line)] == []
    assert "INFO: Backup completed successfully: " + said["key"] in made.err


def test_the_level_that_is_set_is_the_one_that_packs(new_database: NewDatabase, flow_run: FlowRun) -> None:
    """COMPRESSION_LEVEL reaches the compressor: the same rows are smaller at 6 than at 1, and smaller still at 9."""
    words = " || ' ' || ".join(f"left(md5((n * {k} % 997)::text), 6)" for k in range(1, 12))
    server = new_database(16, f"CREATE TABLE t AS SELECT n, {words} AS v FROM generate_series(1, 40000) n")
    sizes = []
    for level in ("1", "6", "9"):
        ran = flow_run(backup_flow, server, environ={"COMPRESSION_LEVEL": level})
        assert isinstance(ran.result, BackupResult), ran.error
        sizes.append(ran.result.object_bytes)
    assert sizes[0] > sizes[1] * 1.05 > sizes[1] > sizes[2] * 1.03


def test_every_table_can_be_fetched_by_a_range(
    new_database: NewDatabase, flow_run: FlowRun, storage: ObjectStore
) -> None:
    """A ranged read of a table's member, minus the skipped bytes, begins with its COPY statement and has its rows."""
    script = "".join(
        f"CREATE TABLE t{n} (id int, t text);"
        f"INSERT INTO t{n} SELECT i, repeat(md5((i * {n})::text), 20) FROM generate_series(1, {n * 1500}) i;"
        for n in range(1, 5)
    )
    ran = flow_run(backup_flow, new_database(16, script + 'CREATE TABLE "ünd leer" (a int)'))
    assert ran.error is None
    manifest, stored = fetch(storage)
    assert {t.name: t.rows for t in manifest.tables} == {
        'public."ünd leer"': 0, "public.t1": 1500, "public.t2": 3000, "public.t3": 4500, "public.t4": 6000,
    }  # fmt: skip
    assert len({t.member_offset for t in manifest.tables}) > 3  # otherwise the index would be pointless
    for table in manifest.tables:
        ranged = b"".join(storage.open_range(storage.key(manifest.name + ".sql.gz"), table.member_offset))
        plain = gunzip_members(ranged, table.skip_bytes + table.raw_bytes)[table.skip_bytes :][: table.raw_bytes]
        first, *rows = plain.split(b"\n")
        assert first.decode() == f"COPY {table.name} ({', '.join(table.columns)}) FROM stdin;"
        assert rows.index(rb"\.") == table.rows
    assert ranged
    assert len(stored) == manifest.object_bytes


def gunzip_members(data: bytes, wanted: int) -> bytes:
    """Decompress consecutive gzip members until there is enough data."""
    plain = b""
    while data and len(plain) < wanted:
        member = zlib.decompressobj(wbits=31)
        plain += member.decompress(data)
        data = member.unused_data
    return plain


@pytest.mark.parametrize("name", ['two words "quoted" and ünïcödé', "it's; DROP -- %41$x{}", "-dash"])
def test_the_name_of_a_database_can_be_anything(
    name: str, new_database: NewDatabase, flow_run: FlowRun, storage: ObjectStore
) -> None:
    """A database is dumped whatever its name, including its empty tables, and no other is dumped in its place."""
    server = new_database(16, "CREATE TABLE nothing (a int); COMMENT ON TABLE nothing IS 'here I am'", name=name)
    ran = flow_run(backup_flow, server)
    assert isinstance(ran.result, BackupResult), ran.error
    assert (ran.result.rows, ran.result.tables) == (0, 1)
    manifest, stored = fetch(storage)
    assert manifest.database == name
    assert b"here I am" in gzip.decompress(stored)


def test_an_empty_database_is_backed_up(
    new_database: NewDatabase, command_line: RUN, storage: ObjectStore, clients: dict[int, Client]
) -> None:
    """An empty database yields a complete backup of no tables, which restores."""
    made = command_line("backup", server=new_database(16))
    assert made.status == 0, made.err
    assert "0 rows of 0 tables" in made.out
    manifest, stored = fetch(storage)
    assert (manifest.rows, manifest.tables) == (0, ())
    psql(clients[16], new_database(16), gzip.decompress(stored).decode())


def test_the_manifest_is_written_last(
    new_database: NewDatabase, flow_run: FlowRun, storage: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is written only once the complete object is stored, with what lies beside it."""
    put_new, order = ObjectStore.put_new, []

    def watched(self: ObjectStore, key: str, *rest: Any) -> bool:
        order.append((key.rpartition("/")[2].partition(".")[2], [n.partition(".")[2] for n in names(self)]))
        return put_new(self, key, *rest)

    monkeypatch.setattr(ObjectStore, "put_new", watched)
    assert flow_run(backup_flow, new_database(16, "CREATE TABLE t AS SELECT 1 AS a")).error is None
    assert order == [
        ("sql.gz", []), ("globals.sql.gz", ["sql.gz"]), ("manifest.json", ["globals.sql.gz", "sql.gz"])
    ]  # fmt: skip


def test_the_older_names_of_the_settings_work(
    new_database: NewDatabase, command_line: RUN, storage: ObjectStore, storage_server: Storage
) -> None:
    """A backup works with POSTGRES_* instead of DATABASE_URL, and BUCKET_NAME instead of S3_BUCKET."""
    server = new_database(16, "CREATE TABLE t AS SELECT 1 AS a", name="with p@ss/w?rd#: in %it")
    login = server.parameters()
    password = "p@ss/w?rd#:%41 &=+'\"\\ü"
    with server.connect() as connection:
        connection.execute("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {password}", "odd/user@x", password=password)
    made = command_line(
        "backup", "--json", S3_BUCKET="", BUCKET_NAME=storage_server.bucket, POSTGRES_HOST=login["host"],
        POSTGRES_PORT=login["port"], POSTGRES_USER="odd/user@x", POSTGRES_PASSWORD=password, POSTGRES_DB=server.database,
    )  # fmt: skip
    with server.connect() as connection:
        connection.execute("DROP ROLE {}", "odd/user@x")
    assert made.status == 0, made.err
    assert json.loads(made.out)["rows"] == 1
    assert fetch(storage)[0].database == server.database


def test_foreign_objects_are_left_alone(
    new_database: NewDatabase, command_line: RUN, flow_run: FlowRun, storage: ObjectStore
) -> None:
    """A prefix with 2,000 foreign objects is listed beyond its first page, and prune touches none of them."""
    theirs = [f"backup_{n}.tar" for n in range(1990)]
    theirs += ["Backup_20200101_000000.sql.gz", "backup_20200101_000000.sql.gz.tmp", "backup_20201301_000000.sql.gz",
               "backup_2020010_000000.sql.gz", "x/backup_20200101_000000.sql.gz", "old_backup_20200101_000000.sql.gz",
               "backup_20200101_000000.sql", "backup_20200101_000000_1.sql.gz", "backup_20200102_000000.manifest.json",
               "zzz"]  # fmt: skip
    ours_old = "backup_20200101_000000.sql.gz"
    neighbour = replace(storage, folder=f"{storage.key('')[:-1]}9")
    neighbour.put(neighbour.key(ours_old), b"a neighbour's")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: storage.put(storage.key(name), b"theirs"), theirs))
    # Made by another tool, so without our mark; it follows our naming, so it ages like our own.
    put_object(storage, b"theirs", "backup_20200101_000000")
    server = new_database(16, "CREATE TABLE t AS SELECT 1 AS a")
    made = flow_run(backup_flow, server)
    assert isinstance(made.result, BackupResult), made.error
    name = made.result.name
    assert names(storage) == sorted([*theirs, f"{name}.globals.sql.gz", f"{name}.manifest.json", f"{name}.sql.gz"])
    assert names(neighbour) == [ours_old]
    listed = command_line("list", "--json")
    assert [(b["name"], b["rows"], b["verdict"]) for b in json.loads(listed.out)] == [(name, 1, None)]
    neighbour.remove(neighbour.key(ours_old))


def test_two_backups_in_one_second_get_two_names(
    new_database: NewDatabase, flow_run: FlowRun, storage: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing name is never overwritten."""
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr("tasks.backup.utc_now", lambda: now)
    server = new_database(16)
    made = [flow_run(backup_flow, server).result for _ in range(2)]
    assert [m.name for m in made] == [f"backup_{now + timedelta(seconds=n):%Y%m%d_%H%M%S}" for n in (0, 1)]
    assert len(names(storage)) == 6


def test_no_prefect_server_is_needed(
    new_database: NewDatabase, command_line: RUN, storage: ObjectStore, tmp_path: Path
) -> None:
    """A backup runs without a server, leaves none of Prefect's files, and prints a single JSON document."""
    made = command_line("backup", "--json", server=new_database(16))
    assert made.status == 0, made.err
    assert json.loads(made.out)["name"] == fetch(storage)[0].name
    assert [line for line in made.err.splitlines() if not LOG_LINE.match(line)] == []
    assert not (tmp_path / "prefect").exists()


@pytest.fixture
def api(prefect_api: str) -> Iterator[str]:
    """Use the Prefect server for what this process itself does."""
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield prefect_api


def test_a_saved_plan_is_backed_up_and_its_secrets_are_masked(
    new_database: NewDatabase,
    api: str,
    storage: ObjectStore,
    storage_server: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan saved as a block runs by name, and Prefect shows neither its password nor its key."""
    server = new_database(16, "CREATE TABLE t AS SELECT 1 AS a")
    password = server.parameters()["password"]
    with monkeypatch.context() as patched:
        for name, value in storage_server.environment().items():
            patched.setenv(name, value)
        patched.setenv("DATABASE_URL", server.url.get_secret_value())
        patched.setenv("BACKUP_PREFIX", str(storage.folder))
        patched.setenv("COMPRESSION_LEVEL", "1")
        settings = load_settings(frozenset({"database", "storage"}))
        BackupPlan.from_settings(settings).save("other", overwrite=True)
    made = backup_flow(plan="other")
    manifest = fetch(storage)[0]
    assert (made.name, manifest.plan, manifest.compression) == (manifest.name, "other", "gzip, level 1")

    async def shown() -> str:
        async with get_client() as client:
            documents = await client.read_block_documents(include_secrets=False)
            return "\n".join(document.model_dump_json() for document in documents)

    text = asyncio.run(shown())
    assert "pg-roundtrip" in text
    assert str(storage.bucket) in text
    for secret in (password, quote(password), storage_server.secret):
        assert secret not in text
    again = BackupPlan.load("other")
    assert isinstance(again, BackupPlan)
    assert again.plan("other").source.parameters()["password"] == password


@pytest.mark.usefixtures("prefect_api")
def test_a_plan_that_nobody_saved_is_named(command_line: RUN) -> None:
    """An unknown plan is a configuration error: exit status 2, its name, and what to do."""
    ended = command_line("backup", "--plan", "nowhere")
    assert ended.status == 2
    assert "ERROR: There is no plan named nowhere" in ended.err
    assert "HINT: " in ended.err
    ended = command_line("backup", "--plan", "nowhere", PREFECT_API_URL="")
    assert ended.status == 2
    assert "ERROR: The saved plan nowhere needs a Prefect server" in ended.err
    assert "HINT: set PREFECT_API_URL" in ended.err
    assert "Traceback" not in ended.out + ended.err
