"""Many plans are saved from one file: nothing before everything is right, nothing twice, and nothing that is not in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks.errors import ConfigurationError
from blocks.plan import BackupPlan
from blocks.postgres import PostgresServer
from blocks.s3.client import ObjectStore
from blocks.saved import saving
from flows.demo.services import Storage
from flows.fleet import export_fleet, import_fleet
from tasks.engine.servers.programs import Client
from tasks.plans import list_plans
from tests.conftest import Ended, NewDatabase
from tests.integration.objects import take_backup

URL = "postgresql://backup:s3cret-word@db.example.com/shop"
KEY = "k3y-of-all"


@pytest.fixture(autouse=True)
def _on_the_server(prefect_api: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: prefect_api}), saving():
        yield


@pytest.fixture
def written(tmp_path: Path, storage_server: Storage, storage: ObjectStore) -> Callable[..., Path]:
    """Write a file of plans in this test's folder of the bucket."""

    def write(plans: str, defaults: str = "") -> Path:
        path = tmp_path / "plans.yaml"
        path.write_text(f"""
defaults:
  S3_ENDPOINT: {storage_server.endpoint}
  S3_BUCKET: {storage.bucket}
  S3_ACCESS_KEY_ID: {storage_server.key_id}
  S3_SECRET_ACCESS_KEY: {{env: FLEET_KEY}}
  BACKUP_PREFIX: {storage.folder}/{{plan}}
{defaults}
plans:
{plans}
""")
        return path

    return write


Import = Callable[..., str]


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Import:
    """Import a file as the command does; returns what it printed, which never has a secret."""

    def run(path: Path, *, dry_run: bool = False, yes: bool = True, **environ: str) -> str:
        for name, value in ({"FLEET_KEY": KEY} | environ).items():
            monkeypatch.setenv(name, value)
        import_fleet(path, dry_run=dry_run, yes=yes)
        printed = capsys.readouterr()
        assert not any(secret in printed.out + printed.err for secret in ("s3cret-word", KEY))
        return printed.out

    return run


def faults(run: Callable[[], object]) -> list[str]:
    """Return what is wrong, in the words of the command's errors."""
    with pytest.raises(ConfigurationError) as caught:
        run()
    return [problem.message for problem in caught.value.problems]


def deployments(*plans: str) -> dict[str, DeploymentResponse]:
    """Return the deployments of plans by `flow/plan`."""

    async def read() -> dict[str, DeploymentResponse]:
        async with get_client() as client:
            found = [d for d in await client.read_deployments(limit=200) if d.name in plans]
            return {f"{(await client.read_flow(d.flow_id)).name}/{d.name}": d for d in found}

    return asyncio.run(read())


