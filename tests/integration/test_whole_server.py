"""With BACKUP_DATABASES, one run backs up all databases of a server, and one that fails costs the others nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.config.databases import folder_for
from blocks.config.plan import Plan
from blocks.errors import SetIncomplete
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows import whole_server
from flows.backup import backup as backup_flow
from flows.demo.services import Storage
from flows.prune import prune as prune_flow
from tasks.clock import utc_now
from tasks.engine.dump.databases import Listed
from tasks.engine.notify.facts import read_facts
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.sets import BackupSet, Sets
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tasks.sets import list_databases
from tasks.status.health import examine
from tasks.status.listing import list_sets
from tasks.status.metrics import exposition, read_stock
from tasks.status.summary import read_status
from tests.conftest import Ended, FlowRun, StartedCommand, command_environment
from tests.integration.damage import flipped_bit
from tests.integration.objects import asked, told, until
from tests.integration.services import Service, running_service
from tests.receivers import receiving

ODD = ("Shop", "shop", 'a "quoted" name', "two\nlines", "up/down", "naïve ☃", "..", "sets")
ALL = {"BACKUP_DATABASES": "*", "BACKUP_GLOBALS": "false"}


@pytest.fixture(scope="module")
def whole(clients: dict[int, Client]) -> Iterator[Server]:
    """A server with databases of odd names, one that may not be connected to, one whose name is not UTF-8, and one that a reader of all data may not connect to."""
    with running_server(clients[18]) as server:
        with server.connect() as connection:
            for name in (*ODD, "closed", "broken"):
                connection.execute("CREATE DATABASE {}", name)
            connection.execute("ALTER DATABASE closed ALLOW_CONNECTIONS false")
            connection.execute("CREATE ROLE reader LOGIN PASSWORD 'reads'")
            connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        told(server.on("latin"), "SET client_encoding TO LATIN1", 'CREATE DATABASE "of\u00e9"')
        told(server, "DROP DATABASE latin")
        for number, name in enumerate(ODD):
            told(server.on(name), f"CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, {number + 1})")
        told(server, "REVOKE CONNECT ON DATABASE broken FROM PUBLIC", "GRANT pg_read_all_data TO reader")
        yield server


def newest(storage: ObjectStore) -> BackupSet:
    """The newest set."""
    return Sets(storage).latest((), utc_now())


def test_one_run_takes_all_of_them(whole: Server, storage: ObjectStore, command_line: Callable[..., Ended]) -> None:
    """Each database has its folder, whatever its name; the set is written last; 9 of 10, and why not the tenth."""
    reader = Server(SecretStr(conninfo_url({**whole.parameters(), "user": "reader", "password": "reads"})))
    done = command_line("backup", "--json", server=reader, **ALL)
    assert done.status == 1, done.err
    assert "9 of 10 databases are backed up" in done.err
    made = newest(storage)
    told_of = json.loads(done.out)
    assert (told_of["set"], told_of["counted"], len(told_of["databases"])) == (made.name, "9 of 10", 10)
    assert [(one["database"], one["code"]) for one in told_of["failed"]] == [("broken", "PGR-DB-REFUSED")]
    assert told_of["failed"][0]["reason"]
    (listed,) = json.loads(command_line("list", "--sets", "--json", server=reader, **ALL).out)
    assert listed["failed"] == told_of["failed"]
    assert {m.database for m in made.done} == {*ODD, "postgres"}
    assert [(m.database, bool(m.error)) for m in made.failed] == [("broken", True)]
    assert {one.database for one in made.left_alone} == {"closed", "of\ufffd", "template0", "template1"}
    stored_at = {found.key: found.modified_at for found in storage.list_objects()}
    assert stored_at[storage.key(f"sets/{made.name}.json")] == max(stored_at.values())
    for member in made.done:
        (found,) = Repository(storage.within(folder_for(member.database))).backups()
        manifest = Repository(storage.within(member.folder)).manifest(found)
        assert manifest
        assert (manifest.database, manifest.rows) == (member.database, member.rows)


def test_patterns_and_several_at_once(whole: Server, storage: ObjectStore, command_line: Callable[..., Ended]) -> None:
    """Patterns choose, exceptions leave out; several at once make the same; names that nobody has are told."""
    given = {**ALL, "BACKUP_DATABASES": '*, !broken, !"Shop"', "BACKUP_PARALLEL_DATABASES": "3"}
    done = command_line("backup", "--json", server=whole, **given)
    assert done.status == 0, done.err
    assert {m["database"] for m in json.loads(done.out)["databases"]} == {*ODD, "postgres"} - {"Shop"}
    assert f"INFO: {ODD[2]}: Backup completed successfully" in done.err
    gone = command_line("backup", server=whole, **{**given, "BACKUP_DATABASES": "shop, crm, closed, tenant_*"})
    assert gone.status == 1
    assert "1 of 3 databases" in gone.err
    assert "crm: there is no database of this name" in gone.err
    assert "closed: it accepts no connections" in gone.err
    assert "WARNING: No database matches tenant_*" in gone.err
    assert [m.database for m in newest(storage).done] == ["shop"]


def test_a_new_database_is_never_forgotten(whole: Server, storage: ObjectStore, flow_run: FlowRun) -> None:
    """The next run has a database that was created since."""
    environ = {**ALL, "BACKUP_DATABASES": "new_*, shop"}
    assert flow_run(backup_flow, whole, environ=environ).result.done == 1
    told(whole, "CREATE DATABASE new_one")
    assert flow_run(backup_flow, whole, environ=environ).result.done == 2
    assert [m.database for m in newest(storage).done] == ["new_one", "shop"]
    told(whole, "DROP DATABASE new_one")


def test_what_is_known_of_them(whole: Server, storage: ObjectStore, command_line: Callable[..., Ended]) -> None:
    """Lists name each database's plan, under which commands take it; drills take all; prune looks at each."""
    given = {**ALL, "BACKUP_DATABASES": "shop, sets"}
    assert command_line("backup", server=whole, **given).status == 0
    listed = json.loads(command_line("list", "--json", server=whole, **given).out)
    assert {entry["plan"] for entry in listed} == {"default/shop", "default/.73ets"}
    assert len(json.loads(command_line("list", "--json", "--plan", "default/shop", server=whole, **given).out)) == 1
    (made,) = json.loads(command_line("list", "--sets", "--json", server=whole, **given).out)
    assert (made["name"], made["done"]) == (newest(storage).name, "2 of 2")
    every = command_line("drill", "--json", server=whole, **given, VERIFY_DATABASES="all")
    assert every.status == 0, every.err
    verdicts = json.loads(every.out)
    assert (verdicts["verdict"], verdicts["counted"], verdicts["failed"]) == ("PROVEN", "2 of 2", [])
    assert [(d["plan"], d["verdict"]) for d in verdicts["databases"]] == [
        ("default/.73ets", "PROVEN"),
        ("default/shop", "PROVEN"),
    ]
    flipped_bit(storage.within("shop"), newest(storage).done[1].backup)
    worse = command_line("drill", server=whole, **given, VERIFY_DATABASES="all")
    assert worse.status == 1
    assert "1 of 2 databases are PROVEN" in worse.out
    assert worse.out.count("FAILED: ") == 1
    drilled = json.loads(command_line("list", "--json", server=whole, **given).out)
    assert {entry["plan"]: entry["verdict"] for entry in drilled} == {
        "default/.73ets": "PROVEN",
        "default/shop": "FAILED",
    }
    legacy = storage.within("legacy")
    for day in (1, 2):
        legacy.put(legacy.key(f"backup_202401{day:02}_000000.sql.gz"), b"another tool's")
    pruned = command_line("prune", server=whole, **given)
    assert len(list(legacy.list_objects())) == 2
    assert "legacy" not in pruned.out
    assert pruned.status == 0, pruned.err
    names = {f"{entry['plan'].partition('/')[2]}/{entry['name']}" for entry in listed}
    assert names <= set(pruned.out.split())
    checked = command_line("check", server=whole, **given)
    assert "shop: read every table" in checked.out
    assert checked.status == 0, checked.out


