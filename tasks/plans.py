"""Keep plans as Prefect blocks, so that any worker finds them by their name."""

from __future__ import annotations

import contextlib
from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from blocks.errors import ConfigurationError
from blocks.plan import BackupPlan
from blocks.saved import load_saved, translated


def save_plan(name: str, plan: BackupPlan) -> None:
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
    """Every saved plan, by its name: `name, database, storage, backups_due, drills_due, fault`, and nothing secret.

    `database` is None for a plan that has none, or whose URL cannot be read. Of a plan that cannot be loaded all is None but
    its name and what is wrong with it.
    """
    return [entry for name in sorted(_names()) if (entry := _entry(name))]


def _entry(name: str) -> dict[str, Any] | None:
    entry = dict.fromkeys(("name", "database", "storage", "backups_due", "drills_due", "fault")) | {"name": name}
    try:
        saved = load_saved(BackupPlan, name)
    except ConfigurationError as error:
        return entry | {"fault": str(error)}
    if saved is None:  # somebody deleted it meanwhile
        return None
    plan = saved.plan(name)
    with contextlib.suppress(ValueError):
        entry["database"] = plan.server.address if plan.server else None
    return entry | {
        "storage": f"{plan.storage.endpoint} {plan.storage.address}",
        "backups_due": str(plan.schedules.backups),
        "drills_due": str(plan.schedules.drills),
    }


def _names() -> list[str]:
    with translated(), get_client(sync_client=True) as client:
        slug = BackupPlan.get_block_type_slug()
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