async def make_pool(name: str) -> None:
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def test_a_fleet(
    written: Callable[..., Path], imported: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is imported once; a second import changes nothing, and a changed file only what changed."""
    monkeypatch.setattr("flows.fleet._PAGE", 2)  # as if there were hundreds
    asyncio.run(make_pool("fleet"))
    (tmp_path / "url").write_text(f"{URL}\n")
    Secret(value=SecretStr(URL)).save("fleet-url")
    plans = f"""
  f-env: {{DATABASE_URL: {{env: FLEET_URL}}}}
  f-file: {{DATABASE_URL: {{file: {tmp_path}/url}}}}
  f-secret: {{DATABASE_URL: {{secret: fleet-url}}}}
"""
    path, old = written(plans, "  pool: fleet"), URL.replace("db.", "old.")
    looked = imported(path, dry_run=True, FLEET_URL=old)
    assert len(re.findall(r"^f-\w+ +new +its deployments", looked, re.MULTILINE)) == 3
    assert faults(lambda: imported(path, yes=False)) == ["Nothing was saved: nobody is there to agree"]
    assert deployments("f-env", "f-file", "f-secret") == {}

    assert imported(path).splitlines()[-1] == "3 plans: 3 new, 0 changed, 13 deployments created or changed"
    assert imported(path).splitlines()[0] == "3 plans as saved"
    made = deployments("f-env", "f-file", "f-secret")
    starts = {
        made[f"backup/{name}"].schedules[0].schedule.model_dump_json() for name in ("f-env", "f-file", "f-secret")
    }
    assert (len(made), len(starts), {d.work_pool_name for d in made.values()}) == (12, 3, {"fleet"})
    (watch,) = deployments("all-of-fleet").values()
    assert watch.parameters["plans"] == ["f-env", "f-file", "f-secret"]

    text = path.read_text().replace("f-file: {", "f-file: {BACKUP_SCHEDULE: 5 * * * *, ").replace("f-secret", "f-new")
    path.write_text(text)
    changed = imported(path, FLEET_URL=URL)
    moved = r"^f-env +changed +DATABASE_URL: old.example.com:5432/shop → db.example.com:5432/shop *$"
    assert re.search(moved, changed, re.MULTILINE)
    rescheduled = r"^f-file +changed +BACKUP_SCHEDULE: not set → 5 \* \* \* \* *\n +its deployments"
    assert re.search(rescheduled, changed, re.MULTILINE)
    assert re.search(r"^Not in the file, and left alone: .*\bf-secret\b", changed, re.MULTILINE)
    assert changed.splitlines()[-1] == "3 plans: 1 new, 2 changed, 6 deployments created or changed"

    exported = export_fleet(["f-env", "f-file"])
    assert "s3cret-word" not in exported
    path.write_text(exported)
    variables = re.findall("Set (.*) before", exported)
    given = {name: KEY if name.endswith("KEY") else URL for name in variables}
    # Each pool has one watch, which now has other plans.
    assert imported(path, **given).splitlines()[-1] == "2 plans: 0 new, 0 changed, 1 deployment created or changed"


def test_a_plan_among_the_databases_of_another(
    written: Callable[..., Path], imported: Import, new_database: NewDatabase, storage: ObjectStore,
    storage_server: Storage, clients: dict[int, Client],
) -> None:  # fmt: skip
    """A plan's folder can't be where a whole server's plan keeps a database, or its sets: before its first backup, or after."""
    one = '{DATABASE_URL: "postgresql://u@h/d", BACKUP_PREFIX: in/'
    path = written(f"""
  f-all: {{DATABASE_URL: "postgresql://u@h/d", BACKUP_DATABASES: "*", BACKUP_PREFIX: in}}
  f-among: {one}shop}}
  f-sets: {one}sets}}
  f-deeper: {one}shop/eu}}
  f-beside: {one}eu.west}}
""")
    found = faults(lambda: imported(path))
    assert [fault.partition(" keeps ")[0] for fault in found] == ["Plan f-among", "Plan f-sets"]
    assert all(fault.endswith("among the folders of the plan f-all") for fault in found)
    other = new_database(16, "CREATE TABLE t AS SELECT 1")
    take_backup(storage_server.store(f"{storage.folder}/f-whole/shop"), other, clients[16])
    path = written('  f-whole: {DATABASE_URL: "postgresql://u@h/d", BACKUP_DATABASES: "*"}')
    assert "keeps 1 backup of another database" in faults(lambda: imported(path, FLEET_KEY=storage_server.secret))[0]


def test_a_file_with_faults(written: Callable[..., Path], imported: Import, command_line: Callable[..., Ended]) -> None:
    """Everything that is wrong with any plan is said at once, and no plan is saved."""
    path = written("""
  f-one: {DATABASE_URL: {env: NOT_THERE}}
  f-two: {DATABASE_URL: {file: /not/there}}
  f-three: {DATABASE_URL: {secret: not-there}}
  f-four: {DATABASE_URL: "postgresql://u@h/d", BACKUP_INTERVAL: often}
  f-five: {DATABASE_URL: "postgresql://u@h/d", BACKUP_PREFIX: same}
  f-six: {DATABASE_URL: "postgresql://u@h/e", BACKUP_PREFIX: /same/}
  f-seven: {}
  f-good: {DATABASE_URL: "postgresql://u@h/d"}
""")
    expected = [
        "Plan f-one: DATABASE_URL: There is no environment variable NOT_THERE",
        "Plan f-two: DATABASE_URL: The file /not/there cannot be read [No such file or directory]",
        "Plan f-three: DATABASE_URL: There is no Secret block not-there",
        "Plan f-four: Invalid BACKUP_INTERVAL format",
        "Plan f-seven: Required environment variable DATABASE_URL is not set",
    ]
    found = faults(lambda: imported(path))
    assert found[:-1] == expected
    assert found[-1].startswith("Plans f-five and f-six keep their backups in the same folder ")
    ended = command_line("plan", "import", str(path), "--yes", FLEET_KEY=KEY)
    assert (ended.status, [error for error in expected if error not in ended.err]) == (2, [])
    good = written("  f-good: {DATABASE_URL: 'postgresql://u@h/d', pool: no-such-pool}")
    assert faults(lambda: imported(good)) == ["There is no work pool named no-such-pool"]
    assert "f-good" not in {plan["name"] for plan in list_plans()}
    assert faults(lambda: export_fleet(["f-good"])) == ["There is no saved plan named f-good"]


def test_a_folder_of_another_database(
    written: Callable[..., Path], imported: Import, new_database: NewDatabase, storage: ObjectStore,
    storage_server: Storage, clients: dict[int, Client],
) -> None:  # fmt: skip
    """A new plan whose folder keeps another database's backups is refused, with the plan's name."""
    first = new_database(16, "CREATE TABLE t AS SELECT 1")
    take_backup(storage_server.store(f"{storage.folder}/f-taken"), first, clients[16])
    path = written("  f-taken: {DATABASE_URL: {env: FLEET_URL}}")
    given = {"FLEET_URL": new_database(16).url.get_secret_value(), "FLEET_KEY": storage_server.secret}
    (fault,) = faults(lambda: imported(path, **given))
    assert re.match(rf"Plan f-taken: \S+/f-taken keeps 1 backup of another database: {first.database}\b", fault)


def test_what_a_form_broke_is_replaced(written: Callable[..., Path], imported: Import) -> None:
    """A saved plan that cannot be read any more is saved over; it is a plan like any other then."""
    path = written("  f-broken: {DATABASE_URL: 'postgresql://u@h/d', BACKUP_SCHEDULE: '5 * * * *'}")
    imported(path)
    PostgresServer(url=SecretStr("nonsense")).save("plan-f-broken", overwrite=True)
    again = imported(path)
    assert re.search(r"^f-broken +changed +DATABASE_URL: a secret → h:5432/d", again, re.MULTILINE)
    saved = BackupPlan.load("f-broken")
    assert isinstance(saved, BackupPlan)
    assert saved.plan("f-broken").source.address == "h:5432/d"
    listed = {plan["name"]: plan for plan in list_plans()}
    assert (listed["f-broken"]["database"], listed["f-broken"]["backups_due"]) == ("h:5432/d", "5 * * * * (UTC)")
