"""Keep plans as Prefect blocks, so that any worker finds them by name."""

from __future__ import annotations

import contextlib
from typing import Any

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from blocks.errors import ConfigurationError
from blocks.plan import BackupPlan
from blocks.saved import load_saved, saving, translated
from blocks.stores import whereabouts

_KINDS = {"verify_server": "drills", "first_copy": "copy", "second_copy": "copy2", "third_copy": "copy3"}


def save_plan(name: str, plan: BackupPlan) -> None:
    """Save a plan under a name, overwriting any plan of that name.

    Its server, storage, bucket and credentials become separate blocks, named `plan-<name>` (`drills-<name>` is the
    server for drills, `copy-<name>`, `copy2-<name>`, … belong to its copies): a form in the Prefect UI edits one block at a time, and a new key is entered only once.
    """
    with translated(), saving():
        _save(plan, name, name)


def plan_exists(name: str) -> bool:
    """Whether a plan is saved under a name."""
    return name in names_of_plans()


def list_plans() -> list[dict[str, Any]]:
    """List all saved plans by name: `name, database, storage, backups_due, drills_due, fault`, and nothing secret.

    `database` is None for a plan that has none, or whose URL cannot be read. For a plan that cannot be loaded,
    everything is None except its name and `fault`, which says what is wrong.
    """
    return [entry for name in sorted(names_of_plans()) if (entry := _entry(name))]


def _entry(name: str) -> dict[str, Any] | None:
    entry = dict.fromkeys(("name", "database", "storage", "backups_due", "drills_due", "fault")) | {"name": name}
    try:
        saved = load_saved(BackupPlan, name)
    except ConfigurationError as error:
        return entry | {"fault": str(error)}
    if saved is None:  # deleted in the meantime
        return None
    plan = saved.plan(name)
    with contextlib.suppress(ValueError):
        entry["database"] = plan.server.address if plan.server else None
    return entry | {
        "storage": whereabouts(plan.storage),
        "backups_due": str(plan.schedules.backups),
        "drills_due": str(plan.schedules.drills),
    }


def names_of_plans() -> list[str]:
    """Return the names of all saved plans."""
    with translated(), get_client(sync_client=True) as client:
        slug = BackupPlan.get_block_type_slug()
        try:
            client.read_block_type_by_slug(slug)
        except ObjectNotFound:  # no plan has been saved yet
            return []
        # All of them: the server does not paginate here, whatever the client offers.
        documents = client.read_block_documents_by_type(slug, include_secrets=False)
        return [document.name for document in documents if document.name]


def _save(block: Block, name: str, plan: str) -> Block:
    """Save a block's nested blocks first, then the block itself with references to them."""
    fields = {field: getattr(block, field) for field in type(block).model_fields}
    for field, value in fields.items():
        if isinstance(value, Block):
            fields[field] = _save(value, f"{_KINDS.get(field, 'plan')}-{plan}", plan)
    # Save a copy: Prefect would save a block that is already stored to the same document, whatever the name.
    fresh = type(block)(**fields)
    fresh.save(name, overwrite=True)
    return fresh
