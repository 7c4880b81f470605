"""The roles in SECURITY.md can do their job and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.config.plan import Plan
from blocks.errors import DatabaseError
from blocks.s3.client import ObjectStore
from blocks.sql.connection import Connection
from blocks.sql.server import Server
from tasks.engine.drill.place import Place
from tasks.engine.servers.programs import Client
from tasks.status.check import check_plan
from tests.conftest import NewDatabase
from tests.integration.objects import asked, take_backup, told
from tests.integration.sandboxes import rehearsed
from tests.integration.test_check import as_role

DOCUMENT = (Path(__file__).parents[2] / "SECURITY.md").read_text()
*FOR_BACKUPS, FOR_DRILLS = re.findall(r"^```sql\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
PASSWORD = "a-long-random-password"
# A typical application database, with tables owned by a separate role.
APP = """
CREATE ROLE app LOGIN;
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE SCHEMA private AUTHORIZATION app;
SET ROLE app;
CREATE TABLE public.orders (id serial PRIMARY KEY, who text);
INSERT INTO public.orders (who) SELECT 'customer ' || n FROM generate_series(1, 100) n;
CREATE TABLE private.notes (id int, note text);
INSERT INTO private.notes VALUES (1, 'a'), (2, 'b');
ALTER TABLE private.notes ENABLE ROW LEVEL SECURITY;
SELECT lo_from_bytea(4711, 'a large object');
RESET ROLE;
"""
WRITING = [
    "INSERT INTO public.orders (who) VALUES ('me')", "UPDATE public.orders SET who = 'me'", "DELETE FROM public.orders",
    "TRUNCATE public.orders", "DROP TABLE public.orders", "ALTER TABLE public.orders ADD more int",
    "CREATE TABLE public.mine (id int)", "CREATE SCHEMA mine", "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT nextval('public.orders_id_seq')", "SELECT setval('public.orders_id_seq', 1)", "SELECT lo_put(4711, 0, 'x')",
    "SELECT lo_unlink(4711)", "SELECT lo_create(0)", "CREATE ROLE mine", "CREATE DATABASE mine", "ALTER ROLE app PASSWORD 'mine'",
    "GRANT app TO backup", "COPY public.orders TO PROGRAM 'true'", "SELECT pg_read_file('postgresql.conf')", "ALTER SYSTEM SET work_mem = '1MB'",
]  # fmt: skip
# Every role can create large objects of its own.
ALLOWED = {"SELECT lo_create(0)"}


@pytest.fixture(params=[15, 18])
def app(request: pytest.FixtureRequest, new_database: NewDatabase) -> Iterator[Server]:
    """The database `app` of SECURITY.md; its roles are dropped afterwards."""
    server = new_database(request.param, APP, name="app")
    yield server
    for role in ("backup", "app"):
        if asked(server, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
            told(server, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_the_role_for_backups_reads_everything_and_writes_nothing(
    app: Server, plan_for: Callable[..., Plan], storage: ObjectStore, clients: dict[int, Client]
) -> None:
    """The role backs up everything and passes `check`, but can't write, even without its read-only default."""
    told(app, *FOR_BACKUPS)
    role = as_role(app, "backup", PASSWORD)
    looked = {f.name: f.result for f in check_plan(plan_for(role))}
    assert (looked["read every table"], looked["bucket delete"]) == ("ok", "ok")
    made = take_backup(storage, role, clients[role.inspect().major])
    assert (made.rows, len(made.tables)) == (102, 2)
    report = rehearsed(storage, Place("sandbox", client=clients[18]))
    assert report.verdict == "PROVEN", report.cause
    for statement in WRITING:
        with role.connect(own_names=True) as connection:
            assert refused(connection, statement) or statement in ALLOWED, statement
            connection.execute("SET default_transaction_read_only = off")
            assert refused(connection, statement) or statement in ALLOWED, statement


def refused(connection: Connection, statement: str) -> bool:
    """Return whether the server denies a role a statement."""
    try:
        connection.execute(statement)
    except DatabaseError as error:
        return bool(re.search("read-only|permission denied|must be|must have|[Oo]nly roles", str(error)))
    return False


def test_the_first_block_alone_is_not_enough_for_everything(app: Server, plan_for: Callable[..., Plan]) -> None:
    """`check` names tables with row security and large objects that the role can't read, and what each needs."""
    told(app, FOR_BACKUPS[0])
    found = next(f for f in check_plan(plan_for(as_role(app, "backup", PASSWORD))) if f.name == "read every table")
    assert found.result == "error"
    assert "private.notes" in found.text
    assert "large object 4711" in found.text


@pytest.mark.parametrize("app", [15], indirect=True)
def test_the_role_for_drills(
    app: Server, new_database: NewDatabase, storage: ObjectStore, clients: dict[int, Client]
) -> None:
    """Named like the owner, the role proves a backup on another server; under another name it reports that it can't."""
    take_backup(storage, app, clients[15])
    there = new_database(16)
    told(there, FOR_DRILLS, FOR_DRILLS.replace("app", "drill"), "GRANT app TO drill")
    try:
        report = rehearsed(storage, Place("database", server=as_role(there, "app", PASSWORD)))
        assert report.verdict == "PROVEN", report.cause
        report = rehearsed(storage, Place("database", server=as_role(there, "drill", PASSWORD)))
        assert (report.verdict, report.cause) == (
            "INCONCLUSIVE",
            "Restore failed [permission denied for schema public]",
        )
    finally:
        told(there, "DROP ROLE app, drill")
