"""The steps of a prune: plan first, then remove."""

from __future__ import annotations

from dataclasses import replace

from prefect import get_run_logger, task

from blocks.errors import StorageError
from blocks.plan import Plan
from tasks.clock import utc_now
from tasks.engine import catalog, retention
from tasks.engine.catalog import Backup
from tasks.policy import QUICK, called


@task(**called("plan the retention"), **QUICK)
def plan_retention(plan: Plan) -> retention.Plan:
    """Decide about every backup in the bucket; removes nothing."""
    backups = catalog.read_catalog(plan.storage)
    now = utc_now()
    policy = retention.Policy(plan.retention_days, int(plan.backups_due.gap(now).total_seconds()))
    decided = retention.decide(backups, catalog.newest_proven(plan.storage, backups), policy, now)
    if decided.warning:
        get_run_logger().warning(decided.warning)
    return decided


@task(**called("remove a backup", "remove {backup.name}"), **QUICK)
def remove_backup(plan: Plan, backup: Backup) -> None:
    """Delete one backup: its manifest first, so that what is listed as ours is whole at every moment."""
    plan.storage.remove(plan.storage.key(backup.name + catalog.MANIFEST))
    plan.storage.remove(plan.storage.key(backup.name + catalog.REPORT))
    plan.storage.remove(backup.key)


def remove_all(plan: Plan, decided: retention.Plan) -> retention.Plan:
    """Carry a plan out, oldest first; returns it with what could not be removed now, and stays until next time, as kept."""
    done, logger = [], get_run_logger()
    for decision in decided.decisions:
        try:
            if not decision.keep:
                remove_backup(plan, decision.backup)
        except StorageError as error:
            # Towards keeping data: a backup that cannot be deleted is no reason to fail a run that made one.
            logger.warning("Could not delete %s: %s", decision.backup.name, error.sentence)
            done.append(replace(decision, keep=True, reason=f"could not be deleted: {error.sentence}"))
            continue
        done.append(decision)
    carried_out = replace(decided, decisions=tuple(done))
    removed = len(carried_out.removals)
    logger.info("Deleted %d old backups, kept %d", removed, len(done) - removed)
    return carried_out
