"""Plans are saved as blocks that a worker finds by name and that a person can edit, and they keep their secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import BlockDocument
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks.plan import Plan
from blocks.postgres import PostgresServer
from blocks.storage import BackupStorage
from flows.demo.services import Storage
from tasks.plans import save_plan

PASSWORD = "pl4n-passw0rd"
OTHER = "0ther-passw0rd"


@pytest.fixture(autouse=True)
def _on_the_server(prefect_api: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield


def server(database: str, password: str = PASSWORD) -> PostgresServer:
    return PostgresServer(url=SecretStr(f"postgresql://someone:{password}@db.example.com/{database}"))


def values(block: object) -> object:
    """Everything that a block says, its secrets too, without where it is saved."""
    if not isinstance(block, Block):
        return block
    return {field: values(getattr(block, field)) for field in type(block).model_fields}


def documents(*, include_secrets: bool = False) -> dict[str, BlockDocument]:
    """Every saved block by its address, `type/name`."""

    async def read() -> list[BlockDocument]:
        async with get_client() as client:
            return await client.read_block_documents(include_secrets=include_secrets, limit=200)

    return {f"{d.block_type.slug if d.block_type else ''}/{d.name}": d for d in asyncio.run(read())}


def test_a_plan_comes_back_as_it_was_saved(storage: BackupStorage) -> None:
    """Whoever loads a plan by its name has its database, its storage with the keys, and every policy."""
    plan = Plan(server=server("a"), verify_server=server("b", OTHER), storage=storage, retention_days=30, interval_s=600,
                schedule="0 3 * * *", timezone="Europe/Berlin", verify_target="database")  # fmt: skip
    save_plan("comes-back", plan)
    again = Plan.load("comes-back")
    assert isinstance(again, Plan)
    assert values(again) == values(plan)


def test_each_part_of_a_plan_is_a_block_of_its_own(storage: BackupStorage, storage_server: Storage) -> None:
    """So that a password or a key that changes is entered in one form, and shown in none."""
    save_plan("in-parts", Plan(server=server("a"), verify_server=server("b", OTHER), storage=storage))
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


def test_a_new_password_is_entered_once(storage: BackupStorage) -> None:
    """Who edits the server's block has edited the plan."""
    save_plan("new-password", Plan(server=server("a"), storage=storage))
    server("a", OTHER).save("plan-new-password", overwrite=True)
    again = Plan.load("new-password")
    assert isinstance(again, Plan)
    assert OTHER in again.source.url.get_secret_value()


def test_saving_again_replaces_everything(storage: BackupStorage) -> None:
    """A plan that is saved over another keeps nothing of it; the same plan can have two names."""
    first = Plan(server=server("a"), verify_server=server("b"), storage=storage, schedule="0 3 * * *")
    second = Plan(server=server("c"), storage=storage)
    save_plan("one", first)
    save_plan("two", second)
    save_plan("two", first)
    save_plan("one", second)
    one, two = Plan.load("one"), Plan.load("two")
    assert isinstance(one, Plan)
    assert isinstance(two, Plan)
    assert (one.source.database, one.verify_server, one.schedule) == ("c", None, None)
    assert (two.source.database, two.drill_server.database, two.schedule) == ("a", "b", "0 3 * * *")
