"""Keep plans as Prefect blocks, so that any worker finds them by their name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from blocks.errors import PrefectUnreachable
from blocks.plan import Plan

_BROKEN = (
    "look at the server's log; with another PREFECT_SERVER_ENCRYPTION_KEY than before it cannot read what is saved there"
    " (docs/runbooks/lost-prefect-database.md)"
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of Prefect's client into ours."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        hint = _BROKEN if error.response.is_server_error else None
        raise PrefectUnreachable(f"it answered {error.response.status_code}", hint=hint) from None
    except httpx.HTTPError as error:
        raise PrefectUnreachable(type(error).__name__) from None


def save_plan(name: str, plan: Plan) -> None:
    """Save a plan under a name, over the one that had it.

    Its server, storage, bucket and credentials become blocks of their own, named `plan-<name>` (`drills-<name>` is the
    server for drills): a form of the Prefect UI shows and edits one block at a time, and a new key is entered once.
    """
    with translated():
        _save(plan, name, name)


def plan_exists(name: str) -> bool:
    """Whether a plan is saved under a name."""
    return name in _names()


def list_plans() -> list[dict[str, Any]]:
    """Every saved plan, by its name: `name, database, storage, backups_due, drills_due`, and nothing secret.

    `database` is None for a plan that has none, or whose URL cannot be read.
    """
    return [_entry(name) for name in sorted(_names())]


def _entry(name: str) -> dict[str, Any]:
    with translated():
        plan = Plan.load(name)
    assert isinstance(plan, Plan)
    try:
        database = plan.server.address if plan.server else None
    except ValueError:
        database = None
    return {
        "name": name,
        "database": database,
        "storage": f"{plan.storage.endpoint} {plan.storage.address}",
        "backups_due": str(plan.backups_due),
        "drills_due": str(plan.drills_due),
    }


def _names() -> list[str]:
    with translated(), get_client(sync_client=True) as client:
        slug = Plan.get_block_type_slug()
        try:
            client.read_block_type_by_slug(slug)
        except ObjectNotFound:  # nobody has saved any plan yet
            return []
        # All of them: the server knows no pages here, whatever the client offers.
        documents = client.read_block_documents_by_type(slug, include_secrets=False)
        return [document.name for document in documents if document.name]


def _save(block: Block, name: str, plan: str) -> Block:
    """Save the blocks inside of a block first, then itself with references to them."""
    fields = {field: getattr(block, field) for field in type(block).model_fields}
    for field, value in fields.items():
        if isinstance(value, Block):
            kind = "drills" if field == "verify_server" else "plan"
            fields[field] = _save(value, f"{kind}-{plan}", plan)
    # A new one: Prefect would save one that has a place already into that place again, under whatever name.
    fresh = type(block)(**fields)
    fresh.save(name, overwrite=True)
    return fresh
