"""Choose the place that a restore or a drill reads from, and say which it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from blocks.config.plan import Plan
from blocks.errors import BackupDamaged, EmptyBackup, StorageError
from tasks.clock import utc_now
from tasks.engine.repository.continued import continued
from tasks.engine.repository.names import LATEST
from tasks.engine.repository.nearest import Warn, nearest
from tasks.engine.repository.place_turns import place_to_drill
from tasks.engine.repository.repository import Repository
from tasks.keys import repository_of
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """The plan at the place that has a backup, a repository that goes on elsewhere, and the plan at all other places."""

    plan: Plan
    repository: Repository
    backup: str
    rest: Plan | None = None


@task("choose the place to read from", QUICK)
def choose_source(plan: Plan, backup: str) -> Source:
    """Choose the nearest place that has a backup; a plan without copies has only one."""
    if not plan.copies:
        return Source(plan, repository_of(plan), backup)
    logger = get_run_logger()
    near = nearest(plan, None if backup == LATEST else backup, utc_now(), logger.warning)
    spare = f"; {', '.join(other.name for other in near.others)} would go on" if near.others else ""
    logger.info("Reading from %s: %s%s", near.place.name, near.place.storage.address, spare)
    there = plan.at(near.place)
    stores = {place.name: place.storage for place in (near.place, *near.others)}
    rest = replace(plan.at(near.others[0]), copies=near.others[1:]) if near.others else None
    reading = replace(repository_of(there), store=continued(stores, partial(_tell, logger.warning)))
    return Source(there, reading, near.backup, rest)


@task("choose the place to drill", QUICK)
def choose_drilled(plan: Plan, backup: str) -> tuple[Plan, str]:
    """Return the plan at the place whose turn it is, and that place's name; a plan without copies has only one."""
    if not plan.copies:
        return plan, ""
    logger = get_run_logger()
    name = None if backup == LATEST else backup or plan.drill.backup_file
    place = place_to_drill(plan, name, utc_now(), logger.warning)
    logger.info("Drilling what is in %s: %s", place.name, place.storage.address)
    return plan.at(place), place.name


def from_any(plan: Plan, backup: str, work: Callable[[Source], T]) -> T:
    """Restore from the nearest place; if its backup is damaged, from the next one that has the same.

    Nothing of a damaged backup becomes visible, so a second try begins from nothing.
    """
    source = choose_source(plan, backup)
    while True:
        try:
            return work(source)
        except (BackupDamaged, EmptyBackup) as error:
            if source.rest is None:
                raise
            get_run_logger().warning(
                "What %s has is damaged: %s; trying another place", source.plan.place, error.sentence
            )
            source = choose_source(source.rest, source.backup)


def _tell(warn: Warn, failed: str, going_on: str, position: int, error: StorageError) -> None:
    warn("%s failed at byte %d: %s; %s goes on", failed, position, error.sentence, going_on)
