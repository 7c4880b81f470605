"""Survey each place of a plan by itself, as if it were all that is left: one that fails hides none of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from blocks.config.destinations import PRIMARY
from blocks.config.plan import Plan
from blocks.config.schedule import Schedule
from blocks.errors import PgRoundtripError
from tasks.engine.repository.checks import counted
from tasks.engine.repository.newest import newest_whole
from tasks.engine.repository.places import Lag, read_members, read_places
from tasks.engine.wording import human_age
from tasks.status.judgement import Colour, Reason
from tasks.status.survey import Survey, Surveyed, survey

_CATCH_UP = "pg-roundtrip copy"
Lags = Mapping[tuple[str, str], Lag]  # by the plan of a database, and the place


def survey_places(plan: Plan, now: datetime) -> Survey:
    """Survey all places that answer; raises StorageError if none does."""
    found, away = dict[str, Survey](), dict[str, PgRoundtripError]()
    for place in plan.destinations:
        try:
            found[place.name] = survey(plan.at(place), now)
        except PgRoundtripError as error:
            away[place.name] = error
    if not found:
        raise next(iter(away.values()))
    lags, first = _lags(plan, now), next(iter(found))
    unread = tuple(
        Reason(Colour.ATTENTION, f"the place {name} can't be read: {error.sentence}", error.hint)
        for name, error in away.items()
    )
    every = [
        replace(one, place=name) for name, seen in found.items() for one in seen.found if one.plan or name == first
    ]
    shown = [_in_place(plan, one, lags, every, unread if one.place == first else (), now) for one in every]
    return Survey(shown, found[first].note, found[first].failed)


def _in_place(
    plan: Plan, one: Surveyed, lags: Lags, every: list[Surveyed], unread: tuple[Reason, ...], now: datetime
) -> Surveyed:
    """Judge a place by what it lacks; only the one with the newest backup shows whether backups are made at all."""
    if not one.plan:  # of another plan, which nothing is known of here
        return replace(one, place="")
    beside = [other for other in every if other.plan == one.plan]
    newest = max(beside, key=lambda other: _newest(other, now))
    facts = replace(one.facts, reasons=(*unread, *_when_behind(lags.get((one.plan, one.place)), now)))
    if one is not newest:
        facts = replace(facts, backups_due=None, copied=True)
    return replace(one, facts=replace(facts, **_drills_due(plan, one, now)))


def _drills_due(plan: Plan, one: Surveyed, now: datetime) -> dict[str, Any]:
    """Say how often a place has its drill: each takes its turn, unless one place alone is drilled."""
    due, where = one.facts.drills_due, plan.drill.destination
    if due is None or where == one.place:
        return {}
    if where != "turn":
        return {"drills_due": None, "drilled_elsewhere": True}
    return {"drills_due": Schedule(int(due.gap(now).total_seconds()) * len(plan.destinations))}


def _newest(one: Surveyed, now: datetime) -> tuple[float, bool]:
    newest = newest_whole(one.facts.backups, now)
    return (newest.taken_at.timestamp() if newest else 0.0, one.place == PRIMARY)


def _when_behind(lag: Lag | None, now: datetime) -> Iterator[Reason]:
    if lag and lag.late:
        oldest = f", the oldest of {human_age(now - lag.since)} ago" if lag.since else ""
        yield Reason(
            Colour.ATTENTION, f"{counted(lag.count, 'backup')} of other places are not here{oldest}", _CATCH_UP
        )


def _lags(plan: Plan, now: datetime) -> dict[tuple[str, str], Lag]:
    each = read_members(plan, now) if plan.databases else [(plan, read_places(plan, now))]
    return {(own.name, name): lag for own, places in each for name, lag in places.lags(own, now).items()}
