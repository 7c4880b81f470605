"""The databases of a plan of a whole server, as its bucket shows them: no server has to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.config.databases import Drilled, database_of, folder_for
from blocks.config.plan import Plan
from blocks.config.schedule import Schedule
from blocks.errors import NoBackups, ObjectMissing, SeveralDatabases
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.choice import last_drill
from tasks.engine.repository.drill_turns import whose_turn
from tasks.engine.repository.facts import origins
from tasks.engine.repository.names import LATEST, set_taken_at, without_ending
from tasks.engine.repository.newest import is_future, newest_whole, of_the_past
from tasks.engine.repository.of_plan import from_each, repository_of
from tasks.engine.repository.sets import BackupSet, Contents, Sets
from tasks.engine.repository.whose import folder_of

_NEVER = datetime.min.replace(tzinfo=UTC)
_WHICH = "name the database's folder after the plan, as in --plan {}; pg-roundtrip list shows all"


@dataclass(frozen=True)
class Member:
    """One of the databases: its plan, and its backups, oldest first."""

    plan: Plan
    backups: tuple[Backup, ...]

    @property
    def database(self) -> str:
        """The database's name."""
        return database_of(self.plan.name.partition("/")[2]) or ""


def all_members(plan: Plan) -> list[Member]:
    """Return every database that has a backup, also those that the server has no more."""
    return _members(plan, Sets(plan.storage).contents())


def own_members(plan: Plan) -> list[Member]:
    """Return those of which a manifest says that this plan made a backup: another folder may be another tool's."""
    return [member for member in all_members(plan) if _has_own(member)]


def _has_own(member: Member) -> bool:
    repository, name = repository_of(member.plan), member.plan.name
    ours = (b for b in reversed(member.backups) if b.has_manifest)
    return any((made := origins(repository, [b]).get(b.name)) and made.plan == name for b in ours)


def current_members(plan: Plan, now: datetime) -> list[Member]:
    """Return the databases of the newest set of the plan's own patterns, even those without any backup.

    Without a set, return those that have a backup.
    """
    return newest_members(plan, now)[0]


def newest_members(plan: Plan, now: datetime) -> tuple[list[Member], BackupSet | None]:
    """Return the current databases, and the newest set; takes a request for it, and one for a thousand objects."""
    sets = Sets(plan.storage)
    contents = sets.contents()
    newest = sets.newest(contents.sets, patterns_of(plan), now)
    return members_in(plan, contents, newest), newest


def patterns_of(plan: Plan) -> tuple[str, ...]:
    """Return the patterns by which a plan takes databases; none if they are not known here."""
    return plan.databases.patterns if plan.databases else ()


def members_in(plan: Plan, contents: Contents, newest: BackupSet | None) -> list[Member]:
    """Return the databases of a set with what is in their folders; pure."""
    if newest is None:
        return _members(plan, contents)
    folders = {folder_for(member.database): member.database for member in newest.members}
    return [Member(plan.member(name), contents.backups.get(folder, ())) for folder, name in sorted(folders.items())]


def _members(plan: Plan, contents: Contents) -> list[Member]:
    named = ((database_of(folder), backups) for folder, backups in contents.backups.items())
    return [Member(plan.member(name), backups) for name, backups in named if name is not None]


def weakest(members: Sequence[Member], now: datetime) -> Member:
    """Return the database whose newest backup is the oldest, or that has none: a server is backed up as well as that."""
    return min(members, key=lambda member: _newest_at(member, now))


def parts_of(plan: Plan, now: datetime) -> list[Member]:
    """Return the current databases of a whole server's plan; the plan itself, with its own backups, if it is of one."""
    if plan.databases:
        return current_members(plan, now)
    return [Member(plan, tuple(folder_of(plan, backups=repository_of(plan).backups()).own))]


def judged_backups(plan: Plan, now: datetime) -> list[Backup]:
    """Return the backups by which a plan is judged: its own, or those of the weakest of a server's databases.

    With copies, they are those of the place that has the newest.
    """
    found = from_each(plan, lambda place: _judged_in(place, now))
    return max(found.values(), key=lambda backups: _newest_of(backups, now))


def _judged_in(plan: Plan, now: datetime) -> list[Backup]:
    parts = parts_of(plan, now)
    return list(weakest(parts, now).backups) if parts else []


def has_backups(plan: Plan, now: datetime) -> bool:
    """Whether there is a backup of any of its databases in any place."""
    return any(from_each(plan, lambda place: any(part.backups for part in parts_of(place, now))).values())


def last_backup_of(plan: Plan, now: datetime) -> datetime | None:
    """Return when a plan's last backup began, in whichever place; for a whole server, that of its newest set which has any."""
    found = from_each(plan, lambda place: _last_backup_in(place, now))
    return max(filter(None, found.values()), default=None)


def _last_backup_in(plan: Plan, now: datetime) -> datetime | None:
    if not plan.databases:
        found = newest_whole(_judged_in(plan, now), now)
        return found.taken_at if found else None
    sets, patterns = Sets(plan.storage), patterns_of(plan)
    made = sets.newest(sets.names(), patterns, now)
    at = set_taken_at(made.name) if made and made.done and made.is_of(patterns) else None
    return None if at is None or is_future(at, now) else at


def last_drill_of(plan: Plan, now: datetime) -> datetime | None:
    """Return when a plan's last drill started, of whichever database and in whichever place; None for never."""
    found = from_each(plan, lambda place: _last_drill_in(place, now))
    return max(filter(None, found.values()), default=None)


def _last_drill_in(plan: Plan, now: datetime) -> datetime | None:
    drills = (last_drill(repository_of(p.plan), of_the_past(p.backups, now), now) for p in parts_of(plan, now))
    return max(filter(None, drills), default=None)


def _newest_at(member: Member, now: datetime) -> datetime:
    return _newest_of(member.backups, now)


def _newest_of(backups: Sequence[Backup], now: datetime) -> datetime:
    newest = newest_whole(backups, now)
    return newest.taken_at if newest else _NEVER


def to_drill(members: Sequence[Member], which: Drilled, due: Schedule, now: datetime) -> list[Member]:
    """Choose the databases to drill, of those that have a backup, or else all; raises NoBackups if none has."""
    having = [member for member in members if newest_whole(member.backups, now)]
    if not having:
        raise NoBackups
    if which == "all":
        return list(members)
    if which == "newest":
        return [max(having, key=lambda member: _newest_at(member, now))]
    last = [last_drill(repository_of(member.plan), member.backups, now) for member in having]
    return [having[whose_turn(last, due, now)]]


def member_with(members: Sequence[Member], backup: str) -> Member:
    """Return the only database that has a backup of this name; raises ObjectMissing, or SeveralDatabases."""
    name = without_ending(backup)
    having = [member for member in members if backup == LATEST or any(b.name == name for b in member.backups)]
    if not members:
        raise NoBackups
    if not having:
        raise ObjectMissing(backup)
    if len(having) > 1:
        raise SeveralDatabases(f"{len(having)} databases have {backup}", hint=_WHICH.format(having[0].plan.name))
    return having[0]
