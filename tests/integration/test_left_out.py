"""What a dump silently leaves out is reported before the first backup, by every backup, and beside the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from blocks.config.plan import Plan
from blocks.sql.server import Server
from flows.backup import backup
from flows.restore_drill import restore_drill
from tasks.engine.dump.left_out import what_is_left_out
from tasks.status.check import check_plan
from tests.conftest import MAJORS, Ended, FlowRun, NewDatabase
from tests.integration.objects import told
from tests.integration.test_check import as_role

EXTENSIONS = {15: "pgcrypto", 16: "vector", 17: "pgcrypto", 18: "vector"}
# Filled and reassigned in one transaction, as a migration does it.
QUEUE = """
CREATE TABLE q_mail (id bigserial PRIMARY KEY, body text);
INSERT INTO q_mail (body) SELECT 'm' || i FROM generate_series(1, 1000) i;
ALTER EXTENSION EXTENSION_NAME ADD TABLE q_mail;
ALTER EXTENSION EXTENSION_NAME ADD SEQUENCE q_mail_id_seq;
CREATE TABLE emptied (i int);
ALTER EXTENSION EXTENSION_NAME ADD TABLE emptied;
CREATE TABLE normal (i int);
INSERT INTO normal SELECT generate_series(1, 10);
ANALYZE;
"""
FAR = """
CREATE SUBSCRIPTION from_head CONNECTION 'host=192.0.2.1 dbname=x' PUBLICATION p WITH (connect = false);
CREATE FOREIGN DATA WRAPPER plain;
CREATE SERVER far FOREIGN DATA WRAPPER plain OPTIONS (host '192.0.2.1', dbname 'x');
CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'u', password 'a secret');
CREATE TABLE a (i int PRIMARY KEY);
"""
DETACH = ("ALTER SUBSCRIPTION from_head SET (slot_name = NONE)", "DROP SUBSCRIPTION from_head")
PASSWORD = "a password"


@pytest.fixture(params=MAJORS)
def far(request: pytest.FixtureRequest, new_database: NewDatabase) -> Iterator[tuple[Server, Server]]:
    """A database with a subscription to another, and a role that can read everything but is not a superuser."""
    server = new_database(request.param)
    told(server, *(s for s in FAR.split(";\n") if s.strip()))
    told(
        server,
        "DROP ROLE IF EXISTS reads_all",
        f"CREATE ROLE reads_all LOGIN PASSWORD '{PASSWORD}'",
        "GRANT pg_read_all_data TO reads_all",
    )
    yield server, as_role(server, "reads_all", PASSWORD)
    told(server, *DETACH, "DROP ROLE reads_all")


def test_what_a_role_cannot_dump(
    far: tuple[Server, Server], command_line: Callable[..., Ended], plan_for: Callable[..., Plan]
) -> None:
    """`check`, log, JSON and manifest report missing subscriptions and user mapping options; a superuser dumps both."""
    server, role = far
    assert what_is_left_out(server) == []
    found = [f for f in check_plan(plan_for(role)) if f.name == "left out"]
    assert [f.result for f in found] == ["warning", "warning"]
    assert "from_head" in found[0].text
    assert "PUBLIC on far" in found[1].text
    done = command_line("backup", "--json", server=role)
    assert done.status == 0, done.err
    warnings = json.loads(done.out)["warnings"]
    assert len(warnings) == 2, warnings
    assert any("subscription" in text for text in warnings)
    assert any("PUBLIC on far" in text for text in warnings)
    assert "WARNING: pg_dump warned: " in done.err
    assert "a secret" not in done.out + done.err
    listed = json.loads(command_line("list", "--json").out)
    assert listed[0]["warnings"] == warnings


@pytest.mark.parametrize("major", MAJORS)
def test_rows_of_an_extensions_table(
    major: int, new_database: NewDatabase, flow_run: FlowRun, plan_for: Callable[..., Plan]
) -> None:
    """`check`, the backup and the drill report an extension table whose rows no dump has, unless it is empty."""
    name = EXTENSIONS[major]
    server = new_database(major, f"CREATE EXTENSION {name}")
    told(
        server, QUEUE.replace("EXTENSION_NAME", name), 'CREATE TABLE "100 %s" (i int); INSERT INTO "100 %s" VALUES (1)'
    )
    sentence = (
        f"public.q_mail (about 1,000 rows) belongs to extension {name}, which does not declare it as data: "
        "pg_dump leaves it out"
    )
    assert [f.text for f in check_plan(plan_for(server)) if f.name == "left out"] == [sentence]
    assert flow_run(backup, server).result.warnings == [sentence]
    drilled = flow_run(restore_drill, server)
    assert (drilled.state, drilled.result.warnings) == ("PROVEN", (sentence,))
    assert drilled.result.summary()["warnings"] == [sentence]


@pytest.mark.parametrize("major", MAJORS)
def test_a_fresh_extension_is_no_alarm(major: int, new_database: NewDatabase) -> None:
    """CREATE EXTENSION restores the rows of its own transaction, but not rows added later."""
    name = EXTENSIONS[major]
    server = new_database(major)
    told(
        server,
        f"CREATE EXTENSION {name}; CREATE TABLE brought (i int); INSERT INTO brought VALUES (1); ALTER EXTENSION {name} ADD TABLE brought",
    )
    assert what_is_left_out(server) == []
    told(server, "INSERT INTO brought VALUES (2)")
    assert len(what_is_left_out(server)) == 1


@pytest.mark.parametrize("major", MAJORS)
def test_what_no_dump_holds(major: int, new_database: NewDatabase) -> None:
    """Invalid indexes, and user objects in a system schema, are reported."""
    server = new_database(major, "CREATE TABLE t (i int); INSERT INTO t VALUES (1), (1)")
    told(
        server,
        "CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE VIEW information_schema.ours AS SELECT 1 AS a",
        "CREATE INDEX lame ON t (i)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'lame'::regclass",
    )
    index, objects = (found.text for found in what_is_left_out(server))
    assert "1 invalid index: public.lame;" in index
    assert "2 objects in a system schema: information_schema.ours, pg_catalog.mine;" in objects


def test_changed_rows_of_an_extension(new_database: NewDatabase) -> None:
    """A restore brings back the extension script's original rows: changed ones are reported, and only those."""
    server = new_database(15, "CREATE EXTENSION postgis")
    assert what_is_left_out(server) == []
    told(server, "UPDATE spatial_ref_sys SET proj4text = '+proj=longlat +changed' WHERE srid = 4326")
    (found,) = what_is_left_out(server)
    assert "public.spatial_ref_sys has 1 changed row of extension postgis" in found.text


def test_objects_in_the_servers_own_schema(new_database: NewDatabase, plan_for: Callable[..., Plan]) -> None:
    """Objects in pg_catalog are reported, whatever their kind: pg_dump leaves them out."""
    server = new_database(
        16,
        "CREATE TEXT SEARCH CONFIGURATION pg_catalog.mine (COPY = english); CREATE COLLATION pg_catalog.mycol (locale = 'C')",
    )
    (found,) = (f.text for f in check_plan(plan_for(server)) if f.name == "left out")
    assert "pg_catalog.mine" in found
    assert "pg_catalog.mycol" in found
