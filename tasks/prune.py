"""The steps of a prune: plan first, then remove."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime

from prefect import get_run_logger, task

from blocks.errors import StorageError
from blocks.plan import Plan
from tasks.clock import utc_now
from tasks.engine import catalog, retention
from tasks.engine.catalog import Backup
from tasks.engine.checklist import counted
from tasks.policy import QUICK, called

_AWAY = "the storage went away: "


@task(**called("plan the retention"), **QUICK)
def plan_retention(plan: Plan, *, even_if_stale: bool = False) -> retention.Plan:
    """Decide about every backup in the bucket; removes nothing."""
    backups = catalog.looked_into(plan.storage, catalog.read_catalog(plan.storage))
    now = utc_now()
    decided = retention.decide(backups, policy_of(plan, now, even_if_stale=even_if_stale), now)
    if decided.warning:
        get_run_logger().warning(decided.warning)
    return decided


def policy_of(plan: Plan, now: datetime, *, even_if_stale: bool = False) -> retention.Policy:
    """What a plan says about what is kept."""
    rules = {f"keep_{rule}": count for rule, count in plan.keep_rules.items()}
    interval_s = int(plan.backups_due.gap(now).total_seconds())
    return retention.Policy(plan.retention_days, interval_s, **rules, even_if_stale=even_if_stale)


@task(**called("remove a backup", "remove {backup.name}"), **QUICK)
def remove_backup(plan: Plan, backup: Backup) -> None:
    """Delete one backup: its manifest first, so that what is listed as ours is whole at every moment."""
    plan.storage.remove(plan.storage.key(backup.name + catalog.MANIFEST))
    plan.storage.remove(plan.storage.key(backup.name + catalog.REPORT))
    plan.storage.remove(backup.key)


def remove_all(plan: Plan, decided: retention.Plan) -> retention.Plan:
    """Carry a plan out, oldest first; returns it with what could not be removed now, and stays until next time, as kept."""
    done: list[retention.Decision] = []
    failures: Counter[str] = Counter()
    away = ""
    for decision in decided.decisions:
        problem = "" if decision.keep else away or _problem_with(plan, decision.backup)
        if problem:
            failures[problem] += 1
            # A storage that went away answers none of the others either, after as many tries for each.
            away = problem if problem.startswith(_AWAY) else ""
            done.append(replace(decision, keep=True, reasons=(f"could not be deleted: {problem}",)))
        else:
            done.append(decision)
    carried_out = replace(decided, decisions=tuple(done), failed=failures.total())
    _tell(carried_out, failures)
    return carried_out


def _problem_with(plan: Plan, backup: Backup) -> str:
    """Remove one backup; says what was in the way, towards keeping data: it is no reason to fail a run that made one."""
    try:
        remove_backup(plan, backup)
    except StorageError as error:
        return f"{_AWAY if error.transient else ''}{error.message}"
    return ""


def _tell(carried_out: retention.Plan, failures: Counter[str]) -> None:
    logger = get_run_logger()
    for problem, count in failures.items():
        logger.warning("Could not delete %s: %s", counted(count, "old backup"), problem)
    removed, failed = len(carried_out.removals), carried_out.failed
    of_them = f" of {removed + failed}" if failed else ""
    logger.info("Deleted %d%s old backups, kept %d", removed, of_them, len(carried_out.decisions) - removed)
