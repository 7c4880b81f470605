"""Open all the places that a plan's backups go to."""

from __future__ import annotations

from collections.abc import Callable

from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from tasks.engine.repository.destinations import Destinations
from tasks.keys import repository_of
from tasks.orchestration import get_run_logger


def destinations_of(plan: Plan) -> Destinations:
    """Return a plan's destinations, the primary one first; nothing is asked of them yet."""
    return Destinations(
        {place.name: repository_of(plan.at(place)) for place in plan.destinations}, plan.copying.required, plan.copying.wait_s
    )  # fmt: skip


def plans_at(plan: Plan) -> dict[str, Plan]:
    """Return the plan with each of its places alone, by the name of the place."""
    return {place.name: plan.at(place) for place in plan.destinations}


def left_out() -> Callable[[str, PgRoundtripError], None]:
    """Return what warns that a backup does not get to a place; any thread may call it."""
    logger = get_run_logger()

    def note(name: str, error: PgRoundtripError) -> None:
        logger.warning("Not in %s: %s\nHINT: the backup is copied there later; %s", name, error.sentence, error.hint)

    return note
