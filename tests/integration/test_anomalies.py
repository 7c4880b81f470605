"""A backup of odd contents says so everywhere, and the backup before it stays until somebody has looked."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from blocks.config.plan import Plan
from blocks.errors import StorageUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import BackupResult
from flows.backup import backup as backup_flow
from flows.prune import prune
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.engine.dump.partitions import read_partitions
from tasks.engine.notify.facts import read_facts
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.names import name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tasks.reports.backup import backup_markdown
from tasks.status.health import examine
from tasks.status.listing import list_catalog
from tasks.status.metrics import exposition, read_stock
from tasks.status.summary import read_status
from tests.conftest import MAJORS, Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY, copied, manifest_of, take_backup
from tests.plans import plan_of

RUN = Callable[..., Ended]
DAILY = {"BACKUP_INTERVAL": "86400", "BACKUP_RETENTION_DAYS": "1"}
LOST = "public.books had 300 rows, and has none"


def forget_books(server: Server) -> None:
    """Forget the `WHERE`."""
    with server.connect() as connection:
        connection.execute("DELETE FROM public.books")


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: dict[int, Client]) -> Server:
    """A database with three backups, of which the newest is eight days old."""
    server = new_database(16, LIBRARY)
    names = [name_at(utc_now() - timedelta(days=age)) for age in (8, 9, 10)]
    take_backup(storage, server, clients[16], names[0])
    for name in names[1:]:
        copied(storage, name, names[0])
    return server


def story(library: Server, storage: ObjectStore, flow_run: FlowRun, command_line: RUN) -> None:
    """Lose rows, back up, prune, acknowledge, prune."""
    whole = max(str(entry["name"]) for entry in list_catalog(plan_of(storage)))
    forget_books(library)
    made = flow_run(backup_flow, library, environ=DAILY).result
    assert isinstance(made, BackupResult)
    assert made.anomalies[0] == LOST
    shown = command_line("list")
    assert f"{made.name} " in shown.out
    assert ", 1 anomaly" in shown.out
    assert [b.name for b in Repository(storage).backups()] == [whole, made.name]  # the older ones were pruned
    kept = command_line("prune", "--dry-run", server=library, **DAILY)
    assert f"the last one before the anomalies of {made.name}" in kept.out
    wrong = command_line("acknowledge", "backup_20200101_000000")
    assert (wrong.status, "PGR-" in wrong.err) == (1, True)
    assert command_line("acknowledge", whole).out == f"{whole} has no anomalies\n"
    known = command_line("acknowledge", made.name)
    assert (known.status, known.out.split(":")[0]) == (0, f"{made.name} is acknowledged")
    assert command_line("acknowledge", f"{made.name}.sql.gz").out == f"{made.name} was acknowledged before\n"
    assert "(acknowledged)" in command_line("list").out
    assert flow_run(prune, library, environ=DAILY).error is None
    assert [b.name for b in Repository(storage).backups()] == [made.name]


def test_a_loss_is_warned_of_and_acknowledged(
    library: Server, storage: ObjectStore, flow_run: FlowRun, command_line: RUN
) -> None:
    """`DELETE` without `WHERE`: the next backup warns, the one before it stays until `acknowledge`."""
    story(library, storage, flow_run, command_line)


def test_a_recorded_loss(
    library: Server, storage: ObjectStore, flow_run: FlowRun, command_line: RUN, prefect_api: str
) -> None:
    """The same where a Prefect server records the runs."""
    assert prefect_api
    story(library, storage, flow_run, command_line)


def test_it_is_said_everywhere(
    library: Server, storage: ObjectStore, command_line: RUN, flow_run: FlowRun, plan_for: Callable[..., Plan]
) -> None:
    """Log, result, manifest, `list --json`, report, metrics, health, messages, status page and drill tell of it; health doesn't fail."""
    forget_books(library)
    ran = command_line("backup", "--json", server=library)
    assert ran.status == 0
    name = json.loads(ran.out)["name"]
    assert f"WARNING: Anomaly: {LOST}\n" in ran.err
    assert (
        f"HINT: the backup before is kept; if this is what you intended, run `pg-roundtrip acknowledge {name}`"
        in ran.err
    )
    manifest, plan = manifest_of(storage, name), plan_for(library)
    assert [(a.kind, a.table, a.before, a.now) for a in manifest.anomalies] == [("emptied", "public.books", 300, 0)]
    (entry,) = (e for e in json.loads(command_line("list", "--json").out) if e["name"] == name)
    assert (entry["anomalies"][0]["sentence"], entry["acknowledged"]) == (LOST, False)
    report = backup_markdown("shop", Repository(storage), manifest, None, 1.0)
    assert f"## Anomalies\n\n- ⚠️ {LOST}" in report
    assert f"pg-roundtrip acknowledge {name} --plan shop" in report
    page = exposition("default", read_stock(plan), {}, {}, utc_now()).decode()
    assert f'pg_roundtrip_backup_anomalies{{plan="default"}} {len(manifest.anomalies):.1f}' in page
    health = examine(plan, backs_up=True, started_at=utc_now(), now=utc_now())
    assert health.good
    assert health.warnings == [f"unusual contents, which nobody has acknowledged: {name}"]
    assert read_facts(plan, utc_now()).anomalies == (f"{name}: {LOST}",)
    reasons = read_status(plan, utc_now()).judgement.reasons
    assert [r.hint for r in reasons if LOST in r.text] == [
        f"if this is as it should be: pg-roundtrip acknowledge {name}"
    ]
    drilled = flow_run(restore_drill, library, environ={"VERIFY_TARGET": "database"}).result
    assert isinstance(drilled, DrillReport)
    checks = {check.name: (check.result, check.evidence) for check in drilled.checks}
    assert drilled.verdict == "PROVEN"
    assert checks["anomalies"][0] == "warning"
    assert checks["anomalies"][1].startswith(LOST)
    assert checks["restore time"][0] == "passed"


