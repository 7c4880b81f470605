"""A backup is made, proven and restored on the server at TEST_DATABASE_URL and the storage of the S3_ variables."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from blocks.errors import PgRoundtripError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tests.conftest import Ended, databases_of
from tests.integration.objects import copied

WAIT_S = 60
OLD = "backup_20240301_030000"
# Larger than one part of an upload, and hard to compress.
SCRIPT = """
CREATE TABLE events (id bigserial PRIMARY KEY, token text NOT NULL);
INSERT INTO events (token) SELECT md5(n::text) || md5((n + 1)::text) FROM generate_series(1, 400000) n;
CREATE TABLE "odd names" (id int PRIMARY KEY, words text, bytes bytea, day date);
INSERT INTO "odd names" VALUES (1, E'tab\\tand\\nline \\\\. ä €', '\\x00ff', 'infinity'), (2, NULL, NULL, '0044-03-15 BC'), (3, '', '', NULL);
CREATE INDEX ON events (token);
CREATE VIEW newest AS SELECT max(id) AS id FROM events;
CREATE FUNCTION double(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
SELECT lo_from_bytea(0, 'a large object');
"""
COUNTS = 'SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM "odd names"), (SELECT id FROM newest), double(21)'
# Read at import time: tests themselves don't see what the shell has set.
GIVEN = {name: value for name, value in os.environ.items() if name.startswith("S3_") or name == "TEST_DATABASE_URL"}


def given(name: str) -> str:
    """Return a variable that `make test-compat` requires."""
    if not GIVEN.get(name):
        pytest.fail(f"{name} is not set: this suite tests servers that you provide (CONTRIBUTING.md)")
    return GIVEN[name]


def until_there(look: Callable[[], object]) -> None:
    """Wait for a server that starts at the same time as we do; raise its error when it doesn't come up."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            look()
        except PgRoundtripError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


@pytest.fixture(scope="session")
def storage_server() -> Storage:
    """The storage under test; its bucket is created if it doesn't exist."""
    found = Storage(given("S3_ENDPOINT"), given("S3_BUCKET"), given("S3_ACCESS_KEY_ID"), given("S3_SECRET_ACCESS_KEY"))
    client = found.store("").client

    def make_bucket() -> None:
        if found.bucket not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=found.bucket)

    def look() -> None:
        try:
            make_bucket()
        except Exception as error:
            raise PgRoundtripError(str(error)) from error

    until_there(look)
    return found


@pytest.fixture(scope="session")
def server() -> Server:
    """The server under test."""
    found = Server(url=SecretStr(given("TEST_DATABASE_URL")))
    until_there(found.ask)
    return found


@pytest.fixture
def storage(storage_server: Storage) -> Iterator[ObjectStore]:
    """A folder of its own in the bucket, emptied again afterwards."""
    folder = storage_server.store(f"compat/{secrets.token_hex(8)}")
    yield folder
    for found in list(folder.list_objects()):
        folder.remove(found.key)


@pytest.fixture
def databases(server: Server) -> Iterator[tuple[Server, Server]]:
    """A database with some content, and an empty one."""
    names = [f"compat_{kind}_{secrets.token_hex(4)}" for kind in ("source", "target")]
    with server.connect(own_names=True) as connection:
        for name in names:
            connection.execute("CREATE DATABASE {}", name)
    source, target = (server.on(name) for name in names)
    with source.connect(own_names=True) as connection:
        connection.execute(SCRIPT)
    yield source, target
    with server.connect() as connection:
        for name in names:
            connection.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def test_the_round_trip(
    databases: tuple[Server, Server],
    server: Server,
    command_line: Callable[..., Ended],
    storage: ObjectStore,
) -> None:
    """Check, backup, list, drill on the same server, restore and prune succeed, each run by its command."""
    source, target = databases
    before = databases_of(server)

    def run(*arguments: str, **environ: str) -> Ended:
        chosen = {name: GIVEN[name] for name in ("S3_REGION", "S3_PROVIDER") if name in GIVEN}
        done = command_line(*arguments, server=source, VERIFY_TARGET="database", **chosen, **environ)
        assert done.status == 0, done.err
        return done

    checked = run("check").out
    assert "ERROR" not in checked
    assert re.search("ok +bucket delete", checked), checked
    made = json.loads(run("backup", "--json").out)
    assert (made["rows"], made["tables"]) == (400003, 2)
    assert made["object_bytes"] > 8 << 20, "the upload had only one part"
    report = json.loads(run("drill", "--json").out)
    assert (report["verdict"], report["backup"]) == ("PROVEN", made["name"])
    assert {check["result"] for check in report["checks"]} == {"passed"}
    assert databases_of(server) == before
    run("restore", "latest", RESTORE_DATABASE_URL=target.url.get_secret_value())
    with target.connect(own_names=True) as connection:
        assert connection.query(COUNTS) == [(400000, 3, 400000, 42)]
        assert connection.query("SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata") == [
            ("a large object",)
        ]
    copied(storage, OLD, made["name"])
    listed = json.loads(run("list", "--json").out)
    assert [(backup["name"], backup["verdict"]) for backup in listed] == [(OLD, None), (made["name"], "PROVEN")]
    run("prune")
    assert {found.key.rpartition("/")[2].partition(".")[0] for found in storage.list_objects()} == {made["name"]}
