"""The steps of a prune: plan first, then remove."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime

from prefect import get_run_logger, task

from blocks.errors import BackupDamaged, ObjectMissing, StorageError
from blocks.plan import Plan
from tasks.clock import utc_now
from tasks.engine import catalog, retention
from tasks.engine.catalog import Backup
from tasks.engine.checklist import counted
from tasks.engine.manifest import Verdict
from tasks.policy import QUICK, called

_REFUSED = "give the keys the right to delete; what a lock on the bucket or the object holds is removed when that ends"


@task(**called("plan the retention"), **QUICK)
def plan_retention(plan: Plan, plan_name: str, *, even_if_stale: bool = False) -> retention.Plan:
    """Decide about every backup in the bucket; removes nothing."""
    backups = catalog.looked_into(plan.storage, catalog.read_catalog(plan.storage))
    now = utc_now()
    decided = retention.decide(backups, policy_of(plan, now, even_if_stale=even_if_stale), now)
    if decided.warning:
        get_run_logger().warning(decided.warning)
    return _sparing_others(plan, plan_name, decided)


def _sparing_others(plan: Plan, plan_name: str, decided: retention.Plan) -> retention.Plan:
    """Keep what was made of another database, or for another plan: a name does not tell, a manifest does."""
    spared: dict[str, str] = {}
    for backup in decided.removals:
        with contextlib.suppress(BackupDamaged, ObjectMissing):  # what cannot be read is nobody's
            made = catalog.load_manifest(plan.storage, backup)
            database = plan.server.database if plan.server else made and made.database
            if made and (made.plan, made.database) != (plan_name, database):
                spared[backup.name] = f"of the plan {made.plan}, database {made.database}"
    if spared:
        get_run_logger().warning(
            "%s of another plan or database in %s stay\nHINT: give each database a BACKUP_PREFIX of its own",
            counted(len(spared), "old backup"), plan.storage.address,
        )  # fmt: skip
    kept = (
        replace(d, keep=True, reasons=(spared[d.backup.name],)) if d.backup.name in spared else d
        for d in decided.decisions
    )
    return replace(decided, decisions=tuple(kept))


def policy_of(plan: Plan, now: datetime, *, even_if_stale: bool = False) -> retention.Policy:
    """What a plan says about what is kept."""
    rules = {f"keep_{rule}": count for rule, count in plan.keep_rules.items()}
    interval_s = int(plan.backups_due.gap(now).total_seconds())
    return retention.Policy(plan.retention_days, interval_s, **rules, even_if_stale=even_if_stale)


@task(**called("remove a backup", "remove {backup.name}"), **QUICK)
def remove_backup(plan: Plan, backup: Backup) -> None:
    """Delete one backup: its manifest before its object, so that what is listed as ours is whole at every moment.

    The report, which came last, goes first: what is left of a removal that breaks off is then decided about as it was
    before. One that says FAILED goes after the manifest, for without it the backup would be taken for a good one.
    """
    ends = (catalog.REPORT, catalog.MANIFEST, catalog.OBJECT)
    if backup.verdict is Verdict.FAILED:
        ends = (catalog.MANIFEST, catalog.REPORT, catalog.OBJECT)
    for end in ends:
        plan.storage.remove(plan.storage.key(backup.name + end))


def remove_all(plan: Plan, decided: retention.Plan) -> retention.Plan:
    """Carry a plan out, oldest first; returns it with what could not be removed now, and stays until next time, as kept."""
    done: list[retention.Decision] = []
    failures: dict[str, list[StorageError]] = {}
    away: StorageError | None = None
    for decision in decided.decisions:
        problem = None if decision.keep else away or _problem_with(plan, decision.backup)
        if problem:
            failures.setdefault(problem.message, []).append(problem)
            # A storage that went away answers none of the others either, after as many tries for each.
            away = problem if problem.transient else None
            done.append(replace(decision, keep=True, reasons=(f"could not be deleted: {problem.message}",)))
        else:
            done.append(decision)
    carried_out = replace(decided, decisions=tuple(done), failed=sum(map(len, failures.values())))
    _tell(carried_out, failures)
    return carried_out


def _problem_with(plan: Plan, backup: Backup) -> StorageError | None:
    """Remove one backup; says what was in the way, towards keeping data: it is no reason to fail a run that made one."""
    try:
        remove_backup(plan, backup)
    except StorageError as error:
        return error
    return None


def _tell(carried_out: retention.Plan, failures: dict[str, list[StorageError]]) -> None:
    logger = get_run_logger()
    for problems in failures.values():
        first = problems[0]
        hint = first.hint if first.transient else _REFUSED
        logger.warning("Could not delete %s: %s\nHINT: %s", counted(len(problems), "old backup"), first.sentence, hint)
    removed, failed = len(carried_out.removals), carried_out.failed
    of_them = f" of {removed + failed}" if failed else ""
    logger.info("Deleted %d%s old backups, kept %d", removed, of_them, len(carried_out.decisions) - removed)
