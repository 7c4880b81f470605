"""Apply the retention policy: decide about every backup, then remove what may go."""

from __future__ import annotations

from prefect import flow

from blocks.plan import DEFAULT, resolve_plan
from flows.logs import log_plainly
from flows.run_names import named
from tasks.engine.retention import Plan as RetentionPlan
from tasks.prune import plan_retention, remove_all
from tasks.reports import publish_retention

log_plainly()


@flow(name="prune", flow_run_name=named("prune"))
def prune(plan: str = DEFAULT, dry_run: bool = False) -> RetentionPlan:
    """Remove the backups that a plan's retention policy no longer keeps.

    Args:
        plan: The name of the plan; `default` is the one that the environment describes.
        dry_run: Decide, publish the decisions, and remove nothing.
    """
    the_plan = resolve_plan(plan, frozenset({"storage"}))
    decided = plan_retention(the_plan)
    if not dry_run:
        decided = remove_all(the_plan, decided)
    publish_retention(plan, decided)
    return decided
