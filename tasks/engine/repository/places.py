"""Look into all places of a plan, and say which of them are behind and since when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from tasks.engine.repository.catch_up import Missing, behind_since, is_late, missing_in
from tasks.engine.repository.folder import Folder, look_into
from tasks.engine.repository.identity import Database, Whose
from tasks.engine.repository.members import Member, current_members
from tasks.engine.repository.of_plan import repository_of
from tasks.engine.repository.whose import folder_of


@dataclass(frozen=True)
class Lag:
    """How far behind a place is: how many backups it lacks, since when, whether that is too long, or why nobody knows.

    A place that has nothing yet is `new`: nobody knows since when it should have any.
    """

    count: int = 0
    since: datetime | None = None
    late: bool = False
    fault: str = ""
    new: bool = False


@dataclass(frozen=True)
class Places:
    """What is in each place of a plan that answers, why others don't, and what each lacks, the newest first."""

    folders: Mapping[str, Folder] = field(default_factory=dict)
    away: Mapping[str, PgRoundtripError] = field(default_factory=dict)
    missing: Mapping[str, list[Missing]] = field(default_factory=dict)

    def behind_since(self, place: str) -> datetime | None:
        """Return when the oldest backup was taken that a place should have by now; None if it has all."""
        return behind_since(self.folders[place].backups, self.missing[place])

    def lags(self, plan: Plan, now: datetime) -> dict[str, Lag]:
        """Return how far behind each place is; pure."""
        after = timedelta(seconds=plan.copying.behind_after_s)
        found = {name: Lag(fault=error.sentence) for name, error in self.away.items()}
        for name, missing in self.missing.items():
            since, new = self.behind_since(name), not any(b.has_manifest for b in self.folders[name].backups)
            found[name] = Lag(len(missing), since, is_late(since, after, now), new=new)
        return {place.name: found[place.name] for place in plan.destinations if place.name in found}


def read_places(plan: Plan, now: datetime, but: Collection[str] = ()) -> Places:
    """List each place by itself; raises the error of one if none answers."""
    folders, away = dict[str, Folder](), dict[str, PgRoundtripError]()
    for place in plan.destinations:
        if place.name in but:
            continue
        try:
            folders[place.name] = folder_of(plan.at(place))
        except PgRoundtripError as error:
            away[place.name] = error
    if away and not folders:
        raise next(iter(away.values()))
    return _compared(plan, folders, away, now)


def _compared(plan: Plan, folders: Mapping[str, Folder], away: Mapping[str, PgRoundtripError], now: datetime) -> Places:
    plans = {place.name: plan.at(place) for place in plan.destinations}
    return Places(folders, away, {name: missing_in(plans[name], name, folders, now) for name in folders})


def read_members(plan: Plan, now: datetime) -> list[tuple[Plan, Places]]:
    """Look into the places of a whole server, with the plan of each of its databases; raises an error if none answers."""
    found, away = defaultdict[str, dict[str, Member]](dict), dict[str, PgRoundtripError]()
    for place in plan.destinations:
        try:
            for member in current_members(plan.at(place), now):
                found[member.database][place.name] = member
        except PgRoundtripError as error:
            away[place.name] = error
    if len(away) == len(plan.destinations):
        raise next(iter(away.values()))
    plans = {name: plan.member(name) for name in sorted(found)}
    return [(own, _of_member(own, name, found[name], away, now)) for name, own in plans.items()]


def _of_member(
    plan: Plan, database: str, there: Mapping[str, Member], away: Mapping[str, PgRoundtripError], now: datetime
) -> Places:
    folders = dict[str, Folder]()
    for place in plan.destinations:
        if place.name not in away:
            backups = there[place.name].backups if place.name in there else ()
            folders[place.name] = look_into(repository_of(plan.at(place)), Whose(Database(database)), backups)
    return _compared(plan, folders, away, now)
