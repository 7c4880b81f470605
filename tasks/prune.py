"""The steps of a prune: plan first, then remove."""

from __future__ import annotations

from prefect import get_run_logger, task

from blocks.errors import StorageError
from blocks.plan import Plan
from tasks.clock import utc_now
from tasks.engine import catalog, retention
from tasks.engine.catalog import Backup
from tasks.policy import QUICK


@task(name="plan the retention", **QUICK)
def plan_retention(plan: Plan) -> retention.Plan:
    """Decide about every backup in the bucket; removes nothing."""
    backups = catalog.read_catalog(plan.storage)
    policy = retention.Policy(plan.retention_days, plan.interval_s)
    decided = retention.decide(backups, catalog.newest_proven(plan.storage, backups), policy, utc_now())
    if decided.warning:
        get_run_logger().warning(decided.warning)
    return decided


@task(name="remove a backup", task_run_name="remove {backup.name}", **QUICK)
def remove_backup(plan: Plan, backup: Backup) -> None:
    """Delete one backup: its manifest first, so that what is listed as ours is whole at every moment."""
    plan.storage.remove(plan.storage.key(backup.name + catalog.MANIFEST))
    plan.storage.remove(plan.storage.key(backup.name + catalog.REPORT))
    plan.storage.remove(backup.key)


def remove_all(plan: Plan, decided: retention.Plan) -> list[str]:
    """Carry a plan out, oldest first; what cannot be removed now is warned about and stays until next time."""
    removed, logger = [], get_run_logger()
    for backup in decided.removals:
        try:
            remove_backup(plan, backup)
        except StorageError as error:
            # Towards keeping data: a backup that cannot be deleted is no reason to fail a run that made one.
            logger.warning("Could not delete %s: %s", backup.name, error.sentence)
            continue
        removed.append(backup.name)
    logger.info("Deleted %d old backups, kept %d", len(removed), len(decided.decisions) - len(removed))
    return removed
