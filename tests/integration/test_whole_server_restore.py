"""`restore --set` brings a whole server back: roles, then each database; what is there stays, and it can be run again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup as backup_flow
from flows.prune import prune as prune_flow
from flows.restore import restore as restore_flow
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.engine.repository.names import LATEST_SET
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.sets import Sets
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tests.conftest import Ended, FlowRun, StartedCommand, databases_of
from tests.integration.damage import flipped_bit
from tests.integration.objects import asked, told, until

NAMES = ("Shop", "shop", 'a "b"\nc')


@pytest.fixture(scope="module")
def both(clients: dict[int, Client]) -> Iterator[tuple[Server, Server]]:
    """A server with roles and databases, and one of a later version."""
    with running_server(clients[15]) as source, running_server(clients[17]) as target:
        told(source, "CREATE ROLE owner_of_all", "CREATE ROLE app LOGIN IN ROLE owner_of_all")
        for number, name in enumerate(NAMES):
            with source.connect() as connection:
                connection.execute("CREATE DATABASE {} OWNER owner_of_all", name)
                connection.execute("ALTER DATABASE {} SET work_mem TO '7MB'", name)
            there = source.on(name)
            told(
                there,
                f"CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, {number + 3}); GRANT SELECT ON t TO app",
            )
        yield source, target


@pytest.fixture
def servers(both: tuple[Server, Server]) -> Iterator[tuple[Server, Server]]:
    """The same, with nothing on the second server."""
    yield both
    target = both[1]
    for name in databases_of(target) - {"postgres", "template0", "template1"}:
        with target.connect() as connection:
            connection.execute("DROP DATABASE {} WITH (FORCE)", name)
    told(target, "DROP ROLE IF EXISTS app, owner_of_all")


def one(server: Server, question: str) -> str:
    """The only value of a query's result."""
    return str(asked(server, question)[0][0])


def rows_in(server: Server, name: str) -> int:
    """How many rows a database has."""
    return int(one(server.on(name), "SELECT count(*) FROM t"))


def test_a_whole_server_comes_back(
    servers: tuple[Server, Server], storage: ObjectStore, command_line: Callable[..., Ended]
) -> None:
    """One damaged backup costs its database only; the next run restores what is missing, and leaves the rest alone."""
    source, target = servers
    environ = {"BACKUP_DATABASES": "*"}
    made = command_line("backup", server=source, **environ)
    assert made.status == 0, made.err
    member = next(m for m in Sets(storage).latest((), utc_now()).done if m.database == "shop")
    folder = storage.within("shop")
    whole = folder.get(Repository(folder).key(member.backup))
    flipped_bit(folder, member.backup)
    url = target.url.get_secret_value()
    command = ["restore", "--set", "latest", "--to-server", url]
    first = command_line(*command, server=source, **environ)
    assert first.status == 1, first.out + first.err
    assert "3 of 4 databases" in first.err
    assert databases_of(target) & set(NAMES) == {"Shop", NAMES[2]}
    folder.put(Repository(folder).key(member.backup), whole)
    told(target.on("Shop"), "CREATE TABLE later (n int)")
    second = command_line(*command, server=source, **environ)
    assert second.status == 1
    assert "Shop" in second.err
    assert "already, all of it" in second.err
    assert [rows_in(target, name) for name in NAMES] == [3, 4, 5]
    told(target.on("Shop"), "DROP TABLE later")
    third = command_line(*command, server=source, **environ)
    assert third.status == 0, third.err
    assert one(target, "SELECT count(*) FROM pg_roles WHERE rolname IN ('app', 'owner_of_all')") == "2"
    owners = one(
        target, "SELECT string_agg(DISTINCT pg_get_userbyid(datdba), ',') FROM pg_database WHERE datname ~* '^shop$'"
    )
    assert owners == "owner_of_all"
    assert one(target.on("shop"), "SHOW work_mem") == "7MB"


FUNCTIONS = "CREATE FUNCTION price(int) RETURNS int LANGUAGE sql AS 'SELECT 42'; CREATE VIEW v AS SELECT 1 AS a"
SERIAL = """
CREATE TABLE t (n serial PRIMARY KEY, m int CHECK (m BETWEEN 1 AND 5 OR m IN (7, 8)));
CREATE VIEW w AS SELECT n FROM t WHERE m BETWEEN 2 AND 3; INSERT INTO t (m) SELECT generate_series(1, 5);
"""
OF_DATABASES = """
SELECT datname, pg_get_userbyid(datdba), ARRAY(SELECT a::text FROM unnest(datacl) a ORDER BY 1), setconfig::text
FROM pg_database d LEFT JOIN pg_db_role_setting ON setdatabase = d.oid WHERE datname = ANY(%s) ORDER BY 1
"""
OTHERS = {
    "funcs": "CREATE VIEW unrelated AS SELECT 2 AS b",
    "serial": "CREATE TABLE t (n int, m int); INSERT INTO t SELECT g, g FROM generate_series(1, 5) g",
    "mapped": "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR app SERVER far",
    "empty": "SELECT 1",
}


