"""Apply the retention policy: decide about every backup, then remove what may go."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas import State
from prefect.states import Completed

from blocks.config import DEFAULT
from blocks.config.resolve import resolve_plan
from flows.endings import in_words
from flows.logs import log_plainly
from flows.missed import newest_slot_only
from flows.parameters import PlanName
from flows.run_names import named
from tasks.engine.repository.retention import PrunePlan
from tasks.prune import plan_retention, remove_all
from tasks.reports import publish_catalog, publish_retention, retention_sentence
from tasks.sweep import sweep_stale_uploads

log_plainly()


@flow(name="prune", flow_run_name=named("prune"), validate_parameters=False)
@newest_slot_only
@in_words
def prune(plan: PlanName = DEFAULT, dry_run: bool = False, even_if_stale: bool = False) -> State[PrunePlan]:
    """Remove the backups that a plan's retention policy no longer keeps.

    The newest backup and the newest PROVEN one stay, however old; nothing goes while backups have stopped.

    Args:
        plan: Which plan: the name of a saved Backup Plan block, or `default` for the one that the environment describes.
        dry_run: Remove nothing; only publish what would be removed, and why.
        even_if_stale: Remove old backups although no recent one exists.
    """
    chosen_plan = resolve_plan(plan, frozenset({"storage"}))
    decided = plan_retention(chosen_plan, even_if_stale=even_if_stale)
    if not dry_run:
        sweep_stale_uploads(chosen_plan)
        decided = remove_all(chosen_plan, decided)
    publish_retention(plan, decided, dry_run=dry_run)
    publish_catalog(plan, chosen_plan.storage)
    return Completed(message=retention_sentence(decided, dry_run=dry_run), data=decided)
