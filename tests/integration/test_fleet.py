"""Many plans are saved from one file: nothing before everything is right, nothing twice, and nothing that is not in it."""

from __future__ import annotations

import asyncio
import json
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

from blocks.plan import BackupPlan
from blocks.postgres import PostgresServer
from blocks.s3.client import ObjectStore
from flows.demo.services import Storage
from tests.conftest import Ended, NewDatabase

URL = "postgresql://backup:s3cret-word@db.example.com/shop"


@pytest.fixture(autouse=True)
def _on_the_server(prefect_api: str, quick_saves: None) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield


@pytest.fixture
def written(tmp_path: Path, storage_server: Storage, storage: ObjectStore) -> Callable[[str], Path]:
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


def errors(ended: Ended) -> list[str]:
    """Return the errors that a command printed, without their hints."""
    return re.findall(r"^\S+ ERROR: (?!HINT)(.*) \(PGR-[A-Z-]+\)$", ended.err, re.MULTILINE)


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
    written: Callable[..., Path], command_line: Callable[..., Ended], new_database: NewDatabase, tmp_path: Path
) -> None:
    """A file is imported once; a second import changes nothing, a changed file only what changed, and an export is such a file."""
    database = new_database(16)
    asyncio.run(make_pool("fleet"))
    (tmp_path / "url").write_text(f"{URL}\n")
    Secret(value=SecretStr(URL)).save("fleet-url")
    plans = f"  f-env: {{DATABASE_URL: {{env: FLEET_URL}}}}\n  f-file: {{DATABASE_URL: {{file: {tmp_path}/url}}}}\n  f-secret: {{DATABASE_URL: {{secret: fleet-url}}}}"
    path, given = (
        written(plans, "  pool: fleet"),
        {"FLEET_URL": database.url.get_secret_value(), "FLEET_KEY": "k3y-of-all"},
    )

    looked = command_line("plan", "import", str(path), "--dry-run", **given)
    assert (looked.status, len(re.findall(r"^f-\w+ +new +its deployments", looked.out, re.MULTILINE))) == (0, 3)
    unasked = command_line("plan", "import", str(path), **given)
    assert (unasked.status, errors(unasked)) == (2, ["Nothing was saved: nobody is there to agree"])
    assert deployments("f-env", "f-file", "f-secret") == {}

    done = command_line("plan", "import", str(path), "--yes", **given)
    assert (done.status, done.out.splitlines()[-1]) == (
        0,
        "3 plans: 3 new, 0 changed, 13 deployments created or changed",
    )
    again = command_line("plan", "import", str(path), "--yes", **given)
    assert (again.status, again.out.splitlines()[0]) == (0, "3 plans as saved")
    made = deployments("f-env", "f-file", "f-secret")
    starts = {
        made[f"backup/{name}"].schedules[0].schedule.model_dump_json() for name in ("f-env", "f-file", "f-secret")
    }
    assert (len(made), len(starts), {d.work_pool_name for d in made.values()}) == (12, 3, {"fleet"})

    path.write_text(
        path.read_text().replace("f-file: {", "f-file: {BACKUP_SCHEDULE: 5 * * * *, ").replace("f-secret", "f-new")
    )
    changed = command_line("plan", "import", str(path), "--yes", **given | {"FLEET_URL": URL})
    assert re.search(
        rf"^f-env +changed +DATABASE_URL: {re.escape(database.address)} → db.example.com:5432/shop *$",
        changed.out,
        re.MULTILINE,
    )
    assert re.search(
        r"^f-file +changed +BACKUP_SCHEDULE: not set → 5 \* \* \* \* *\n +its deployments", changed.out, re.MULTILINE
    )
    assert re.search(r"^Not in the file, and left alone: .*\bf-secret\b", changed.out, re.MULTILINE)
    assert changed.out.splitlines()[-1] == "3 plans: 1 new, 2 changed, 6 deployments created or changed"

    exported = command_line("plan", "export", "f-env", "f-file")
    path.write_text(exported.out)
    variables = re.findall("Set (.*) before", exported.out)
    same = dict.fromkeys(variables, URL) | {name: "k3y-of-all" for name in variables if name.endswith("KEY")}
    assert command_line("plan", "import", str(path), "--yes", **same).out.splitlines()[0] == "2 plans as saved"
    for shown in (looked, unasked, done, again, changed, exported):
        assert "s3cret-word" not in shown.out + shown.err
        assert "k3y-of-all" not in shown.out + shown.err


