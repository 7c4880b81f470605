"""The databases of a plan of a whole server, as its bucket shows them: no server has to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.config.databases import Drilled, database_of
from blocks.config.plan import Plan
from blocks.errors import NoBackups, ObjectMissing, SeveralDatabases
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.choice import last_drill
from tasks.engine.repository.names import LATEST, OBJECT
from tasks.engine.repository.newest import newest_whole, of_the_past
from tasks.engine.repository.repository import Repository
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


def current_members(plan: Plan, now: datetime) -> list[Member]:
    """Return the databases of the newest set, even those without any backup; without a set, those that have one."""
    return newest_members(plan, now)[0]


def newest_members(plan: Plan, now: datetime) -> tuple[list[Member], BackupSet | None]:
    """Return the current databases, and the newest set; takes a request for it, and one for a thousand objects."""
    sets = Sets(plan.storage)
    contents = sets.contents()
    newest = sets.newest(contents.sets, now)
    return members_in(plan, contents, newest), newest


def members_in(plan: Plan, contents: Contents, newest: BackupSet | None) -> list[Member]:
    """Return the databases of a set with what is in their folders; pure."""
    if newest is None:
        return _members(plan, contents)
    folders = {member.folder: member.database for member in newest.members if member.folder}
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
    return [Member(plan, tuple(folder_of(plan, backups=Repository(plan.storage).backups()).own))]


def judged_backups(plan: Plan, now: datetime) -> list[Backup]:
    """Return the backups by which a plan is judged: its own, or those of the weakest of a server's databases."""
    parts = parts_of(plan, now)
    return list(weakest(parts, now).backups) if parts else []


def has_backups(plan: Plan, now: datetime) -> bool:
    """Whether there is a backup of any of its databases."""
    return any(part.backups for part in parts_of(plan, now))


def last_drill_of(plan: Plan, now: datetime) -> datetime | None:
    """Return when a plan's last drill started, of whichever database; None for never."""
    drills = (last_drill(Repository(p.plan.storage), of_the_past(p.backups, now), now) for p in parts_of(plan, now))
    return max(filter(None, drills), default=None)


def _newest_at(member: Member, now: datetime) -> datetime:
    newest = newest_whole(member.backups, now)
    return newest.taken_at if newest else _NEVER


def to_drill(members: Sequence[Member], which: Drilled, now: datetime) -> list[Member]:
    """Choose the databases to drill, of those that have a backup; raises NoBackups if none has."""
    having = [member for member in members if newest_whole(member.backups, now)]
    if not having:
        raise NoBackups
    if which == "all":
        return having
    if which == "newest":
        return [max(having, key=lambda member: _newest_at(member, now))]
    return [min(having, key=lambda member: last_drill(Repository(member.plan.storage), member.backups, now) or _NEVER)]


def member_with(members: Sequence[Member], backup: str) -> Member:
    """Return the only database that has a backup of this name; raises ObjectMissing, or SeveralDatabases."""
    name = backup.removesuffix(OBJECT)
    having = [member for member in members if backup == LATEST or any(b.name == name for b in member.backups)]
    if not members:
        raise NoBackups
    if not having:
        raise ObjectMissing(backup)
    if len(having) > 1:
        raise SeveralDatabases(f"{len(having)} databases have {backup}", hint=_WHICH.format(having[0].plan.name))
    return having[0]
