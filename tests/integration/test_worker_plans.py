"""Plans are saved as blocks that a worker finds by name and a person can edit, and they keep their secrets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import BlockDocument
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks import saved
from blocks.config.resolve import resolve_plan, resolve_target
from blocks.config.values import FLOWS
from blocks.copy import BackupCopy
from blocks.errors import ConfigurationError
from blocks.plan import BackupPlan
from blocks.postgres import PostgresServer
from blocks.s3.client import ObjectStore
from blocks.saved import saving
from blocks.storage import BackupStorage
from flows.demo.services import Storage
from tasks.plans import list_plans, save_plan
from tests.conftest import Ended, NewDatabase
from tests.faults.http_proxy import Answer, s3_proxy

PASSWORD = "pl4n-passw0rd"
OTHER = "0ther-passw0rd"


@pytest.fixture(autouse=True)
def _on_the_server(prefect_api: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: prefect_api}), saving():
        yield


@pytest.fixture
def kept(storage_server: Storage, storage: ObjectStore) -> BackupStorage:
    """The block of this test's folder."""
    return BackupStorage.at(**storage_server.fields(storage.folder))


def server(database: str, password: str = PASSWORD) -> PostgresServer:
    return PostgresServer(url=SecretStr(f"postgresql://someone:{password}@db.example.com/{database}"))


def values(block: object) -> object:
    """Return everything in a block, including secrets, except where it is saved."""
    if not isinstance(block, Block):
        return block
    return {field: values(getattr(block, field)) for field in type(block).model_fields}


def documents(*, include_secrets: bool = False) -> dict[str, BlockDocument]:
    """Return every saved block by its address, `type/name`."""

    async def read() -> list[BlockDocument]:
        async with get_client() as client:
            return await client.read_block_documents(include_secrets=include_secrets, limit=200)

    return {f"{d.block_type.slug if d.block_type else ''}/{d.name}": d for d in asyncio.run(read())}


def test_a_plan_comes_back_as_it_was_saved(kept: BackupStorage) -> None:
    """A plan loaded by name has its database, its storage with the keys, and every policy."""
    plan = BackupPlan(server=server("a"), verify_server=server("b", OTHER), storage=kept, retention_days=30, interval_s=600,
                schedule="0 3 * * *", timezone="Europe/Berlin", verify_target="database",
                first_copy=BackupCopy(path="/mnt/backups", retention_days=90), second_copy=BackupCopy(path="/mnt/other", prefix="b"))  # fmt: skip
    plan.storage.provider_key = "seaweedfs"
    save_plan("comes-back", plan)
    again = BackupPlan.load("comes-back")
    assert isinstance(again, BackupPlan)
    assert values(again) == values(plan)
    assert [place.storage.address for place in again.plan("comes-back").copies] == ["/mnt/backups", "/mnt/other/b"]


def test_saving_changes_no_schema(kept: BackupStorage) -> None:
    """Blocks share the schemas of their types while plans are saved: what Prefect does with one must not reach the next."""
    save_plan("shared", BackupPlan(server=server("a"), storage=kept, first_copy=BackupCopy(path="/mnt/backups")))
    shared = dict(saved._schemas)
    assert {cls for cls, *_ in shared} >= {BackupPlan, PostgresServer, BackupStorage, BackupCopy}
    saved._schemas.clear()
    for (cls, arguments, options), schema in shared.items():
        assert cls.model_json_schema(*arguments, **dict(options)) == schema


def test_each_part_of_a_plan_is_a_block_of_its_own(kept: BackupStorage, storage_server: Storage) -> None:
    """A changed password or key is entered in one form, and shown in none."""
    save_plan("in-parts", BackupPlan(server=server("a"), verify_server=server("b", OTHER), storage=kept))
    shown = documents()
    parts = {address for address in shown if address.endswith("-in-parts")}
    assert parts == {
        "pg-roundtrip-postgres/plan-in-parts", "pg-roundtrip-postgres/drills-in-parts", "pg-roundtrip-storage/plan-in-parts",
        "s3-bucket/plan-in-parts", "aws-credentials/plan-in-parts",
    }  # fmt: skip
    everything = "\n".join(document.model_dump_json() for document in shown.values())
    for secret in (PASSWORD, OTHER, storage_server.secret):
        assert secret not in everything
    assert PASSWORD in "".join(str(document.data) for document in documents(include_secrets=True).values())


