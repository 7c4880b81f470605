"""Choose the backup to drill or restore, and warn about anything odd in the choice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from blocks.config.plan import Plan
from blocks.errors import DOWNLOAD, NoBackups, SeveralDatabases
from tasks.engine.repository.catalog import Backup, named
from tasks.engine.repository.folder import Folder, apart, databases_in
from tasks.engine.repository.identity import in_words
from tasks.engine.repository.newest import WHEN_FUTURE, newest, told_of_future
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import folder_of, said_of_others

Warn = Callable[..., None]  # a logger's `warning`


def choose(
    plan: Plan, repository: Repository, name: str | None, now: datetime, warn: Warn, *, in_turn: bool = False
) -> Backup:
    """Return the named backup, or the newest of the plan's database; raises NoBackups or ObjectMissing.

    If it is unclear which of several databases is meant, a drill takes them `in_turn`; a restore raises
    SeveralDatabases.
    """
    folder = folder_of(plan, backups=repository.backups(DOWNLOAD))
    if name:
        return _noted(folder, named(folder.backups, name), warn)
    if odd := told_of_future(folder.backups, now):
        warn("In %s, %s\nHINT: %s", folder.address, odd, WHEN_FUTURE)
    groups = _candidates(folder, warn)
    newest_of_each = [found for found in (newest(group, now) for group in groups) if found]
    if not newest_of_each:
        raise NoBackups
    if len(newest_of_each) == 1:
        return newest_of_each[0]
    if not in_turn:
        raise SeveralDatabases(f"the newest are {_named(newest_of_each)}")
    found = min(newest_of_each, key=lambda b: _last_drill(repository, next(g for g in groups if b in g)))
    warn(
        "Several databases keep their backups in %s, and are drilled in turn: now %s\nHINT: %s",
        folder.address, _named([found]), "set BACKUPS_OF or DATABASE_URL to choose one of them",
    )  # fmt: skip
    return found


def _candidates(folder: Folder, warn: Warn) -> list[list[Backup]]:
    """Return the plan's own backups, or else those it may have made before a move.

    They are grouped by database if it is not known which one is meant.
    """
    database, own = folder.whose.database, folder.own
    if own or not folder.others:
        known = folder.whose.others or (database and database.system_identifier)
        return [own] if known else apart(own)
    if not folder.moved:
        raise NoBackups(said_of_others(folder), hint="restore or drill one of them by name, or check BACKUP_PREFIX")
    warn(
        "There is no backup of %s yet; taking those of %s\nHINT: set BACKUPS_OF to it if it is the same database",
        database, in_words(databases_in(folder.moved)),
    )  # fmt: skip
    return apart(folder.moved)


def _noted(folder: Folder, found: Backup, warn: Warn) -> Backup:
    if not folder.whose.owns(found.origin) and found.origin:
        warn("%s is a backup of another database: %s", found.name, found.origin.database)
    return found


def _named(backups: list[Backup]) -> str:
    return ", ".join(f"{b.name} of {b.origin.database if b.origin else 'an unknown database'}" for b in backups)


def _last_drill(repository: Repository, group: list[Backup]) -> float:
    """Return when a database was last drilled, as a timestamp; 0 for never."""
    if dated := [b.last_drill.timestamp() for b in group if b.last_drill]:
        return max(dated)
    reports = (repository.report(b) for b in reversed(group))
    return next((r.started_at.timestamp() for r in reports if r), 0.0)
