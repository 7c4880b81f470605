"""Find the place to read a backup from: the nearest that answers and has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from blocks.config.destinations import Destination
from blocks.config.plan import Plan
from blocks.disk.folder_store import FolderStore
from blocks.errors import NoBackups, ObjectMissing, PgRoundtripError, StorageError
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.choice import choose
from tasks.engine.repository.of_plan import repository_of

T = TypeVar("T")
Warn = Callable[..., None]  # a logger's `warning`


@dataclass(frozen=True)
class Near:
    """The place to read a backup from, and the others that have the same one, in the order in which they are tried."""

    place: Destination
    backup: str
    others: tuple[Destination, ...] = ()


def in_order(places: Sequence[Destination]) -> list[Destination]:
    """Return the places with the nearest first: folders on disks, then buckets, each in the order of the settings."""
    return sorted(places, key=lambda place: not isinstance(place.storage, FolderStore))


def nearest(plan: Plan, name: str | None, now: datetime, warn: Warn) -> Near:
    """Choose the place of a named backup, or of the newest of all places.

    A place that does not answer costs a warning. Raises the first place's error if no place has the backup.
    """
    found, errors = dict[str, Backup](), list[PgRoundtripError]()
    places = in_order(plan.destinations)
    for place in places:
        at = plan.at(place)
        try:
            found[place.name] = choose(at, repository_of(at), name, now, _silent)
        except (NoBackups, StorageError) as error:
            errors.append(error)
            if not isinstance(error, NoBackups | ObjectMissing):
                warn("%s is left out: %s", place.name, error.sentence)
    if not found:
        raise next((e for e in errors if not isinstance(e, NoBackups | ObjectMissing)), errors[0])
    newest = max(found.values(), key=lambda backup: (backup.taken_at, backup.name))
    first, *others = [p for p in places if p.name in found and found[p.name].name == newest.name]
    return Near(first, newest.name, tuple(other for other in others if _same(plan, first, other, found)))


def _same(plan: Plan, one: Destination, other: Destination, found: dict[str, Backup]) -> bool:
    """Whether two places have the same bytes of a backup, by its manifests; a foreign backup has none to tell."""
    try:
        first, second = (repository_of(plan.at(place)).outline(found[place.name]) for place in (one, other))
    except PgRoundtripError:
        return False
    return bool(first and second) and _digest(first) == _digest(second)


def _digest(manifest: object) -> tuple[object, object]:
    return getattr(manifest, "sha256", None), getattr(manifest, "object_bytes", None)


def _silent(*_: object) -> None:
    """Say nothing: whoever reads the backup says it once."""


def answers(plan: Plan, look: Callable[[Plan], T], warn: Warn) -> Iterator[tuple[Plan, T]]:
    """Yield the plan with each place in front whose storage answers a question, the nearest first, and the answer.

    A place that lacks what is asked for is passed over like one that does not answer, but without a warning. Raises the
    first error if no place answers.
    """
    errors, answered = list[PgRoundtripError](), False
    for place in in_order(plan.destinations):
        leading = plan.leading(place)
        try:
            answer = look(leading)
        except (NoBackups, StorageError) as error:
            errors.append(error)
            if plan.copies and not isinstance(error, NoBackups | ObjectMissing):
                warn("%s is left out: %s", place.name, error.sentence)
        else:
            answered = True
            yield leading, answer
    if not answered:
        raise next((e for e in errors if not isinstance(e, NoBackups | ObjectMissing)), errors[0])
