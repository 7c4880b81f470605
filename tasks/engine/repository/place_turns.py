"""Choose the place whose backups are drilled now, so that each place is proven by itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from blocks.config.destinations import Destination
from blocks.config.plan import Plan
from blocks.errors import DOWNLOAD, ConfigurationError, NoBackups, ObjectMissing, Problem, StorageError
from tasks.engine.repository.catalog import Backup, named
from tasks.engine.repository.choice import last_drill
from tasks.engine.repository.drill_turns import whose_turn
from tasks.engine.repository.nearest import Warn
from tasks.engine.repository.of_plan import repository_of
from tasks.engine.repository.whose import folder_of

_NEVER = datetime.min.replace(tzinfo=UTC)


def place_to_drill(plan: Plan, name: str | None, now: datetime, warn: Warn) -> Destination:
    """Return the place that the plan names, or else the one whose turn it is; of those that have a named backup.

    A place that does not answer, or has nothing to drill, has no turn. If all are like that, the first one is returned:
    its drill says what is wrong.
    """
    if plan.drill.destination != "turn":
        return named_place(plan)
    last = dict[str, datetime | None]()
    for place in plan.destinations:
        at = plan.at(place)
        try:
            found = _drillable(at, name)
            if found:
                last[place.name] = last_drill(repository_of(at), found, now)
        except (NoBackups, ObjectMissing):
            continue
        except StorageError as error:
            warn("%s is left out: %s", place.name, error.sentence)
    there = [place for place in plan.destinations if place.name in last]
    if not there:
        return plan.destinations[0]
    if name:
        return min(there, key=lambda place: last[place.name] or _NEVER)
    return there[whose_turn([last[place.name] for place in there], plan.schedules.drills, now)]


def named_place(plan: Plan) -> Destination:
    """Return the place that VERIFY_DESTINATION names; raises ConfigurationError if a saved plan has no such place."""
    wanted = plan.drill.destination
    found = next((place for place in plan.destinations if place.name == wanted), None)
    if found is None:
        said = f"VERIFY_DESTINATION is {wanted}, but there is no such place"
        raise ConfigurationError([Problem(said, "the plan has " + ", ".join(p.name for p in plan.destinations))])
    return found


def _drillable(at: Plan, name: str | None) -> Sequence[Backup]:
    """Return what could be drilled in a place: the named backup, or all of the plan's own."""
    folder = folder_of(at, backups=repository_of(at).backups(DOWNLOAD))
    return [named(folder.backups, name)] if name else folder.own or folder.moved