def test_nothing_else_is_taken_for_restored(servers: tuple[Server, Server], command_line: Callable[..., Ended]) -> None:
    """Only what an earlier restore made is skipped; what else has the name stays; an empty one counts as missing."""
    source, target = servers
    told(target, "CREATE ROLE app LOGIN")
    made = {"funcs": FUNCTIONS, "serial": SERIAL, "mapped": "CREATE TABLE u ()", "empty": SERIAL}
    for name, script in made.items():
        told(source, f"CREATE DATABASE {name} OWNER owner_of_all", f"ALTER DATABASE {name} SET work_mem TO '7MB'")
        told(source, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC", f"GRANT CONNECT ON DATABASE {name} TO app")
        told(source.on(name), script)
        told(target, f"CREATE DATABASE {name}")
        told(target.on(name), OTHERS[name])
    told(target, "ALTER DATABASE empty SET work_mem TO '9MB'", "GRANT CREATE ON DATABASE empty TO app")
    environ = {"BACKUP_DATABASES": ", ".join(made)}
    assert command_line("backup", server=source, **environ).status == 0
    command = ["restore", "--set", "latest", "--to-server", target.url.get_secret_value(), "--json"]
    before = [row for row in asked(target, OF_DATABASES, list(made)) if row[0] != "empty"]
    first = command_line(*command, server=source, **environ)
    done = json.loads(first.out)
    assert (first.status, done["counted"]) == (1, "1 of 4"), first.err
    assert {one["database"]: one["code"] for one in done["failed"]} == dict.fromkeys(
        ("funcs", "serial", "mapped"), "PGR-TARGET-NOT-EMPTY"
    )
    after = asked(target, OF_DATABASES, list(made))
    assert [row for row in after if row[0] != "empty"] == before
    assert next(row for row in after if row[0] == "empty") == next(
        row for row in asked(source, OF_DATABASES, list(made)) if row[0] == "empty"
    )
    for name in ("funcs", "serial", "mapped"):
        told(target, f"DROP DATABASE {name}")
    for rest in (1, 4):
        again = command_line(*command, server=source, **environ)
        assert (again.status, again.err.count("already, all of it")) == (0, rest), again.err
        assert again.err.count("Plan: keep role app:") == 1
    for name in made:
        told(source, f"DROP DATABASE {name}")


def test_a_plan_changes_nothing(servers: tuple[Server, Server], command_line: Callable[..., Ended]) -> None:
    """With --dry-run, roles are only named; a set never replaces; a single database is restored by its plan's name."""
    source, target = servers
    environ = {"BACKUP_DATABASES": "shop"}
    assert command_line("backup", server=source, **environ).status == 0
    url = target.url.get_secret_value()
    shown = command_line("restore", "--set", "latest", "--to-server", url, "--dry-run", server=source, **environ)
    assert shown.status == 0, shown.err
    assert "Plan: create role app" in shown.err
    assert re.search(r"Plan: create database shop: backup_\w+, 4 rows, ", shown.err)
    assert "shop" not in databases_of(target)
    told(target, "CREATE DATABASE shop")
    dry = ["restore", "--set", "latest", "--to-server", url, "--dry-run"]
    assert "Plan: replace the empty database shop: " in command_line(*dry, server=source, **environ).err
    told(target.on("shop"), "CREATE TABLE other ()")
    assert "Plan: skip database shop if it is backup_" in command_line(*dry, server=source, **environ).err
    told(target, "DROP DATABASE shop")
    assert (
        command_line("restore", "--set", "latest", "--to-server", url, "--replace", server=source, **environ).status
        == 2
    )
    assert command_line("restore", "latest", server=source, **environ).status == 2
    alone = command_line("restore", "latest", "--globals", "--plan", "default/shop", "--to", Server(SecretStr(url)).on("elsewhere").url.get_secret_value(), server=source, **environ)  # fmt: skip
    assert alone.status == 0, alone.err
    assert rows_in(target, "elsewhere") == 4


def test_a_run_that_is_killed_at_the_end(
    servers: tuple[Server, Server],
    command_line: Callable[..., Ended],
    started_command: StartedCommand,
) -> None:
    """A database never appears without its owner and settings: the next run restores it with both."""
    source, target = servers
    environ = {"BACKUP_DATABASES": "shop", "DATABASE_URL": source.url.get_secret_value()}
    assert command_line("backup", **environ).status == 0
    command = ["restore", "--set", "latest", "--to-server", target.url.get_secret_value()]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%' AND wait_event_type = 'Lock'"
    with target.connect(own_names=True) as connection, connection.transaction():
        # As if it died between its last statements: it waits to set the database's own settings.
        connection.execute("LOCK TABLE pg_db_role_setting IN EXCLUSIVE MODE")
        process = started_command(*command, **environ)
        until(lambda: asked(target, waiting) == [(1,)])
        process.kill()
        process.wait()
        assert "shop" not in databases_of(target)
    until(lambda: asked(target, waiting) == [(0,)])
    again = command_line(*command, "--json", **environ)
    assert again.status == 0, again.err
    done = json.loads(again.out)
    assert (done["counted"], done["rows"], done["failed"]) == ("1 of 1", 4, [])
    assert one(target, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'") == "owner_of_all"
    assert one(target.on("shop"), "SHOW work_mem") == "7MB"


@pytest.mark.usefixtures("prefect_api")
def test_recorded_restores(servers: tuple[Server, Server], flow_run: FlowRun) -> None:
    """Under Prefect, each database's restore and drill is a run within the run."""
    source, target = servers
    environ = {"BACKUP_DATABASES": "shop"}
    assert flow_run(backup_flow, source, environ=environ).error is None
    assert flow_run(restore_drill, source, environ=environ).state == "PROVEN"
    ran = flow_run(restore_flow, source, to=target, environ=environ, backup=LATEST_SET, globals_mode="too")
    assert ran.error is None
    assert (ran.result.rows, ran.result.counted) == (4, "1 of 1")
    assert flow_run(prune_flow, source, environ=environ).error is None
