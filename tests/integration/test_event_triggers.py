"""Event triggers don't fire during a restore, and are unchanged when the restore is done."""

from __future__ import annotations

import pytest

from blocks.s3.client import ObjectStore
from flows.restore import restore
from tasks.engine.drill.place import Place
from tasks.engine.repository.manifest import Verdict
from tasks.engine.servers.programs import Client
from tests.conftest import MAJORS, FlowRun, NewDatabase
from tests.integration.objects import asked, take_backup, told
from tests.integration.sandboxes import rehearsed

SCRIPT = """
CREATE TABLE audit (tag text); CREATE TABLE z (a int); INSERT INTO z VALUES (1);
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO public.audit VALUES (tg_tag); END $f$;
CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION 'no DDL'; END $f$;
CREATE MATERIALIZED VIEW mz AS SELECT * FROM z;
"""
TRIGGERS = (
    """CREATE EVENT TRIGGER "odd
name" ON ddl_command_end EXECUTE FUNCTION note()""",
    """ALTER EVENT TRIGGER "odd
name" ENABLE {how}""",
    'CREATE EVENT TRIGGER "a;b ""c" ON ddl_command_end EXECUTE FUNCTION note()',
    'ALTER EVENT TRIGGER "a;b ""c" ENABLE {how}',
    "CREATE EVENT TRIGGER strict ON ddl_command_start EXECUTE FUNCTION forbid()",
    "ALTER EVENT TRIGGER strict ENABLE {how}",
)


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("how", ["ALWAYS", "REPLICA"])
def test_event_triggers_that_fire_always(
    how: str, major: int, new_database: NewDatabase, clients: dict[int, Client], storage: ObjectStore, flow_run: FlowRun
) -> None:
    """A dump creates them before its REFRESH; firing then would add rows that weren't dumped, or forbid the refresh."""
    source = new_database(major, SCRIPT)
    told(source, *(statement.format(how=how) for statement in TRIGGERS))
    take_backup(storage, source, clients[major])
    report = rehearsed(storage, Place("sandbox", client=clients[major]))
    assert (report.verdict, report.cause) == (Verdict.PROVEN, "")
    copy = source.on(f"{source.database}_copy")
    done = flow_run(restore, to=copy, backup="latest")
    assert done.state == "Completed", done.error
    try:
        enabled = "SELECT string_agg(evtenabled::text, '' ORDER BY evtname) FROM pg_event_trigger"
        assert asked(copy, enabled) == asked(source, enabled) == [("AAA" if how == "ALWAYS" else "RRR",)]
    finally:
        told(source.on("postgres"), f"DROP DATABASE {copy.database}")