def test_health_metrics_and_status(
    whole: Server, storage: ObjectStore, flow_run: FlowRun, plan_for: Callable[..., Plan]
) -> None:
    """A server is backed up as well as its weakest database; each has metrics of its own, and a place on the status page."""
    told(whole, "CREATE DATABASE leaving")
    given = {**ALL, "BACKUP_DATABASES": "shop, leaving"}
    assert flow_run(backup_flow, whole, environ=given).error is None
    told(whole, "DROP DATABASE leaving")
    now = utc_now()
    plan = plan_for(whole, databases="shop, sets")
    assert "there is no database" not in str(
        flow_run(backup_flow, whole, environ={**ALL, "BACKUP_DATABASES": "shop, sets"}).error
    )
    health = examine(plan, backs_up=True, started_at=now - timedelta(days=1), now=utc_now())
    assert health.good, health
    assert not examine(plan, backs_up=True, started_at=now - timedelta(days=1), now=now + timedelta(hours=3)).good
    page = exposition("default", read_stock(plan), {}, {}, now).decode()
    assert 'pg_roundtrip_backup_rows{plan="default/shop"} 2.0' in page
    assert 'pg_roundtrip_databases{plan="default"} 2.0' in page
    status = read_status(plan, utc_now())
    # After its own come the folders beside it, of other tests.
    assert [(p.database, p.judgement.retired) for p in status.plans[:3]] == [
        ("sets", False),
        ("shop", False),
        ("leaving", True),
    ]
    assert status.plans[1].commands[0][1].endswith("--plan default/shop")
    ran = flow_run(backup_flow, whole, environ={**ALL, "BACKUP_DATABASES": "shop, sets, gone_1, gone_2"})
    assert isinstance(ran.error, SetIncomplete)
    with_gone = plan_for(whole, databases="shop, sets, gone_1, gone_2")
    assert read_facts(with_gone, utc_now()).newest is None
    failed = read_status(with_gone, utc_now()).document()["failed"]
    assert [(one["database"], one["code"]) for one in failed] == [
        ("gone_1", "PGR-SET-INCOMPLETE"),
        ("gone_2", "PGR-SET-INCOMPLETE"),
    ]
    facts = read_facts(plan, utc_now())
    assert facts.newest
    assert facts.proven is None
    repository = Repository(storage.within("shop"))
    for backup in repository.backups():
        repository.remove(backup)
    assert read_facts(plan, utc_now()).newest is None
    assert not examine(plan, backs_up=True, started_at=now - timedelta(days=1), now=utc_now()).good