def test_a_new_password_is_entered_once(kept: BackupStorage) -> None:
    """Editing the server's block edits the plan."""
    save_plan("new-password", BackupPlan(server=server("a"), storage=kept))
    server("a", OTHER).save("plan-new-password", overwrite=True)
    again = BackupPlan.load("new-password")
    assert isinstance(again, BackupPlan)
    assert OTHER in again.plan("new-password").source.url.get_secret_value()


def test_saving_again_replaces_everything(kept: BackupStorage) -> None:
    """Saving a plan over another keeps nothing of the old one; the same plan can have two names."""
    first = BackupPlan(server=server("a"), verify_server=server("b"), storage=kept, schedule="0 3 * * *")
    second = BackupPlan(server=server("c"), storage=kept)
    save_plan("one", first)
    save_plan("two", second)
    save_plan("two", first)
    save_plan("one", second)
    one, two = BackupPlan.load("one"), BackupPlan.load("two")
    assert isinstance(one, BackupPlan)
    assert isinstance(two, BackupPlan)
    assert (one.plan("one").source.database, one.verify_server, one.schedule) == ("c", None, None)
    plan = two.plan("two")
    assert (plan.source.database, plan.drill_server.database, two.schedule) == ("a", "b", "0 3 * * *")


def said(act: Callable[[], object]) -> str:
    """Return the configuration error that something raises."""
    with pytest.raises(ConfigurationError) as caught:
        act()
    return str(caught.value)


def test_what_a_form_broke_is_said_in_words(kept: BackupStorage, command_line: Callable[..., Ended]) -> None:
    """Forms accept more than the code does: the field is named, no value is shown, and other plans are still listed."""
    save_plan("broken", BackupPlan(server=server("a"), storage=kept))
    plan = documents()["pg-roundtrip-plan/broken"]

    async def edit() -> None:
        async with get_client() as client:
            changed = {**plan.data, "schedule": "every night"}
            await client.update_block_document(plan.id, BlockDocumentUpdate(data=changed, merge_existing_data=True))

    asyncio.run(edit())
    told = "Invalid Backup Plan block broken [schedule]"
    assert said(lambda: resolve_plan("broken", frozenset())) == told
    save_plan("sound", BackupPlan(server=server("a"), storage=kept))
    faults = {entry["name"]: entry["fault"] for entry in list_plans()}
    assert (faults["broken"], faults["sound"]) == (told, None)
    listed = command_line("plan", "list")
    assert listed.status == 0
    assert f"WARNING: {told}" in listed.err
    assert re.search(r"^broken +\? +\? +\? +\? *$", listed.out, re.MULTILINE)
    BackupPlan.delete("broken")


def test_a_plan_whose_storage_was_deleted_is_said_in_words(kept: BackupStorage) -> None:
    """The UI deletes blocks one at a time: the missing one is named."""
    save_plan("halved", BackupPlan(server=server("a"), storage=kept))
    BackupStorage.delete("plan-halved")
    assert said(lambda: resolve_plan("halved", frozenset())) == "Invalid Backup Plan block halved [storage]"
    assert [e["fault"] for e in list_plans() if e["name"] == "halved"] == ["Invalid Backup Plan block halved [storage]"]
    BackupPlan.delete("halved")


def test_a_url_that_cannot_be_read_is_said_in_words(kept: BackupStorage) -> None:
    """The error says what is wrong with the URL, without repeating the password in it."""
    url = f"mysql://someone:{PASSWORD}@db.example.com/a"
    save_plan("no-url", BackupPlan(server=PostgresServer(url=SecretStr(url)), storage=kept))
    why = "[it does not begin with postgresql://]"
    plan = resolve_plan("no-url", frozenset())
    for read in (lambda: plan.source, lambda: plan.drill_server):
        assert said(read).startswith("Invalid URL of the ")
        assert said(read).endswith(why)
    assert said(lambda: resolve_target("plan-no-url")) == f"Invalid URL of the server to restore to {why}"


def errors(ended: Ended) -> list[str]:
    """Return the errors that a command printed, without their hints."""
    return re.findall(r"^\S+ ERROR: (?!HINT)(.*) \(PGR-[A-Z-]+\)$", ended.err, re.MULTILINE)