def test_what_is_ignored_is_not_warned_of(library: Server, storage: ObjectStore, flow_run: FlowRun) -> None:
    """ANOMALY_IGNORE_TABLES names what may come and go."""
    forget_books(library)
    ran = flow_run(backup_flow, library, environ={"ANOMALY_IGNORE_TABLES": "authors, book*"})
    assert ran.result.anomalies == []
    assert manifest_of(storage, ran.result.name).anomalies == ()


def test_no_comparison_costs_no_backup(
    library: Server,
    storage: ObjectStore,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Manifests that are damaged, storage that breaks off, our own mistakes: the backup is made, with a warning."""
    oldest, *_ = Repository(storage).backups()
    storage.put(storage.key(f"{oldest.name}.manifest.json"), b"{")
    forget_books(library)
    assert flow_run(backup_flow, library, environ=DAILY).result.anomalies == []  # two are too few
    for broken in (StorageUnreachable("s3"), ZeroDivisionError("secret")):

        def fail(*_: object, error: Exception = broken) -> None:
            raise error

        monkeypatch.setattr("tasks.anomalies.read_facts", fail)
        ran = flow_run(backup_flow, library, environ=DAILY)
        assert ran.error is None
        assert manifest_of(storage, ran.result.name).compared_with == 0
    told = [record.message for record in caplog.records if "could not be compared" in record.message]
    assert len(told) == 2
    assert "secret" not in "".join(told)


def test_an_unreadable_newest_manifest_hides_no_anomaly(
    library: Server, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """The backups before it are compared with, and the manifest says with how many."""
    newest = name_at(utc_now() - timedelta(days=7))
    copied(storage, newest, Repository(storage).backups()[-1].name)
    storage.put(storage.key(f"{newest}.manifest.json"), b"{")
    forget_books(library)
    made = manifest_of(storage, flow_run(backup_flow, library, environ=DAILY).result.name)
    assert made.anomalies[0].sentence == LOST
    assert made.compared_with == 3


PARTITIONED = """
CREATE TABLE events (at int, what text) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE TABLE "Events 2" PARTITION OF events FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (at);
CREATE TABLE "Events 2a" PARTITION OF "Events 2" FOR VALUES FROM (100) TO (150);
CREATE INDEX ON events (at);
CREATE TABLE cities (name text); CREATE TABLE capitals (state text) INHERITS (cities);
INSERT INTO events SELECT n, 'e' FROM generate_series(90, 149) n;
INSERT INTO capitals SELECT 'c', 's' FROM generate_series(1, 50);
"""


PARENTS = {
    'public."Events 2a"': "public.events",
    "public.events_1": "public.events",
}


@pytest.mark.parametrize("major", MAJORS)
def test_partitions_are_known_by_their_table(major: int, new_database: NewDatabase) -> None:
    """Every server tells the topmost table of each partition, by the names in COPY statements; nothing of inheritance."""
    with new_database(major, PARTITIONED).connect() as connection:
        assert read_partitions(connection) == PARENTS


def test_partitions_are_judged_as_their_table(
    new_database: NewDatabase, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """Dropping a partition with few rows is no anomaly; dropping one with many, or their table, or one that inherits, is."""
    server = new_database(16, PARTITIONED)
    for _ in range(3):
        made = flow_run(backup_flow, server).result
    manifest = manifest_of(storage, made.name)
    assert manifest.partitions == PARENTS
    assert PARENTS.keys() <= {table.name for table in manifest.tables}
    for lost, found in (
        ("events_1", []),
        ('"Events 2a"', ["public.events had 50 rows, and is gone"]),
        ("capitals", ["public.capitals had 50 rows, and is gone"]),
    ):
        with server.connect() as connection:
            connection.execute(f"DROP TABLE public.{lost}")
        assert flow_run(backup_flow, server).result.anomalies == found


def test_a_hostile_manifest_is_bounded(library: Server, storage: ObjectStore, command_line: RUN) -> None:
    """Whoever can write to the bucket can neither flood nor steer a terminal with anomalies."""
    newest = Repository(storage).backups()[-1].name
    hostile = manifest_of(storage, newest).model_dump(mode="json")
    hostile["anomalies"] = [{"kind": "x" * 9999, "sentence": "\x1b[2J" + "y" * 9999, "before": 1 << 70, "now": 0}] * 300
    storage.put(storage.key(f"{newest}.manifest.json"), json.dumps(hostile).encode())
    shown = command_line("list", "--json")
    assert shown.status == 0, shown.err
    assert len(shown.out) < 40_000
    assert "\x1b" not in shown.out + command_line("list").out
    assert command_line("prune", "--dry-run", server=library).status == 0
