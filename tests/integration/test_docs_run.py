"""Paste what the documents tell readers to paste into a shell, against real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.config.values import FLOWS
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage, free_ports, running_prefect
from tasks.clock import utc_now
from tasks.engine.repository.names import MANIFEST, OBJECT, name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tests.conftest import NewDatabase, command_environment
from tests.documents import asked_for, documents, marked_blocks, script
from tests.integration.damage import flipped_bit
from tests.integration.objects import (
    LIBRARY,
    NAME,
    asked,
    contents,
    copied,
    manifest_of,
    object_of,
    take_backup,
    told,
)
from tests.markdown import ROOT

MAJOR = 17
PROGRAMS = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
DOCS, RUNBOOKS = ROOT / "docs", ROOT / "docs" / "runbooks"
EMERGENCY, RESTORE, QUICKSTART = RUNBOOKS / "restore-without-prefect.md", DOCS / "restore.md", ROOT / "QUICKSTART.md"
FAILED_DRILL, REFUSED_PRUNE = RUNBOOKS / "failed-drill.md", RUNBOOKS / "refused-prune.md"
ROTATED_KEYS, LOST_PREFECT = RUNBOOKS / "rotated-keys.md", RUNBOOKS / "lost-prefect-database.md"
# More than a megabyte precedes the table, so that its rows begin in the middle of the object.
SHOP = """
CREATE TABLE customers AS SELECT n AS id, md5(n::text) || md5((n + 1)::text) AS name FROM generate_series(1, 30000) n;
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, note text, doubled int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO orders SELECT n, n % 100, E'a "note"\\t' || n FROM generate_series(1, 20000) n;
CREATE TABLE zones AS SELECT n AS id, md5(n::text) AS name FROM generate_series(1, 5000) n;
"""


@pytest.fixture(scope="module")
def elsewhere(clients: dict[int, Client]) -> Iterator[Server]:
    """A server without the roles and databases of the backed-up one."""
    with running_server(clients[MAJOR], port=free_ports(1)[0]) as server:
        yield server


def paste(document: Path, given: Mapping[str, str], folder: Path, way: str = "") -> str:
    """Run a document's marked blocks in bash; fail when one fails, or when it needs a variable that isn't given."""
    assert asked_for(document) <= given.keys()
    text = f"set -eu\n{script(document, way)}"
    done = subprocess.run(
        ["bash", "-c", text], env=dict(given), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def at_hand(
    elsewhere: Server,
    clients: dict[int, Client],
    storage_server: Storage,
    storage: ObjectStore,
    tmp_path: Path,
) -> dict[str, str]:
    """The environment of a reader without our programs: psql, a server, and the bucket."""
    p = elsewhere.parameters()
    return {
        "PATH": f"{clients[MAJOR].folder}:{PROGRAMS}", "HOME": str(tmp_path),
        "PGHOST": p["host"], "PGPORT": p["port"], "PGUSER": p["user"], "PGPASSWORD": p["password"],
        "S3_BUCKET": storage_server.bucket, "BACKUP_PREFIX": str(storage.folder),
        "S3_ENDPOINT": storage_server.endpoint, "S3_REGION": "us-east-1",
        "S3_ACCESS_KEY_ID": storage_server.key_id, "S3_SECRET_ACCESS_KEY": storage_server.secret,
    }  # fmt: skip


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    """A small database."""
    return new_database(16, LIBRARY)


@pytest.fixture
def with_us(
    library: Server, storage_server: Storage, storage: ObjectStore, prefect_api: str, tmp_path: Path
) -> dict[str, str]:
    """The environment of a pg-roundtrip user: its programs, and the variables of a database and a bucket."""
    environ = command_environment(storage_server, storage, prefect_api, tmp_path)
    return {**environ, "PATH": PROGRAMS, "COLUMNS": "200", "DATABASE_URL": library.url.get_secret_value()}


def dropped(server: Server, *names: str) -> None:
    for name in names:
        told(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def test_every_document_that_can_be_run_is_run() -> None:
    """A run mark in any other document would make a promise that no test checks."""
    runnable = {document for document in documents() if any(mark != "given" for mark, _ in marked_blocks(document))}
    assert runnable == {EMERGENCY, RESTORE, QUICKSTART, FAILED_DRILL, REFUSED_PRUNE, ROTATED_KEYS, LOST_PREFECT}


@pytest.mark.parametrize("way", ["curl", "rclone", pytest.param("aws", marks=pytest.mark.long)])
def test_the_emergency_restore(
    way: str,
    hard_database: Callable[[int], Server],
    elsewhere: Server,
    clients: dict[int, Client],
    storage: ObjectStore,
    at_hand: dict[str, str],
    tmp_path: Path,
) -> None:
    """The runbook restores the whole database to a blank server, without any of our programs."""
    source, restored = hard_database(MAJOR), elsewhere.on("restored")
    manifest = take_backup(storage, source, clients[MAJOR], name=name_at(utc_now()))
    try:
        said = paste(EMERGENCY, at_hand, tmp_path, way)
        assert contents(restored, clients[MAJOR], like=source) == contents(source, clients[MAJOR])
        large = "SELECT loid, md5(string_agg(data, '' ORDER BY pageno)) FROM pg_largeobject GROUP BY 1 ORDER BY 1"
        assert asked(restored, large) == asked(source, large)
        assert f"{manifest.name}{OBJECT}: OK" in said
        assert said.splitlines()[-1] == f"compared {len(manifest.tables)} tables, {manifest.rows} rows"
        assert "|" not in said  # a table that differs would show up as a row with a bar
    finally:
        dropped(elsewhere, "restored")


def test_restore_by_hand_and_one_table(
    new_database: NewDatabase,
    elsewhere: Server,
    clients: dict[int, Client],
    storage: ObjectStore,
    at_hand: dict[str, str],
    tmp_path: Path,
) -> None:
    """With gunzip and psql everything is restored; one table comes from the copy, the file, or a ranged read."""
    source, restored, shop = new_database(MAJOR, SHOP), elsewhere.on("restored"), elsewhere.on("shop")
    manifest = take_backup(storage, source, clients[MAJOR])
    (orders,) = [table for table in manifest.tables if table.name == "public.orders"]
    assert orders.member_offset > 0
    (tmp_path / f"{manifest.name}{OBJECT}").write_bytes(object_of(storage))
    (tmp_path / f"{manifest.name}{MANIFEST}").write_bytes(manifest_of(storage).encode())
    rclone = {
        "TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": at_hand["S3_ENDPOINT"], "REGION": at_hand["S3_REGION"],
        "ACCESS_KEY_ID": at_hand["S3_ACCESS_KEY_ID"], "SECRET_ACCESS_KEY": at_hand["S3_SECRET_ACCESS_KEY"],
    }  # fmt: skip
    given = {**at_hand, **{f"RCLONE_CONFIG_BACKUPS_{name}": value for name, value in rclone.items()}}
    told(elsewhere, "CREATE DATABASE shop")
    try:
        told(
            shop,
            *SHOP.strip().split(";\n"),
            "DELETE FROM orders WHERE id % 3 = 0",
            "UPDATE orders SET note = 'new' WHERE id = 1",
        )
        paste(RESTORE, {**given, "BACKUP": manifest.name}, tmp_path)
        assert contents(restored, clients[MAJOR], like=source) == contents(source, clients[MAJOR])
        assert "CREATE TABLE public.orders" in (tmp_path / "orders.sql").read_text()
        every = "SELECT count(*), sum(id), count(*) FILTER (WHERE note = 'new'), sum(doubled) FROM orders"
        assert asked(shop, every) == [(20000, 200010000, 1, 400020000)]
        kept = "SELECT md5(string_agg(id || note, ',' ORDER BY id)) FROM orders"
        assert asked(shop, kept.replace("orders", "orders_restored")) == asked(source, kept)
    finally:
        dropped(elsewhere, "restored", "shop")


@pytest.mark.long
def test_the_quick_start(library: Server, with_us: dict[str, str], tmp_path: Path) -> None:
    """The quick start leads from the variables to a backup that is proven and restored."""
    target = library.on(f"{library.database}_restored")
    try:
        said = paste(QUICKSTART, {**with_us, "RESTORE_DATABASE_URL": target.url.get_secret_value()}, tmp_path)
        assert "PROVEN: backup_" in said
        assert asked(target, "SELECT count(*) FROM books") == [(300,)]
    finally:
        dropped(library.on("postgres"), target.database)


@pytest.mark.long
def test_a_failed_drill(
    library: Server,
    clients: dict[int, Client],
    storage: ObjectStore,
    with_us: dict[str, str],
    tmp_path: Path,
) -> None:
    """The bad backup is identified, and in the end the newest one is proven."""
    bad = take_backup(storage, library, clients[16], name=name_at(utc_now() - timedelta(hours=1)))
    flipped_bit(storage, bad.name)
    said = paste(FAILED_DRILL, with_us, tmp_path)
    *_, good = Repository(storage).backups()
    assert f"FAILED: {bad.name}" in said
    assert "exit status 1" in said
    assert f"{good.name} is PROVEN" in said


@pytest.mark.long
def test_a_refused_prune(
    library: Server,
    clients: dict[int, Client],
    storage: ObjectStore,
    with_us: dict[str, str],
    tmp_path: Path,
) -> None:
    """While backups have stopped, prune removes nothing; after the next backup it removes what is too old."""
    take_backup(storage, library, clients[16])
    copied(storage, "backup_20240101_000000")
    said = paste(REFUSED_PRUNE, with_us, tmp_path)
    assert "Would delete 0 of 2 backups" in said
    assert len(Repository(storage).backups()) == 1


@pytest.mark.long
def test_rotated_keys(with_us: dict[str, str], tmp_path: Path) -> None:
    """New keys are checked before anything uses them."""
    assert "PROVEN: backup_" in paste(ROTATED_KEYS, with_us, tmp_path)


@pytest.mark.long
def test_a_lost_prefect_database(
    library: Server,
    clients: dict[int, Client],
    storage: ObjectStore,
    with_us: dict[str, str],
    tmp_path: Path,
) -> None:
    """Every deployment and plan comes back on an empty Prefect server, and the bucket is unaffected."""
    take_backup(storage, library, clients[16])
    (tmp_path / "prefect.yaml").write_bytes((ROOT / "prefect.yaml").read_bytes())
    (tmp_path / "plans").mkdir()
    for plan in ("shop", "blog"):
        lines = {"DATABASE_URL": with_us["DATABASE_URL"], "BACKUP_PREFIX": plan, "BACKUP_SCHEDULE": "10 3 * * *"}
        (tmp_path / "plans" / f"{plan}.env").write_text("".join(f"{n}={json.dumps(v)}\n" for n, v in lines.items()))
    (tmp_path / "server").mkdir()
    with running_prefect(tmp_path / "server") as api:
        said = paste(LOST_PREFECT, {**with_us, "PREFECT_API_URL": api}, tmp_path)
    assert NAME in said
    for flow in FLOWS:
        for plan in ("default", "shop", "blog"):
            assert f"{flow}/{plan}" in said
    assert "10 3 * * *" in said