def test_a_file_with_faults(written: Callable[..., Path], command_line: Callable[..., Ended]) -> None:
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
    ended = command_line("plan", "import", str(path), "--yes", FLEET_KEY="k")
    assert ended.status == 2
    assert [re.sub(r" \S+/same$", "", error) for error in errors(ended)] == [
        "Plan f-one: DATABASE_URL: There is no environment variable NOT_THERE",
        "Plan f-two: DATABASE_URL: The file /not/there cannot be read [No such file or directory]",
        "Plan f-three: DATABASE_URL: There is no Secret block not-there",
        "Plan f-four: Invalid BACKUP_INTERVAL format",
        "Plan f-seven: Required environment variable DATABASE_URL is not set",
        "Plans f-five and f-six keep their backups in the same folder",
    ]
    good = written("  f-good: {DATABASE_URL: 'postgresql://u@h/d', pool: no-such-pool}")
    pool = command_line("plan", "import", str(good), "--yes", FLEET_KEY="k")
    assert (pool.status, errors(pool)) == (2, ["There is no work pool named no-such-pool"])
    assert "f-good" not in command_line("plan", "list").out
    missing = command_line("plan", "export", "f-good")
    assert (missing.status, errors(missing)) == (2, ["There is no saved plan named f-good"])


def test_a_folder_of_another_database(
    written: Callable[..., Path], command_line: Callable[..., Ended], new_database: NewDatabase, storage: ObjectStore,
    storage_server: Storage,
) -> None:  # fmt: skip
    """A new plan whose folder keeps another database's backups is refused, with the plan's name."""
    first = new_database(16, "CREATE TABLE t AS SELECT 1")
    assert command_line("backup", server=first, BACKUP_PREFIX=f"{storage.folder}/f-taken").status == 0
    path = written("  f-taken: {DATABASE_URL: {env: FLEET_URL}}")
    given = {"FLEET_URL": new_database(16).url.get_secret_value(), "FLEET_KEY": storage_server.secret}
    ended = command_line("plan", "import", str(path), "--yes", **given)
    assert (ended.status, len(errors(ended))) == (2, 1)
    assert re.match(
        rf"Plan f-taken: \S+/f-taken keeps 1 backup of another database: {first.database}\b", errors(ended)[0]
    )


def test_what_a_form_broke_is_replaced(written: Callable[..., Path], command_line: Callable[..., Ended]) -> None:
    """A saved plan that cannot be read any more is saved over."""
    path = written("  f-broken: {DATABASE_URL: 'postgresql://u@h/d'}")
    assert command_line("plan", "import", str(path), "--yes", FLEET_KEY="k").status == 0
    PostgresServer(url=SecretStr("nonsense")).save("plan-f-broken", overwrite=True)
    ended = command_line("plan", "import", str(path), "--yes", FLEET_KEY="k")
    assert re.search(r"^f-broken +changed +DATABASE_URL: a secret → h:5432/d", ended.out, re.MULTILINE)
    again = BackupPlan.load("f-broken")
    assert isinstance(again, BackupPlan)
    assert again.plan("f-broken").source.address == "h:5432/d"


def test_plans_are_listed(written: Callable[..., Path], command_line: Callable[..., Ended]) -> None:
    """Imported plans are plans like any other."""
    path = written("  f-listed: {DATABASE_URL: 'postgresql://u@h/d', BACKUP_SCHEDULE: '5 * * * *'}")
    assert command_line("plan", "import", str(path), "--yes", FLEET_KEY="k").status == 0
    listed = {plan["name"]: plan for plan in json.loads(command_line("plan", "list", "--json").out)}
    assert (listed["f-listed"]["database"], listed["f-listed"]["backups_due"]) == ("h:5432/d", "5 * * * * (UTC)")
