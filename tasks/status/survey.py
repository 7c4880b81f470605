"""Read from the bucket what there is to know of a plan's backups, and of the backups in the folders beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from blocks.config.plan import Plan
from blocks.config.schedule import Schedule
from blocks.errors import PgRoundtripError
from blocks.stores import Storage, folders_beside
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import drills, surveyed
from tasks.engine.repository.folder import Folder, apart, look_into
from tasks.engine.repository.identity import Database, Whose
from tasks.engine.repository.members import Member, members_in, patterns_of
from tasks.engine.repository.names import BEGINNING
from tasks.engine.repository.open_anomalies import open_anomalies
from tasks.engine.repository.own_retention import decide_for
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.set_choice import told_of_future_sets
from tasks.engine.repository.set_results import Failure, failures_of
from tasks.engine.repository.sets import BackupSet, Sets
from tasks.engine.repository.whose import sharing, whose
from tasks.keys import repository_of
from tasks.status.judgement import Facts
from tasks.status.listing import Contents, read_contents
from tasks.status.series import sampled

# Of each folder beside ours: how many backups are looked into, and how many manifests are read.
_BESIDE, _BESIDE_READ = 100, 60
_MOST_BESIDE, _MOST_NAMED, _MOST_FAILED = 50, 5, 1000
_SOON = timedelta(days=1)
_AT_ONCE = 4


@dataclass(frozen=True)
class Surveyed:
    """The backups of one database in one folder, with what was read of them; `chosen` are those to draw over time.

    `place` is which of the plan's places that is, if it has several.
    """

    folder: str
    database: str
    facts: Facts
    chosen: Sequence[Backup]
    contents: Mapping[str, Contents]
    plan: str = ""
    kept_days: int | None = None
    removals: Sequence[Backup] = field(default=())
    stopped: str = ""
    dropped: bool = False
    place: str = ""


@dataclass(frozen=True)
class Survey:
    """All that was found, with a note on what could not be read, and the databases that the newest set lacks."""

    found: list[Surveyed]
    note: str = ""
    failed: tuple[Failure, ...] = ()


def survey(plan: Plan, now: datetime) -> Survey:
    """Survey the plan's own backups, then others' in its folder, then those in the folders beside it.

    Raises StorageError if that is the plan's own folder. Without a
    database, an empty folder is taken for that of all the plans in it.
    """
    if plan.databases:
        return survey_server(plan, now)
    repository = repository_of(plan)
    listed = surveyed(repository, repository.backups())
    folder = look_into(repository, whose(plan), listed)
    others = [_group(repository, group) for group in apart(folder.others)]
    around, note = _in_folders(plan.storage, inside=not listed and not plan.server)
    if not folder.own and not plan.server and (others or around):
        return Survey([*others, *around], note)
    return Survey([_own(plan, repository, folder, now), *others, *around], note)


def survey_server(plan: Plan, now: datetime) -> Survey:
    """Survey the databases of the newest set, those that the server has no more, and the folders beside ours."""
    sets = Sets(plan.storage)
    contents = sets.contents()
    newest = sets.newest(contents.sets, patterns_of(plan), now)
    current, every = members_in(plan, contents, newest), members_in(plan, contents, None)
    known = {member.plan.name for member in current}
    with ThreadPoolExecutor(_AT_ONCE, "survey") as pool:
        found = list(pool.map(lambda member: _member(plan, member, len(current), now), current))
    for member in every:
        if member.plan.name not in known:
            repository = repository_of(member.plan)
            found.append(
                replace(
                    _group(repository, surveyed(repository, member.backups)), database=member.database, dropped=True
                )
            )
    # At the root of a bucket, these folders are beside each other.
    known_folders = {member.plan.storage.folder for member in (*current, *every)}
    around, note = _in_folders(plan.storage, inside=False, but=known_folders)
    missed = (
        f"{newest.name} has {newest.counted} databases: {missing_in_words(newest)}" if newest and newest.failed else ""
    )
    failed = failures_of(newest)[:_MOST_FAILED] if newest else ()
    odd = told_of_future_sets(contents.sets, now)
    return Survey([*found, *around], "; ".join(filter(None, (missed, odd, note))), failed)


def _member(plan: Plan, member: Member, many: int, now: datetime) -> Surveyed:
    """Survey one database; each has its drill only once in so many, unless all are drilled."""
    assert plan.databases
    drills_due = plan.schedules.drills
    if plan.databases.drilled != "all":
        drills_due = Schedule(int(drills_due.gap(now).total_seconds()) * many)
    own = replace(member.plan, schedules=replace(plan.schedules, drills=drills_due))
    repository = repository_of(own)
    # By its name: asking for each would take long where the server doesn't answer.
    named = Whose(Database(member.database))
    return _own(own, repository, look_into(repository, named, surveyed(repository, member.backups)), now)


def missing_in_words(made: BackupSet) -> str:
    """Name some databases that a set has no backup of."""
    names = [member.database for member in made.failed[:_MOST_NAMED]]
    more = len(made.failed) - len(names)
    return f"{', '.join(names)}{f' and {more} more' if more else ''} failed"


def _in_folders(store: Storage, *, inside: bool, but: Collection[str] = ()) -> tuple[list[Surveyed], str]:
    """Survey the backups in the folders beside ours, or in it; a folder that fails costs no other."""
    try:
        stores = [found for found in folders_beside(store, BEGINNING, inside=inside) if found.folder not in but]
    except PgRoundtripError as error:
        return [], f"other folders could not be listed: {error.sentence}"
    found, faults = list[Surveyed](), list[str]()
    for other in stores[:_MOST_BESIDE]:
        try:
            found += _beside(other)
        except PgRoundtripError as error:
            faults.append(f"{other.folder} could not be read: {error.sentence}")
    if len(stores) > _MOST_BESIDE:
        faults.insert(0, f"{len(stores) - _MOST_BESIDE} more folders hold backups, and are not shown")
    return found, "; ".join(faults[:3])


def _own(plan: Plan, repository: Repository, folder: Folder, now: datetime) -> Surveyed:
    own = [b for b in folder.own if not b.unfinished]
    # Whoever doesn't know the database doesn't know either how often it is backed up: a container for drills.
    due = plan.schedules.backups if plan.server else None
    facts = Facts(
        own, drills(repository, own), due, plan.schedules.drills, sharing(plan, folder), open_anomalies(repository, own, now)
    )  # fmt: skip
    chosen = sampled(facts)
    removals = decide_for(plan, folder, now + _SOON, even_if_stale=True).removals if due else []
    return Surveyed(
        repository.store.key("").rstrip("/"), _database(own, plan.server.database if plan.server else ""), facts, chosen,
        read_contents(repository, chosen), plan.name, plan.retention.days if due else None, removals,
        decide_for(plan, folder, now).warning if removals else "",
    )  # fmt: skip


def _beside(store: Storage) -> Iterator[Surveyed]:
    repository = Repository(store)
    listed = repository.backups()
    seen = look_into(repository, Whose(), listed[-_BESIDE:])
    groups = apart(seen.backups)
    if len(groups) == 1:
        groups = [[*listed[:-_BESIDE], *groups[0]]]
    yield from (_group(repository, group) for group in groups)


def _group(repository: Repository, group: Sequence[Backup]) -> Surveyed:
    """Survey backups of which no plan is known here."""
    facts = Facts(group, drills(repository, [b for b in group if b.has_report][-_BESIDE:]))
    chosen = sampled(facts, _BESIDE_READ)
    folder = repository.store.key("").rstrip("/")
    return Surveyed(folder, _database(group), facts, chosen, read_contents(repository, chosen))


def _database(backups: Sequence[Backup], name: str = "") -> str:
    """Return the database that the newest backup is of."""
    found = next((b.origin.database for b in reversed(backups) if b.origin), None)
    return name or (found.name if found else "")
