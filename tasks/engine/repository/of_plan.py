"""Open the repositories of a plan: where its backups are, with all that is needed to read and write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from blocks.config.plan import Plan
from blocks.errors import StorageError
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.repository import Repository

T = TypeVar("T")


def repository_of(plan: Plan) -> Repository:
    """Return the repository that a plan's backups are in; nothing is asked of the storage yet."""
    return Repository(plan.storage, Keys(plan.encryption))


def from_nearest(plan: Plan, read: Callable[[Plan], T]) -> T:
    """Read from the first of a plan's places that answers; raises the first one's StorageError if none does."""
    fault = None
    for place in plan.destinations:
        try:
            return read(plan.at(place))
        except StorageError as error:
            fault = fault or error
    assert fault
    raise fault


def from_each(plan: Plan, read: Callable[[Plan], T]) -> dict[str, T]:
    """Read from each of a plan's places, by name, without those that don't answer; raises StorageError if none does."""
    found, fault = dict[str, T](), None
    for place in plan.destinations:
        try:
            found[place.name] = read(plan.at(place))
        except StorageError as error:
            fault = fault or error
    if fault and not found:
        raise fault
    return found