def test_what_is_gone_is_forgotten(
    whole: Server, storage: ObjectStore, flow_run: FlowRun, plan_for: Callable[..., Plan]
) -> None:
    """A set names what was removed of it, and goes with the last of its backups; a database that was dropped keeps its newest."""
    told(whole, "CREATE DATABASE short_lived")
    environ = {**ALL, "BACKUP_DATABASES": "short_*, sets"}
    first = flow_run(backup_flow, whole, environ=environ).result
    (listed,) = list_sets(plan_for(whole, databases="*"))
    assert (listed["done"], listed["removed"]) == ("2 of 2", [])
    told(whole, "DROP DATABASE short_lived")
    second = flow_run(backup_flow, whole, environ=environ).result
    assert (first.done, second.done) == (2, 1)
    for folder in ("short_lived", ".73ets"):
        repository = Repository(storage.within(folder))
        repository.remove(repository.backups()[0])
        assert folder in map(folder_for, list_sets(plan_for(whole, databases="*"))[0]["removed"])
    assert flow_run(prune_flow, whole, environ=environ).error is None
    assert Sets(storage).names() == [second.set]


def test_one_that_vanishes_meanwhile(
    whole: Server,
    storage: ObjectStore,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A database that is dropped after it was listed is a row in the set, and one message."""
    told(whole, "CREATE DATABASE vanishing")

    def listed(plan: Plan) -> Listed:
        found = list_databases(plan)
        told(whole, "DROP DATABASE vanishing")
        return found

    monkeypatch.setattr(whole_server, "list_databases", listed)
    with receiving() as receiver:
        environ = {
            **ALL,
            "BACKUP_DATABASES": "shop, vanishing",
            "WEBHOOK_URL": receiver.url,
            "WEBHOOK_ON_SUCCESS": "true",
        }
        ran = flow_run(backup_flow, whole, environ=environ)
    assert receiver.kinds() == [("prune", "succeeded"), ("backup", "failed")]
    assert "could not be told" not in caplog.text
    assert isinstance(ran.error, SetIncomplete)
    assert "1 of 2 databases" in ran.error.sentence
    ((gone,), made) = newest(storage).failed, newest(storage).done
    assert (gone.database, gone.code, [m.database for m in made]) == ("vanishing", "PGR-DB-REFUSED", ["shop"])


def test_several_are_told_to_stop(whole: Server, storage: ObjectStore, started_command: StartedCommand) -> None:
    """All dumps end within ten seconds, and leave no object, nor a part of one, nor a set."""
    environ = {**ALL, "BACKUP_DATABASES": "shop, sets", "BACKUP_PARALLEL_DATABASES": "2"}
    # As pg_dump waits for a table.
    dumping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'"
    with ExitStack() as stack:
        for name in ("shop", "sets"):
            connection = stack.enter_context(whole.on(name).connect(own_names=True))
            stack.enter_context(connection.transaction())
            connection.execute("LOCK TABLE t")
        process = started_command("backup", **environ, DATABASE_URL=whole.url.get_secret_value())
        until(lambda: asked(whole, dumping) == [(2,)])
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) != 0
    assert not [found for found in storage.list_objects() if "backup_" in found.key]
    assert storage.list_uploads(timedelta(0), utc_now() + timedelta(hours=1)) == []
    assert Sets(storage).names() == []


@pytest.mark.usefixtures("prefect_api")
def test_recorded_runs_of_members(whole: Server, flow_run: FlowRun) -> None:
    """Under Prefect, each database is a run within the run, several at once if wanted."""
    environ = {**ALL, "BACKUP_DATABASES": "shop, sets, postgres", "BACKUP_PARALLEL_DATABASES": "3"}
    ran = flow_run(backup_flow, whole, environ=environ)
    assert ran.error is None
    assert ran.result.done == 3


def _in_page(service: Service, text: str) -> str:
    page = service.get("/status", auth=service.login).text
    return page if text in page else ""


@pytest.mark.long
def test_serve_with_several_databases(
    whole: Server, storage: ObjectStore, storage_server: Storage, tmp_path: Path
) -> None:
    """The service takes a set and drills all of it by itself; health, metrics and the status page know its databases."""
    environ = {
        **command_environment(storage_server, storage, "", tmp_path), **ALL, "BACKUP_DATABASES": "shop, sets, gone",
        "VERIFY_DATABASES": "all", "DATABASE_URL": whole.url.get_secret_value(),
    }  # fmt: skip
    with running_service(environ, tmp_path) as service:
        service.await_line("2 of 3 databases are backed up")
        service.await_line("2 of 3 databases are PROVEN")
        health = service.get("/health").json()
        assert (health["status"], health["newest_backup"]) == ("healthy", None)  # `gone` has none, and has time
        proven = 'pg_roundtrip_drill_verdict{plan="default/shop",verdict="PROVEN"} 1.0'
        service.wait(lambda: proven in service.get("/metrics").text, "the drills in the metrics")
        page = service.get("/metrics").text
        assert 'pg_roundtrip_backup_rows{plan="default/.73ets"} 8.0' in page
        assert 'pg_roundtrip_databases_failed{plan="default"} 1.0' in page
        shown = service.wait(lambda: _in_page(service, "gone failed"), "what the set lacks on the status page")
        assert all(f"--plan default/{folder}" in shown for folder in ("shop", ".73ets"))
        service.wait(lambda: "Failed" in service.states("restore-drill"), "the drill in the history")
        assert service.states("backup")[-1] == "Failed"
        assert len(service.runs("backup-member")) >= 2
