"""Two databases in one folder don't get mixed up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from blocks.config.plan import Plan
from blocks.errors import BackupError, ConfigurationError, NoBackups
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.prune import prune
from flows.restore import restore
from flows.restore_drill import restore_drill
from flows.service.runs import backup_due, last_backup
from tasks.engine.repository import names
from tasks.engine.repository.whose import refused_folder
from tasks.status.check import check_folder
from tasks.status.listing import list_catalog
from tasks.status.metrics import read_stock
from tests.conftest import FlowRun, NewDatabase
from tests.integration.objects import manifest_of, put_manifest

SHARED = {"ALLOW_SHARED_PREFIX": "true"}
SANDBOX = {"VERIFY_TARGET": "sandbox"}


@pytest.fixture
def shop(new_database: NewDatabase) -> Server:
    """The database that used the folder first."""
    return new_database(16, "CREATE TABLE goods AS SELECT 1 AS n")


@pytest.fixture
def big(new_database: NewDatabase) -> Server:
    """The database that comes later."""
    return new_database(16, "CREATE TABLE heap AS SELECT generate_series(1, 7) AS n")


def test_the_second_is_refused_and_told_apart(
    shop: Server, big: Server, storage: ObjectStore, plan_for: Callable[..., Plan], flow_run: FlowRun,
    new_database: NewDatabase, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A first backup, `check` and `plan add` refuse a used folder; once shared, each plan keeps to its own backups."""
    first = flow_run(backup, shop).result.name
    refused = flow_run(backup, big)
    assert isinstance(refused.error, ConfigurationError)
    assert f"keeps 1 backup of another database: {shop.database}@" in refused.error.message
    assert "BACKUP_PREFIX" in refused.error.lines()[1]
    theirs, ours = plan_for(shop), plan_for(big)
    assert [f.result for f in check_folder(ours)] == ["error"]
    assert refused_folder(ours)
    assert (refused_folder(theirs), [f.result for f in check_folder(theirs)]) == (None, ["ok"])
    assert backup_due(ours)
    assert isinstance(flow_run(restore, big, to=big, backup="latest").error, NoBackups)

    second = flow_run(backup, big, environ=SHARED).result.name
    assert (last_backup(theirs), last_backup(ours)) == (names.taken_at(first), names.taken_at(second))
    assert [b.name for b in read_stock(theirs).backups] == [first]
    assert flow_run(restore_drill, shop, environ=SANDBOX).result.backup == first
    target = new_database(16)
    assert flow_run(restore, shop, to=target, backup="latest").result == 1
    assert [e["database"] for e in list_catalog(ours)] == [shop.database, big.database]
    caplog.clear()
    third = flow_run(backup, shop).result.name  # keeps running, and warns each time
    assert [m for m in caplog.messages if "of another database" in m and "runbooks/shared-folder.md" in m]
    decided = {d.backup.name: d.reason for d in flow_run(prune, big).result.decisions}
    assert decided[second].startswith("the newest backup")
    assert decided[third].startswith(f"belongs to plan default, database {shop.database}")


def test_where_nobody_says_which_database(
    shop: Server, big: Server, flow_run: FlowRun, new_database: NewDatabase
) -> None:
    """Without DATABASE_URL a drill alternates between the databases, and restoring `latest` is refused, naming them."""
    names = [flow_run(backup, server, environ=SHARED).result.name for server in (shop, big)]
    drilled = [flow_run(restore_drill, environ=SANDBOX).result.backup for _ in range(2)]
    assert sorted(drilled) == names
    refused = flow_run(restore, to=new_database(16), backup="latest").error
    assert isinstance(refused, BackupError)
    assert all(name in refused.sentence for name in names)
    only = flow_run(restore_drill, environ={**SANDBOX, "BACKUPS_OF": shop.database}).result.backup
    assert only == names[0]


def test_a_database_that_moved(
    shop: Server, storage: ObjectStore, plan_for: Callable[..., Plan], flow_run: FlowRun,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A moved database counts as another one until BACKUPS_OF says otherwise; backups and drills continue."""
    old = flow_run(backup, shop).result.name
    made = manifest_of(storage, old)
    assert made.system_identifier
    assert made.database_oid
    put_manifest(storage, made.model_copy(update={"system_identifier": "1"}))
    assert flow_run(restore_drill, shop, environ=SANDBOX).result.backup == old
    assert [m for m in caplog.messages if m.startswith("There is no backup of")]
    plan = plan_for(shop)
    assert backup_due(plan)
    assert [f.result for f in check_folder(plan)] == ["error"]
    assert flow_run(backup, shop).error is None
    assert [m for m in caplog.messages if f"BACKUPS_OF={shop.database}@1" in m]
    said = plan_for(shop, backups_of=f"{shop.database}@1")
    assert len(read_stock(said).backups) == 2
    put_manifest(storage, made.model_copy(update={"system_identifier": "", "database_oid": 0}))  # as 1.0 wrote it
    assert len(read_stock(plan).backups) == 2
