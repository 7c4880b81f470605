"""The steps of a prune: plan first, then remove."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from prefect import get_run_logger, task

from blocks.config.plan import Plan
from blocks.errors import StorageError
from tasks.clock import utc_now
from tasks.engine.repository import retention
from tasks.engine.repository.catalog import Backup, Listing
from tasks.engine.repository.checks import counted
from tasks.engine.repository.folder import Folder, apart, databases_in, look_into
from tasks.engine.repository.repository import Repository
from tasks.policy import QUICK, called
from tasks.whose import HINT_SHARED, whose

_REFUSED = "give the keys the right to delete; what a lock on the bucket or the object holds is removed when that ends"


@task(**called("plan the retention"), **QUICK)
def plan_retention(
    plan: Plan, repository: Repository, listing: Listing | None = None, *, even_if_stale: bool = False
) -> retention.PrunePlan:
    """Decide about every backup in the bucket; removes nothing. Lists them, unless a listing of a moment ago is given."""
    listed = listing.backups if listing and listing.is_fresh(utc_now()) else repository.backups()
    backups, now = repository.looked_into(listed), utc_now()
    folder = look_into(repository, whose(plan), backups)
    policy = policy_of(plan, now, even_if_stale=even_if_stale)
    mine = [b for b in folder.backups if _is_mine(folder, plan.name, b)]
    decided = retention.decide_apart(_by_database(folder, mine), policy, now)
    if decided.warning:
        get_run_logger().warning(decided.warning)
    return _sparing_others(plan, folder, decided, mine)


def _is_mine(folder: Folder, plan_name: str, backup: Backup) -> bool:
    """Whether this plan may remove it; what cannot be read is nobody's, and goes by its age."""
    made = backup.origin
    return made is None or (made.plan == plan_name and folder.whose.owns(made))


def _by_database(folder: Folder, mine: list[Backup]) -> list[list[Backup]]:
    database = folder.whose.database
    return [mine] if folder.whose.others or (database and database.system_identifier) else apart(mine)


def _sparing_others(
    plan: Plan, folder: Folder, decided: retention.PrunePlan, mine: list[Backup]
) -> retention.PrunePlan:
    """Keep what was made of another database, or for another plan: that plan has a policy of its own.

    Where the server does not say now which of two databases of one name it is, neither loses anything.
    """
    database = folder.whose.database
    unsure = bool(database and not database.system_identifier and not folder.whose.others
                  and len(databases_in(_of_known_servers(mine))) > 1)  # fmt: skip
    names = {b.name for b in mine if not (unsure and b.origin)}
    spared = [b for b in folder.backups if b.name not in names and b.origin]
    if spared and not plan.shared:
        get_run_logger().warning(
            "%s of another plan or database in %s stay\nHINT: %s",
            counted(len(spared), "backup"), folder.address, HINT_SHARED,
        )  # fmt: skip
    kept = [d for d in decided.decisions if d.backup.name in names]
    kept += [
        retention.Decision(b, keep=True, reasons=(f"of the plan {b.origin.plan}, database {b.origin.database}",))
        for b in spared if b.origin
    ]  # fmt: skip
    return replace(decided, decisions=tuple(sorted(kept, key=lambda d: (d.backup.taken_at, d.backup.name))))


def _of_known_servers(mine: list[Backup]) -> list[Backup]:
    """Those whose server is known."""
    return [b for b in mine if b.origin and b.origin.database.system_identifier]


def policy_of(plan: Plan, now: datetime, *, even_if_stale: bool = False) -> retention.Policy:
    """What a plan says about what is kept."""
    rules = {f"keep_{rule}": count for rule, count in plan.retention.keep.items()}
    interval_s = int(plan.schedules.backups.gap(now).total_seconds())
    return retention.Policy(plan.retention.days, interval_s, **rules, even_if_stale=even_if_stale)


@task(**called("remove a backup", "remove {backup.name}"), **QUICK)
def remove_backup(repository: Repository, backup: Backup) -> None:
    """Delete one backup."""
    repository.remove(backup)


def remove_all(repository: Repository, decided: retention.PrunePlan) -> retention.PrunePlan:
    """Carry a plan out, oldest first; returns it with what could not be removed now, and stays until next time, as kept."""
    done: list[retention.Decision] = []
    failures: dict[str, list[StorageError]] = {}
    away: StorageError | None = None
    for decision in decided.decisions:
        problem = None if decision.keep else away or _problem_with(repository, decision.backup)
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


def _problem_with(repository: Repository, backup: Backup) -> StorageError | None:
    """Remove one backup; says what was in the way, towards keeping data: it is no reason to fail a run that made one."""
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
