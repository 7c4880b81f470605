"""The steps of catching up: look at each place, then copy to each what it lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, PgRoundtripError, Problem
from tasks.clock import utc_now
from tasks.destinations import plans_at
from tasks.engine.repository.catch_up import Missing, clear_the_way, copy_from_any
from tasks.engine.repository.checks import counted
from tasks.engine.repository.names import without_ending
from tasks.engine.repository.places import Places, read_places
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.set_choice import newest_first
from tasks.engine.repository.sets import Sets
from tasks.engine.repository.whose import refusal
from tasks.engine.wording import human_bytes
from tasks.keys import repository_of
from tasks.orchestration import get_run_logger, task
from tasks.retries import ONCE, QUICK

# A backup must not take hours because a place was away for days: the flow `copy` does the rest.
IN_A_BACKUP = 2
_NO_COPIES = "set COPY_S3_BUCKET and the variables beside it, or COPY_PATH (docs/copies.md)"
_MOST_SETS = 50


@task("look at each place", QUICK)
def look_at_places(plan: Plan, but: Collection[str] = ()) -> Places:
    """Find out what each place lacks; warn of one that doesn't answer."""
    found = read_places(plan, utc_now(), but)
    for name, error in found.away.items():
        get_run_logger().warning("%s could not be looked at: %s\nHINT: %s", name, error.sentence, error.hint)
    return found


def require_copies(plan: Plan) -> None:
    """Raise ConfigurationError for a plan with a single place."""
    if not plan.copies:
        raise ConfigurationError([Problem("There is nothing to copy: the plan has no copies", _NO_COPIES)])


@dataclass
class Copied:
    """What a run copied, and what it could not copy and why, each with the place."""

    done: list[tuple[str, Missing]] = field(default_factory=list)
    failed: list[tuple[str, str, PgRoundtripError]] = field(default_factory=list)
    left: int = 0


def catch_up(plan: Plan, places: Places, only: str = "", most: int | None = None) -> Copied:
    """Copy what each place lacks, the newest first, or one backup; at most so many to each. A failure stops only its place."""
    made = Copied()
    for name, missing in places.missing.items():
        wanted = [one for one in missing if not only or one.backup.name == without_ending(only)]
        if not wanted or not _is_ours(plan, name, places, made):
            continue
        target = repository_of(plans_at(plan)[name])
        for number, one in enumerate(wanted):
            if number == most:
                break
            copied = _copy(plan, one, name, target)
            if copied is True:
                made.done.append((name, one))
            elif copied:
                made.failed.append((name, one.backup.name, copied))
                if copied.transient:
                    break
        made.left += len(wanted) - sum(place == name for place, _ in made.done)
    return made


def _is_ours(plan: Plan, name: str, places: Places, made: Copied) -> bool:
    """Whether backups may be copied to a folder: not where another database keeps its own."""
    refused = refusal(plans_at(plan)[name], places.folders[name])
    if refused:
        error = ConfigurationError([Problem(*refused)])
        get_run_logger().warning("Nothing is copied to %s: %s\nHINT: %s", name, *refused)
        made.failed.append((name, "", error))
    return not refused


def _copy(plan: Plan, one: Missing, name: str, target: Repository) -> PgRoundtripError | bool:
    """Copy one backup; return False if that is left to another run, or the error."""
    plans = plans_at(plan)
    try:
        return copy_one([repository_of(plans[source]) for source in one.sources], target, one, name)
    except PgRoundtripError as error:
        text = "%s could not be copied to %s: %s\nHINT: %s"
        get_run_logger().warning(text, one.backup.name, name, error.sentence, error.hint)
        return error


@task("copy a backup", QUICK, run_name="copy {one.backup.name} to {name}")
def copy_one(sources: list[Repository], target: Repository, one: Missing, name: str) -> bool:
    """Copy one backup; a retry starts over, and a failure leaves nothing visible behind."""
    if left := clear_the_way(target, one.backup, utc_now()):
        text = "Aborted %s of %s in %s, which other runs have left"
        get_run_logger().info(text, counted(left, "upload"), one.backup.name, name)
    copied = copy_from_any(sources, target, one.backup)
    if copied:
        get_run_logger().info("Copied %s to %s: %s", one.backup.name, name, human_bytes(one.backup.object_bytes))
    else:
        text = "%s is copied to %s by another run, or was until one was interrupted within the last hour"
        get_run_logger().info(text, one.backup.name, name)
    return copied


@task("copy the sets", ONCE)
def copy_sets(plan: Plan) -> int:
    """Copy the newest sets that a place lacks; a failure is only a warning: the next run tries again. Returns how many."""
    names, copied = dict[str, list[str]](), 0
    for name, place in plans_at(plan).items():
        try:
            names[name] = Sets(place.storage).names()
        except PgRoundtripError as error:
            get_run_logger().warning("The sets in %s could not be listed: %s", name, error.sentence)
    for target, source, made in _missing_sets(names):
        plans = plans_at(plan)
        try:
            found = Sets(plans[source].storage).read_if_whole(made)
            copied += bool(found and Sets(plans[target].storage).add(found))
        except PgRoundtripError as error:
            get_run_logger().warning("%s could not be copied to %s: %s", made, target, error.sentence)
    return copied


def _missing_sets(names: Mapping[str, list[str]]) -> Iterator[tuple[str, str, str]]:
    """Yield the place that lacks a set, one that has it, and its name."""
    every = newest_first(sorted({name for here in names.values() for name in here}), utc_now())[:_MOST_SETS]
    for target, here in names.items():
        for name in every:
            source = next((place for place, there in names.items() if name in there), None)
            if source and name not in here:
                yield target, source, name
