"""The steps of a prune: plan first, then remove."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from blocks.config.plan import Plan
from blocks.errors import StorageError
from blocks.stores import removes, rules_of
from tasks.clock import utc_now
from tasks.engine.repository import retention
from tasks.engine.repository.catalog import Backup, Listing
from tasks.engine.repository.checks import counted
from tasks.engine.repository.companions import is_orphan, remove_orphan
from tasks.engine.repository.held import left_to_others, staying, told_of_due, what_rules_break
from tasks.engine.repository.own_retention import decide_closely, policy_of
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import HINT_SHARED, whose
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK

Failures = dict[str, list[StorageError]]
_COMPANIONS = ("file of roles and settings without a backup", "files of roles and settings without a backup")
_NAMED = 10
_REFUSED = "give the keys the right to delete, or set PRUNE=elsewhere and let a lifecycle rule of the bucket do it"
_HELD = StorageError("a lock holds it")
_NO_RULE = "add a lifecycle rule for the folder, or remove PRUNE=elsewhere (docs/locks.md)"
_LONGER = "let the rule keep everything for longer than drills and backups can stand still (docs/locks.md)"


@task("plan the retention", QUICK)
def plan_retention(
    plan: Plan, repository: Repository, listing: Listing | None = None, place: str = "", *, even_if_stale: bool = False
) -> retention.PrunePlan:
    """Decide about every backup in the bucket, without removing any. Lists them unless given a fresh listing.

    Of several places, `place` is the name of this one, for the log.
    """
    seen = listing if listing and listing.is_fresh(utc_now()) else repository.listing(utc_now())
    folder, decided = decide_closely(
        plan, repository, whose(plan), seen.backups, utc_now(), even_if_stale=even_if_stale
    )
    if decided.warning:
        get_run_logger().warning("%s%s", f"{place}: " if place else "", decided.warning)
    if decided.spared and not plan.shared:
        spared = counted(decided.spared, "backup")
        text = "%s of another plan or database in %s stay\nHINT: %s"
        get_run_logger().warning(text, spared, folder.address, HINT_SHARED)
    stopped = retention.have_stopped(folder.own, policy_of(plan, utc_now(), even_if_stale=even_if_stale), utc_now())
    decided = replace(decided, orphans=() if stopped else seen.orphans)
    return decided if removes(plan.storage) else _leave_to_others(plan, decided, place)


def _leave_to_others(plan: Plan, decided: retention.PrunePlan, place: str) -> retention.PrunePlan:
    """Remove nothing, and warn of what a rule of the bucket removes although retention keeps it: it knows no verdicts."""
    found, left = rules_of(plan.storage), left_to_others(decided)
    days = found.expires_days if found else None
    if days == 0 and left.due:
        get_run_logger().warning("No rule of the bucket%s removes what is due\nHINT: %s", _in(place), _NO_RULE)
    elif days != 0 and (
        broken := what_rules_break(left, utc_now(), days or plan.retention.days, known=days is not None)
    ):
        get_run_logger().warning("%s%s\nHINT: %s", f"{place}: " if place else "", broken, _LONGER)
    return left


@task("remove a backup", QUICK, run_name="remove {backup.name}")
def remove_backup(repository: Repository, backup: Backup) -> bool:
    """Delete one backup; returns False if something holds it."""
    return repository.remove(backup)


@task("look at what backups left behind", QUICK)
def tell_orphans(repository: Repository, names: Collection[str], place: str = "") -> int:
    """Say which roles and settings a prune would delete because their backup is gone; returns how many."""
    found, failures = _each(names, lambda name: is_orphan(repository, name, utc_now()))
    for problems in failures.values():
        first, text = problems[0], "Could not look at %s%s: %s\nHINT: %s"
        get_run_logger().warning(text, counted(len(problems), *_COMPANIONS), _in(place), first.sentence, first.hint)
    if found:
        get_run_logger().info("Would delete %s%s: %s", counted(len(found), *_COMPANIONS), _in(place), _few(found))
    return len(found)


@task("remove what backups left behind", QUICK)
def remove_orphans(repository: Repository, names: Collection[str], swept: Collection[str], place: str = "") -> int:
    """Delete the roles and settings whose backup is gone; returns how many. Those that fail are left for the next prune.

    So are those whose object was on its way until this run swept the upload, by its key: nothing else says so any more.
    """
    due = [name for name in names if repository.key(name) not in swept]
    removed, failures = _each(due, lambda name: remove_orphan(repository, name, utc_now()))
    _warn(failures, _COMPANIONS, place)
    if removed:
        get_run_logger().info("Deleted %s%s: %s", counted(len(removed), *_COMPANIONS), _in(place), _few(removed))
    return len(removed)


def _each(names: Iterable[str], work: Callable[[str], bool]) -> tuple[list[str], Failures]:
    """Return for which names the work was done, and why it failed for others."""
    done: list[str] = []
    failures: Failures = {}
    away: StorageError | None = None
    for name in names:
        try:
            if away:
                raise away
            if work(name):
                done.append(name)
        except StorageError as error:
            failures.setdefault(error.message, []).append(error)
            away = error if error.transient else None
    return done, failures


def _in(place: str) -> str:
    return f" in {place}" if place else ""


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def remove_all(repository: Repository, decided: retention.PrunePlan, place: str = "") -> retention.PrunePlan:
    """Carry out a plan, oldest first; returns it with what could not be removed marked as kept, until next time."""
    done: list[retention.Decision] = []
    failures: Failures = {}
    away: StorageError | None = None
    for decision in decided.decisions:
        problem = None if decision.keep else away or _problem_with(repository, decision.backup)
        if problem is _HELD:
            done.append(staying(decision, "due, but a lock holds it"))
        elif problem:
            failures.setdefault(problem.message, []).append(problem)
            # If the storage is unreachable, don't retry it for each of the others too.
            away = problem if problem.transient else None
            done.append(replace(decision, keep=True, reasons=(f"could not be deleted: {problem.message}",)))
        else:
            done.append(decision)
    carried_out = replace(decided, decisions=tuple(done), failed=sum(map(len, failures.values())))
    _tell(carried_out, failures, place)
    return carried_out


def _problem_with(repository: Repository, backup: Backup) -> StorageError | None:
    """Remove one backup, or return the error: a failure keeps data, so it must not fail the run that made a backup."""
    try:
        return None if remove_backup(repository, backup) else _HELD
    except StorageError as error:
        return error


def _tell(carried_out: retention.PrunePlan, failures: Failures, place: str) -> None:
    _warn(failures, ("old backup",), place)
    removed, failed = len(carried_out.removals), carried_out.failed
    of_them = f" of {removed + failed}" if failed else ""
    kept = len(carried_out.decisions) - removed
    get_run_logger().info("Deleted %d%s old backups%s, kept %d", removed, of_them, _in(place), kept)
    if due := told_of_due(carried_out):
        get_run_logger().info("Of these, %s", due)


def _warn(failures: Failures, what: Sequence[str], place: str) -> None:
    for problems in failures.values():
        first = problems[0]
        hint = first.hint if first.transient else _REFUSED
        number = counted(len(problems), *what)
        get_run_logger().warning("Could not delete %s%s: %s\nHINT: %s", number, _in(place), first.sentence, hint)
