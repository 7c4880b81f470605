"""Keep plans as Prefect blocks, so that any worker finds them by their name."""

from __future__ import annotations

from prefect.blocks.core import Block

from blocks.plan import Plan


def save_plan(name: str, plan: Plan) -> None:
    """Save a plan under a name, over the one that had it.

    Its server, storage, bucket and credentials become blocks of their own, named `plan-<name>` (`drills-<name>` is the
    server for drills): a form of the Prefect UI shows and edits one block at a time, and a new key is entered once.
    """
    _save(plan, name, name)


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
