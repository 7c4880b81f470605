"""Do for each database of a server what is done for one, and say how many of them it went well for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from blocks.config.databases import folder_for
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, PgRoundtripError, Problem, SetIncomplete
from flows.runs.logs import about
from flows.runs.members import Ended, each
from flows.runs.parameters import GlobalsMode
from flows.runs.wrapping import say_when_next
from tasks.clock import utc_now
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.members import Member
from tasks.engine.repository.retention import PrunePlan
from tasks.engine.repository.set_results import (
    DatabaseDrilled,
    Failure,
    SetBackedUp,
    SetDrilled,
    SetRestored,
    failures_of,
)
from tasks.engine.repository.sets import BackupSet, SetMember
from tasks.engine.wording import visible
from tasks.orchestration import get_run_logger
from tasks.outcome import Outcome
from tasks.reports import drill_sentence, publish_drills, publish_set, retention_sentence
from tasks.restore_plan import plan_database
from tasks.sets import (
    choose_set,
    choose_to_drill,
    drills_all,
    in_words,
    list_databases,
    members_to_prune,
    newest_whole,
    store_set,
    tidy_sets,
)

if TYPE_CHECKING:
    from flows.backup import BackupResult

R = TypeVar("R")
_NO_REPLACE = (
    "restore to a server without them, or replace one with pg-roundtrip restore BACKUP --plan default/shop --replace"
)
_OTHERS = "pg-roundtrip list --sets shows the others; restore one with its roles, or this one without --globals-only"
_AGAIN = "see to what is wrong, and run it again: databases that are restored are skipped"


def back_up_databases(plan: Plan, back_up: Callable[[str], BackupResult]) -> Outcome[SetBackedUp]:
    """List the databases, back each of them up, and store what was taken; raises SetIncomplete if some failed.

    `back_up` takes the name of a member's plan.
    """
    assert plan.databases
    at_once, started_at, found = plan.databases.at_once, utc_now(), list_databases(plan)
    many = len(found.members)

    def one(database: str) -> BackupResult:
        if min(at_once, many) > 1:
            about.set(visible(database))
        get_run_logger().info("Backing up %s (%d of %d)", visible(database), found.members.index(database) + 1, many)
        return back_up(plan.member(database).name)

    ends = each(found.members, one, at_once)
    members = [_member(database, end) for database, end in zip(found.members, ends, strict=True)]
    members += [_missing(name, reason) for name, reason in found.missing]
    made = store_set(plan, started_at, found, members)
    tidy_sets(plan)
    publish_set(plan.name, made)
    say_when_next("backup")
    facts = SetBackedUp.of(made)
    if made.failed:
        said = f"{made.counted} databases are backed up ({made.name})"
        raise SetIncomplete(in_words(facts.failed), message=said, facts=facts)
    return Outcome("backup", plan.name, f"{made.name}: {made.counted} databases are backed up", facts)


def _member(database: str, end: Ended[BackupResult]) -> SetMember:
    folder = folder_for(database)
    if end.result is None:
        assert end.error
        return SetMember(database=database, folder=folder, error=bounded([end.error.sentence])[0], code=end.error.code)
    made = end.result
    return SetMember(
        database=database, folder=folder, backup=made.name, rows=made.rows, object_bytes=made.object_bytes,
        has_globals=made.has_globals,
    )  # fmt: skip


def _failure(database: str, error: PgRoundtripError) -> Failure:
    return Failure(database=database, reason=bounded([error.sentence])[0], code=error.code)


def _missing(name: str, reason: str) -> SetMember:
    return SetMember(database=name, folder="", error=reason, code=SetIncomplete.code)


def drill_databases(
    plan: Plan, backup: str, drill: Callable[[str], DrillReport]
) -> Outcome[DrillReport] | Outcome[SetDrilled]:
    """Drill the database that is due, the one that has a named backup, or all; the worst verdict is that of the run."""
    chosen = choose_to_drill(plan, backup)
    ends = each([member.plan.name for member in chosen], _announced(drill))
    if drills_all(plan, backup):
        return _of_all(plan, list(zip(chosen, ends, strict=True)))
    ((name, end),) = zip((member.plan.name for member in chosen), ends, strict=True)
    if end.error:
        raise end.error
    assert end.result
    return _of_drill(plan, end.result, f"{name}: {drill_sentence(end.result)}", end.result)


def _of_all(plan: Plan, drilled: Sequence[tuple[Member, Ended[DrillReport]]]) -> Outcome[SetDrilled]:
    """Publish the verdict on each; raises SetIncomplete if some could not be drilled at all."""
    found = SetDrilled(
        drills=tuple(
            DatabaseDrilled(plan=m.plan.name, database=m.database, report=end.result) for m, end in drilled if end.result
        ),
        failed=tuple(_failure(m.database, end.error) for m, end in drilled if end.error),
    )  # fmt: skip
    publish_drills(plan.name, found)
    get_run_logger().info("%s databases are PROVEN", found.counted)
    if found.failed:
        said = f"{len(found.drills)} of {len(drilled)} databases could be drilled, {found.proven} are PROVEN"
        raise SetIncomplete(in_words(found.failed), message=said, facts=found)
    assert found.worst
    worst = found.worst.report
    said = f"{found.counted} databases are PROVEN; {found.worst.plan}: {drill_sentence(worst)}"
    return _of_drill(plan, worst, said, found)


def _of_drill(plan: Plan, worst: DrillReport, said: str, facts: R) -> Outcome[R]:
    return Outcome(
        "restore-drill", plan.name, said, facts, verdict=worst.verdict, code=worst.code, without=worst.without
    )


def _announced(work: Callable[[str], R]) -> Callable[[str], R]:
    def announced(name: str) -> R:
        get_run_logger().info("Now %s", name)
        return work(name)

    return announced


def prune_databases(plan: Plan, prune: Callable[[str], PrunePlan], *, dry_run: bool) -> Outcome[PrunePlan]:
    """Apply the policy to each database by itself, also to those that the server has no more."""
    names = [member.plan.name for member in members_to_prune(plan)]
    ends = each(names, _announced(prune))
    decided = together({
        name.partition("/")[2]: end.result for name, end in zip(names, ends, strict=True) if end.result
    })  # fmt: skip
    if failed := {name: end.error for name, end in zip(names, ends, strict=True) if end.error}:
        raise SetIncomplete(
            "; ".join(f"{name}: {error.sentence}" for name, error in failed.items()),
            message=f"{len(names) - len(failed)} of {len(names)} databases are pruned",
        )
    if not dry_run:
        tidy_sets(plan)
    return Outcome("prune", plan.name, retention_sentence(decided, dry_run=dry_run), decided)


def together(plans: Mapping[str, PrunePlan]) -> PrunePlan:
    """Put what was decided for each database, or place, into one plan; a backup's name begins with that one's."""
    decisions = [
        replace(d, backup=replace(d.backup, name=f"{name}/{d.backup.name}"))
        for name, decided in plans.items()
        for d in decided.decisions
    ]
    warnings = [f"{name}: {decided.warning}" for name, decided in plans.items() if decided.warning]
    return PrunePlan(
        tuple(decisions), "; ".join(bounded(warnings)), sum(d.failed for d in plans.values()),
        sum(d.spared for d in plans.values()),
    )  # fmt: skip


@dataclass(frozen=True)
class How:
    """How to restore: over what is there, comparing the rows, with roles and settings."""

    replace: bool = False
    verify: bool = True
    globals_mode: GlobalsMode = "none"


Restore = Callable[[str, str, str, How], int]


def restore_set(plan: Plan, name: str, target: str, how: How, restore: Restore) -> Outcome[SetRestored]:
    """Restore the databases of a set to a server: roles and tablespaces, then each database, whatever becomes of others.

    `restore` takes the name of a backup, that of its member's plan, that of the target, and how. A database that is
    there is never replaced: what was restored before stays, anything else is an error of its own.
    """
    if how.replace:
        raise ConfigurationError([Problem("A set can't replace databases", _NO_REPLACE)])
    return restore_members(plan, choose_set(plan, name), target, how, restore)


def restore_members(plan: Plan, made: BackupSet, target: str, how: How, restore: Restore) -> Outcome[SetRestored]:
    """Restore what a set has; raises SetIncomplete if that is not all of it, or not all of the server."""

    def one(member: SetMember) -> int:
        get_run_logger().info(
            "Restoring %s (%d of %d)", visible(member.database), made.done.index(member) + 1, len(made.done)
        )
        with_globals = how if member.has_globals else replace(how, globals_mode="none")
        return restore(member.backup, f"{plan.name}/{member.folder}", f"{target}/{member.folder}", with_globals)

    if how.globals_mode != "none":
        _restore_roles(plan, made, target, how, restore)
    if how.globals_mode == "too (plan)":
        for member in made.done:
            plan_database(member, f"{target}/{member.folder}")
    if how.globals_mode.startswith("only") or "plan" in how.globals_mode:
        none = SetRestored(set=made.name, counted=f"0 of {len(made.members)}", rows=0, failed=())
        return Outcome("restore", plan.name, f"{made.name}: only roles and tablespaces", none)
    ends = each(made.done, one)
    done = SetRestored(
        set=made.name, counted=f"{sum(not end.error for end in ends)} of {len(made.members)}",
        rows=sum(end.result or 0 for end in ends), not_in_set=failures_of(made),
        failed=tuple(_failure(m.database, end.error) for m, end in zip(made.done, ends, strict=True) if end.error),
    )  # fmt: skip
    said = f"{done.counted} databases of {made.name} are restored"
    if lacking := (*done.failed, *done.not_in_set):
        hints = [_AGAIN] if done.failed else []
        hints += [_other_set(plan, made)] if done.not_in_set else []
        raise SetIncomplete(in_words(lacking), message=said, hint="; ".join(hints), facts=done)
    return Outcome("restore", plan.name, said, done)


def _other_set(plan: Plan, made: BackupSet) -> str:
    """Say where a database that is not in a set may be found."""
    whole = newest_whole(plan, other_than=made)
    named = f"the newest set that lacks none is {whole}" if whole else "no other set is whole"
    return f"what is not in {made.name} may be in another set: {named}"


def _restore_roles(plan: Plan, made: BackupSet, target: str, how: How, restore: Restore) -> None:
    """Create roles and tablespaces before all databases; if that fails, each brings its own: go on, unless nothing else is wanted."""
    member = next((m for m in made.done if m.folder == made.globals_of), None)
    if member is None:
        if how.globals_mode.startswith("only"):
            raise SetIncomplete("it has no roles", message=f"Nothing of {made.name} is restored", hint=_OTHERS)
        get_run_logger().warning("%s has no roles", made.name)
        return
    mode: GlobalsMode = "only (plan)" if "plan" in how.globals_mode else "only"
    try:
        restore(member.backup, f"{plan.name}/{member.folder}", f"{target}/{member.folder}", How(globals_mode=mode))
    except PgRoundtripError as error:
        if how.globals_mode != "too":
            raise
        get_run_logger().warning("Roles could not be created before the databases: %s", error.sentence)
