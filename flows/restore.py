"""Restore a backup to a database that somebody will use."""

from __future__ import annotations

from prefect import flow

from blocks.plan import DEFAULT, resolve_plan, resolve_target
from flows.logs import log_plainly
from flows.run_names import named
from tasks.drill import sweep_scratch
from tasks.restore import choose_named, look_at_target, restore_and_swap, restore_in_place

log_plainly()


@flow(name="restore", flow_run_name=named("restore"))
def restore(backup: str, plan: str = DEFAULT, target: str = DEFAULT, replace: bool = False) -> int:
    """Restore a backup; nothing becomes visible before all of it was checked. Returns the number of rows.

    Args:
        backup: The backup's name, or `latest`.
        plan: The plan whose storage holds it; `default` is the one that the environment describes.
        target: Where to: the name of a PostgreSQL Server block; `default` is RESTORE_DATABASE_URL.
        replace: Replace a database that has tables; without this it is refused.
    """
    the_plan = resolve_plan(plan, frozenset({"storage"}))
    chosen, manifest = choose_named(the_plan, backup)
    place = look_at_target(resolve_target(target), replace)
    sweep_scratch(place.maintenance)
    how = restore_in_place if place.in_place else restore_and_swap
    return how(the_plan, chosen, manifest, place).summary.rows
