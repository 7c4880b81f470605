"""The steps of a prune: plan first, then remove."""

from __future__ import annotations

from dataclasses import replace

from blocks.config.plan import Plan
from blocks.errors import StorageError
from tasks.clock import utc_now
from tasks.engine.repository import retention
from tasks.engine.repository.catalog import Backup, Listing
from tasks.engine.repository.checks import counted
from tasks.engine.repository.companions import remove_orphan
from tasks.engine.repository.own_retention import decide_closely, policy_of
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import HINT_SHARED, whose
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK

_REFUSED = "give the keys the right to delete; what a lock on the bucket or the object protects is removed when it ends"


@task("plan the retention", QUICK)
def plan_retention(
    plan: Plan, repository: Repository, listing: Listing | None = None, *, even_if_stale: bool = False
) -> retention.PrunePlan:
    """Decide about every backup in the bucket, without removing any. Lists them unless given a fresh listing."""
    seen = listing if listing and listing.is_fresh(utc_now()) else repository.listing(utc_now())
    folder, decided = decide_closely(
        plan, repository, whose(plan), seen.backups, utc_now(), even_if_stale=even_if_stale
    )
    if decided.warning:
        get_run_logger().warning(decided.warning)
    if decided.spared and not plan.shared:
        spared = counted(decided.spared, "backup")
        text = "%s of another plan or database in %s stay\nHINT: %s"
        get_run_logger().warning(text, spared, folder.address, HINT_SHARED)
    stopped = retention.have_stopped(folder.own, policy_of(plan, utc_now(), even_if_stale=even_if_stale), utc_now())
    return replace(decided, orphans=() if stopped else seen.orphans)


@task("remove a backup", QUICK, run_name="remove {backup.name}")
def remove_backup(repository: Repository, backup: Backup) -> None:
    """Delete one backup."""
    repository.remove(backup)


@task("remove what backups left behind", QUICK)
def remove_orphans(repository: Repository, decided: retention.PrunePlan) -> int:
    """Delete the roles and settings whose backup is gone; returns how many. A failure leaves them for the next prune."""
    try:
        removed = sum(remove_orphan(repository, name, utc_now()) for name in decided.orphans)
    except StorageError as error:
        get_run_logger().warning("Could not remove roles and settings without a backup: %s", error.sentence)
        return 0
    if removed:
        get_run_logger().info(
            "Deleted %s",
            counted(
                removed, "file of roles and settings without a backup", "files of roles and settings without a backup"
            ),
        )
    return removed


def remove_all(repository: Repository, decided: retention.PrunePlan) -> retention.PrunePlan:
    """Carry out a plan, oldest first; returns it with what could not be removed marked as kept, until next time."""
    done: list[retention.Decision] = []
    failures: dict[str, list[StorageError]] = {}
    away: StorageError | None = None
    for decision in decided.decisions:
        problem = None if decision.keep else away or _problem_with(repository, decision.backup)
        if problem:
            failures.setdefault(problem.message, []).append(problem)
            # If the storage is unreachable, don't retry it for each of the others too.
            away = problem if problem.transient else None
            done.append(replace(decision, keep=True, reasons=(f"could not be deleted: {problem.message}",)))
        else:
            done.append(decision)
    carried_out = replace(decided, decisions=tuple(done), failed=sum(map(len, failures.values())))
    _tell(carried_out, failures)
    return carried_out


def _problem_with(repository: Repository, backup: Backup) -> StorageError | None:
    """Remove one backup, or return the error: a failure keeps data, so it must not fail the run that made a backup."""
    try:
        remove_backup(repository, backup)
    except StorageError as error:
        return error
    return None


def _tell(carried_out: retention.PrunePlan, failures: dict[str, list[StorageError]]) -> None:
    logger = get_run_logger()
    for problems in failures.values():
        first = problems[0]
        hint = first.hint if first.transient else _REFUSED
        logger.warning("Could not delete %s: %s\nHINT: %s", counted(len(problems), "old backup"), first.sentence, hint)
    removed, failed = len(carried_out.removals), carried_out.failed
    of_them = f" of {removed + failed}" if failed else ""
    logger.info("Deleted %d%s old backups, kept %d", removed, of_them, len(carried_out.decisions) - removed)