def test_a_plan_is_added_once(
    command_line: Callable[..., Ended], new_database: NewDatabase, storage_server: Storage
) -> None:
    """`plan add` saves the variables of the plan `default`; an existing name is kept unless told to replace it."""
    database = new_database(16)
    first = command_line("plan", "add", "added", server=database, BACKUP_INTERVAL="600")
    assert (first.status, first.err) == (0, "")
    assert f"Saved the plan added: {database.address} to {storage_server.endpoint}" in first.out
    again = command_line("plan", "add", "added", server=database)
    assert (again.status, errors(again)) == (2, ["There is a plan named added already"])
    cron = {"BACKUP_SCHEDULE": "0 3 * * *", "TZ": "Europe/Berlin"}
    assert command_line("plan", "add", "added", "--replace", server=database, **cron).status == 0
    listed = command_line("plan", "list", "--json")
    (entry,) = [plan for plan in json.loads(listed.out) if plan["name"] == "added"]
    assert (entry["database"], entry["backups_due"], entry["drills_due"]) == (
        database.address,
        "0 3 * * * (Europe/Berlin)",
        "86400s",
    )
    for shown in (first.out, listed.out, command_line("plan", "list").out):
        assert storage_server.secret not in shown
        assert database.parameters()["password"] not in shown


def test_a_plan_that_cannot_be_added_says_everything_at_once(command_line: Callable[..., Ended]) -> None:
    """A bad name, a bad pool and all missing or malformed variables are reported together, for one round of fixes."""
    ended = command_line("plan", "add", "Shop_1", "--pool", "nowhere", S3_BUCKET="", BACKUP_INTERVAL="often")
    assert ended.status == 2
    assert errors(ended) == [
        "Invalid plan name Shop_1",
        "There is no work pool named nowhere",
        "Required environment variable DATABASE_URL is not set",
        "Required environment variable S3_BUCKET is not set",
        "Invalid BACKUP_INTERVAL format",
    ]


def test_a_plan_has_its_deployments(command_line: Callable[..., Ended], new_database: NewDatabase) -> None:
    """With a work pool, a plan gets five deployments for the workers of that pool, with its own schedules."""

    async def make_pool() -> None:
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name="plans", type="process"))

    async def read() -> list[DeploymentResponse]:
        async with get_client() as client:
            return [await client.read_deployment_by_name(f"{flow}/deployed") for flow in FLOWS]

    asyncio.run(make_pool())
    ended = command_line("plan", "add", "deployed", "--pool", "plans", server=new_database(16), BACKUP_INTERVAL="600")
    assert ended.status == 0, ended.err
    assert "backup/deployed, prune/deployed, restore-drill/deployed, restore/deployed, watch/deployed" in ended.out
    backup, *others = asyncio.run(read())
    assert backup.schedules[0].schedule.interval.total_seconds() == 600  # type: ignore[union-attr]
    assert {(d.work_pool_name, str(d.parameters)) for d in (backup, *others)} == {("plans", "{'plan': 'deployed'}")}


def test_a_server_that_is_not_there_is_named(command_line: Callable[..., Ended]) -> None:
    """A wrong address gives a sentence, not a traceback."""
    for command in (["plan", "list"], ["list", "--plan", "shop"], ["prune"]):
        ended = command_line(*command, PREFECT_API_URL="http://127.0.0.1:1/api")
        assert ended.status == 1
        assert errors(ended) == ["Cannot reach the Prefect server [ConnectError]"]


def test_an_address_of_something_else_is_named(command_line: Callable[..., Ended]) -> None:
    """A page where Prefect's API should be: most often the address lacks its `/api`."""
    with s3_proxy(1) as other:
        other.on(".*", "", lambda _: Answer(200, [("Content-Type", "text/html")], b"<html></html>"))
        ended = command_line("list", "--plan", "shop", PREFECT_API_URL=other.url)
    assert (ended.status, errors(ended)) == (1, ["Cannot reach the Prefect server [the response is not JSON]"])


def test_the_form_of_a_plan_explains_itself() -> None:
    """Every field of a plan in the Prefect UI has a description."""
    for block in (BackupPlan, PostgresServer, BackupStorage):
        fields = block.model_json_schema()["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []
