"""The steps that concern all databases of a server: list them, and keep the document that says what a run took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from blocks.config.databases import Drilled
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, PgRoundtripError, Problem
from tasks.clock import utc_now
from tasks.destinations import plans_at
from tasks.engine.dump.databases import Listed
from tasks.engine.dump.databases import list_databases as listed_by
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.members import (
    Member,
    all_members,
    current_members,
    member_with,
    own_members,
    patterns_of,
    to_drill,
)
from tasks.engine.repository.names import LATEST, LATEST_SET, set_name_at
from tasks.engine.repository.nearest import answers
from tasks.engine.repository.place_turns import named_place
from tasks.engine.repository.set_choice import newest_first, perhaps_forgotten, told_of_future_sets
from tasks.engine.repository.set_results import Failure
from tasks.engine.repository.sets import BackupSet, LeftAlone, SetMember, Sets, forgotten
from tasks.engine.wording import tool_version, visible
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK
from tasks.sweep import sweep_stale_uploads

_UNMATCHED = "correct BACKUP_DATABASES, unless such databases only come later"
_NONE = "check BACKUP_DATABASES, and that DATABASE_URL leads to the server that you mean"
_WHEN_FUTURE = (
    "correct the clock; a set from the future is never the newest, and its document in sets/ can be removed by hand"
)
_MOST_NAMED, _MOST_READ = 5, 50


@task("list the databases", QUICK)
def list_databases(plan: Plan) -> Listed:
    """List what the plan's patterns mean now; raises ConfigurationError if that is nothing."""
    assert plan.databases
    with plan.source.connect() as connection:
        found = listed_by(connection, plan.databases)
    for name, reason in found.left_alone:
        get_run_logger().info("Left alone: the database %s: %s", bounded([name])[0], reason)
    for pattern in found.unmatched:
        get_run_logger().warning("No database matches %s\nHINT: %s", bounded([pattern])[0], _UNMATCHED)
    if not found.members and not found.missing:
        raise ConfigurationError([Problem("BACKUP_DATABASES matches no database that can be backed up", _NONE)])
    return found


@task("store the set", QUICK)
def store_set(plan: Plan, started_at: datetime, found: Listed, members: Sequence[SetMember]) -> BackupSet:
    """Write what was taken and what was not, after everything else, in each place; raises if that works in none."""
    made = BackupSet(
        tool_version=tool_version(), plan=plan.name, name=set_name_at(started_at), started_at=started_at, ended_at=utc_now(),
        system_identifier=found.system_identifier, members=tuple(members), patterns=patterns_of(plan),
        left_alone=tuple(LeftAlone(database=name, reason=reason) for name, reason in found.left_alone),
        globals_of=next((member.folder for member in members if member.has_globals), ""),
    )  # fmt: skip
    made = _write_everywhere(plan, made)
    get_run_logger().info("Stored the set %s: %s databases", made.name, made.counted)
    return made


def _write_everywhere(plan: Plan, made: BackupSet) -> BackupSet:
    """Write a set under the same name in each place; the copies of a place that fails now are caught up with later."""
    written, fault = None, None
    for name, place in plans_at(plan).items():
        try:
            if written is None:
                written = Sets(place.storage).write(made)
            else:
                Sets(place.storage).add(written)
        except PgRoundtripError as error:
            fault = fault or error
            if plan.copies:
                get_run_logger().warning("The set is not in %s: %s", name, error.sentence)
    if written is None:
        assert fault
        raise fault
    return written


@task("choose the databases to drill", QUICK)
def choose_to_drill(plan: Plan, backup: str) -> list[Member]:
    """Choose those that are due, or the one that has a named backup."""
    if plan.drill.destination != "turn":
        return _to_drill(plan.leading(named_place(plan)), backup)
    return next(answers(plan, lambda at: _to_drill(at, backup), get_run_logger().warning))[1]


def _to_drill(plan: Plan, backup: str) -> list[Member]:
    assert plan.databases
    named = _named(plan, backup)
    if named:
        return [member_with(all_members(plan), named)]
    which: Drilled = "newest" if backup == LATEST else plan.databases.drilled
    now = utc_now()
    return to_drill(current_members(plan, now), which, plan.schedules.drills, now)


def drills_all(plan: Plan, backup: str) -> bool:
    """Whether a drill takes all databases, even if there is only one now."""
    assert plan.databases
    return plan.databases.drilled == "all" and backup != LATEST and not _named(plan, backup)


def _named(plan: Plan, backup: str) -> str:
    return "" if backup == LATEST else backup or plan.drill.backup_file or ""


@task("look for databases", QUICK)
def members_to_prune(plan: Plan) -> list[Member]:
    """Return every database that has a backup of this plan in any place; other folders are others', and left alone."""
    return _anywhere(plan, own_members)


def members_anywhere(plan: Plan) -> list[Member]:
    """Return every database that has a backup of this plan in any place, each with the plan of all its places."""
    return [replace(member, plan=plan.member(member.database)) for member in members_to_prune(plan)]


def _anywhere(plan: Plan, members: Callable[[Plan], list[Member]]) -> list[Member]:
    """Put together what is in each place; raises the error of one if none answers."""
    if not plan.copies:
        return members(plan)
    found, faults = dict[str, Member](), list[PgRoundtripError]()
    for name, place in plans_at(plan).items():
        try:
            found = {member.plan.name: member for member in members(place)} | found
        except PgRoundtripError as error:
            get_run_logger().warning("%s could not be looked at: %s", name, error.sentence)
            faults.append(error)
    if len(faults) == len(plan.destinations):
        raise faults[0]
    return [found[name] for name in sorted(found)]


@task("choose the database", QUICK)
def choose_member(plan: Plan, backup: str) -> Plan:
    """Return the plan of the only database that has a backup of this name."""
    return next(answers(plan, lambda at: member_with(all_members(at), backup).plan, get_run_logger().warning))[1]


@task("read the set", QUICK)
def choose_set(plan: Plan, name: str) -> BackupSet:
    """Fetch a set, and warn of what isn't in it."""
    found = answers(plan, lambda at: _set_named(at, name), get_run_logger().warning)
    plan, made = max(found, key=lambda answer: answer[1].name) if name == LATEST_SET else next(found)
    sets = Sets(plan.storage)
    if name == LATEST_SET and not patterns_of(plan):
        _warn_of_other_patterns(sets, made)
    for member in made.failed:
        get_run_logger().warning("Not in %s: %s", made.name, bounded([f"{member.database}: {member.error}"])[0])
    return made


def _set_named(plan: Plan, name: str) -> BackupSet:
    sets = Sets(plan.storage)
    _warn_of_future(sets.names())
    return sets.latest(patterns_of(plan), utc_now()) if name == LATEST_SET else sets.read(name)


def _warn_of_other_patterns(sets: Sets, made: BackupSet) -> None:
    """The newest set may be that of a single run for a few databases."""
    if made.patterns and (other := sets.newest_by_others(made, utc_now())):
        get_run_logger().warning(
            "%s was taken by the patterns %s, and %s, with %s databases, by %s\nHINT: restore --set %s if you mean that one",
            made.name, _listed(made), other.name, other.counted, _listed(other), other.name,
        )  # fmt: skip


def _listed(made: BackupSet) -> str:
    return bounded([", ".join(made.patterns)])[0]


def newest_whole(plan: Plan, *, other_than: BackupSet) -> str:
    """Return the name of the newest set that lacks no database; empty if there is none, or nobody can tell."""
    sets = Sets(plan.storage)
    try:
        others = newest_first([name for name in sets.names() if name != other_than.name], utc_now())
        read = map(sets.read_if_whole, others[:_MOST_READ])
        return next((one.name for one in read if one and one.members and not one.failed), "")
    except PgRoundtripError:  # the hint of an error must not take the error's place
        return ""


def tidy_sets(plan: Plan) -> None:
    """Sweep the claims of sets, and remove the documents of forgotten ones, in each place."""
    for place in plans_at(plan).values():
        sweep_stale_uploads(Sets(place.storage))
        remove_forgotten(place)


def remove_forgotten(plan: Plan) -> int:
    """Remove the documents of sets of which nothing is left; a failure is only a warning: the next run tries again."""
    sets = Sets(plan.storage)
    try:
        contents = sets.contents()
        _warn_of_future(contents.sets)
        in_doubt = perhaps_forgotten(contents.sets, contents.backups)
        kept = _newest_names(plan, sets, contents.sets) if in_doubt else ()
        old = forgotten(sets.read_all([name for name in in_doubt if name not in kept]), contents.backups)
        removed = [sets.remove(one.name) for one in old]
    except PgRoundtripError as error:
        get_run_logger().warning("Documents of old sets could not be removed: %s", error.sentence)
        return 0
    return sum(removed)


def _newest_names(plan: Plan, sets: Sets, names: Sequence[str]) -> tuple[str, ...]:
    """Return the newest set, and the newest of the plan's own patterns: they say what failed, also if nothing is left."""
    own = sets.newest(names, patterns_of(plan), utc_now())
    return (*newest_first(names, utc_now())[:1], *([own.name] if own else []))


def _warn_of_future(names: Sequence[str]) -> None:
    if odd := told_of_future_sets(names, utc_now()):
        get_run_logger().warning("%s\nHINT: %s", odd, _WHEN_FUTURE)


def in_words(failed: Sequence[Failure]) -> str:
    """Name the databases that failed, and why, for one line."""
    said = [f"{visible(one.database)}: {one.reason}" for one in failed[:_MOST_NAMED]]
    more = len(failed) - _MOST_NAMED
    return "; ".join([*said, *([f"and {more} more"] if more > 0 else [])])
