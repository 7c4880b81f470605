"""`check` finds what a backup would find too late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.config.plan import Plan
from blocks.errors import DumpFailed
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from tasks.engine.dump.pg_dump import running_dump
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.servers.programs import Client
from tasks.engine.stream.pipeline import scan_dump
from tasks.status.check import check_plan
from tests.conftest import Ended, NewDatabase


def as_role(server: Server, role: str, password: str) -> Server:
    """Return the same database, as another role."""
    return Server(url=SecretStr(conninfo_url({**server.parameters(), "user": role, "password": password})))


def test_a_sound_setup_passes_and_leaves_nothing(
    new_database: NewDatabase, command_line: Callable[..., Ended], storage: ObjectStore
) -> None:
    """The server, rights, client and the four permissions on the bucket are each checked."""
    done = command_line("check", server=new_database(17))
    assert done.status == 0, done.out + done.err
    for line in (
        "database",
        "client",
        "read every table",
        "drills run in",
        "sandbox",
        "drill queries",
        "provider",
        "bucket write",
        "bucket read",
        "bucket list",
        "bucket delete",
    ):
        assert f"ok  {line} " in done.out
    assert "PostgreSQL 17" in done.out
    assert "a throwaway server, PostgreSQL 17" in done.out
    assert "pg_dump 17" in done.out
    assert list(storage.list_objects()) == []


def test_a_role_that_may_not_read_is_found_out(new_database: NewDatabase, command_line: Callable[..., Ended]) -> None:
    """A table that pg_dump couldn't read is named before the first backup; a missing CREATEDB is a warning."""
    server = new_database(16, "CREATE TABLE closed (a int); CREATE TABLE open (a int)")
    with server.connect() as connection:
        connection.execute("DROP ROLE IF EXISTS half_blind")
        connection.execute("CREATE ROLE half_blind LOGIN PASSWORD {password}", password="pass word/%")
        connection.execute("GRANT SELECT ON public.open TO half_blind")
    try:
        role = as_role(server, "half_blind", "pass word/%")
        done = command_line("check", server=role, VERIFY_TARGET="database")
        assert done.status == 1
        assert "ERROR: pg_dump failed [no right to read 1: public.closed]" in done.err
        assert "HINT: GRANT pg_read_all_data" in done.err
        assert "WARNING: permission denied to create database" in done.err
    finally:
        with server.connect() as connection:
            connection.execute("DROP OWNED BY half_blind")
            connection.execute("DROP ROLE half_blind")


def test_everything_is_looked_at_though_one_thing_fails(
    new_database: NewDatabase, command_line: Callable[..., Ended]
) -> None:
    """A missing bucket doesn't hide that the server is fine, nor the other way round."""
    done = command_line("check", server=new_database(16), S3_BUCKET="nowhere")
    assert done.status == 1
    assert "ok     drills run in" in done.out
    assert "ERROR: S3 upload failed" in done.err
    done = command_line("check", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert done.status == 1
    assert "ERROR: Cannot connect to database [127.0.0.1:1/nothing: Connection refused]" in done.err
    assert "ok     bucket delete" in done.out


def test_what_drills_need_is_looked_at_where_they_run(
    new_database: NewDatabase, command_line: Callable[..., Ended], tmp_path: Path
) -> None:
    """Drill requirements are checked on the drill's own server; refused queries are reported before the first drill."""
    server = new_database(16)
    there = new_database(18)
    queries = tmp_path / "queries.sql"
    queries.write_text("DELETE FROM t;")
    address = there.url.get_secret_value()
    done = command_line("check", server=server, VERIFY_DATABASE_URL=address, VERIFY_QUERIES_FILE=str(queries))
    assert done.status == 1
    assert f"ok     drills run in     {there.address}" in done.out
    assert "ok     create databases" in done.out
    assert "ERROR: " in done.err
    assert "DELETE FROM t" in done.err


@pytest.mark.parametrize("major", [15, 18])
@pytest.mark.parametrize(
    ("script", "readable"),
    [
        ("CREATE TABLE b (a int, c int); GRANT SELECT ON b TO half_blind", True),
        ("CREATE TABLE b (a int, c int); GRANT SELECT (a, c) ON b TO half_blind", False),
        ("CREATE VIEW v AS SELECT 1 AS a; CREATE TYPE t AS (a int)", True),
        ("CREATE TABLE b (a int); GRANT SELECT ON b TO half_blind; CREATE MATERIALIZED VIEW m AS SELECT * FROM b", True),
        ("CREATE SEQUENCE s", False),
        ("CREATE SCHEMA x; CREATE TABLE x.b (a int); GRANT SELECT ON x.b TO half_blind", False),
        ("CREATE TABLE b (a int); ALTER TABLE b ENABLE ROW LEVEL SECURITY; GRANT SELECT ON b TO half_blind", False),
        ("CREATE TABLE b (a int) PARTITION BY RANGE (a); CREATE TABLE b1 PARTITION OF b DEFAULT; GRANT SELECT ON b TO half_blind", False),
        ("SELECT lo_from_bytea(0, 'x')", False),
        ("SELECT lo_from_bytea(4711, 'x'); GRANT SELECT ON LARGE OBJECT 4711 TO half_blind", True),
    ],
    ids=["table", "columns", "view", "materialized view", "sequence", "schema", "row security", "partition",
         "large object", "granted large object"],
)  # fmt: skip
def test_check_says_what_pg_dump_would_say(
    major: int, script: str, readable: bool, new_database: NewDatabase, plan_for: Callable[..., Plan],
    clients: dict[int, Client],
) -> None:  # fmt: skip
    """On the oldest and the newest server, check and pg_dump agree on whether a role can read everything."""
    server = new_database(major)
    with server.connect(own_names=True) as connection:
        connection.execute("CREATE ROLE half_blind LOGIN PASSWORD {password}", password="word")
    try:
        with server.connect(own_names=True) as connection:
            connection.execute(script)
        role = as_role(server, "half_blind", "word")
        found = next(f for f in check_plan(plan_for(role)) if f.name == "read every table")
        try:
            with running_dump(role, clients[major]) as dump:
                scan_dump(dump, DumpScanner())
            dumped = True
        except DumpFailed:
            dumped = False
        assert (found.result, dumped) == ("ok" if readable else "error", readable)
    finally:
        with server.connect() as connection:
            connection.execute("DROP OWNED BY half_blind")
            connection.execute("DROP ROLE half_blind")
