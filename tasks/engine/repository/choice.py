"""Choose the backup to drill or restore, and warn about anything odd in the choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from blocks.config.plan import Plan
from blocks.errors import DOWNLOAD, NoBackups, SeveralDatabases
from tasks.engine.repository.catalog import Backup, named
from tasks.engine.repository.folder import Folder, apart, databases_in
from tasks.engine.repository.identity import in_words
from tasks.engine.repository.newest import WHEN_FUTURE, is_future, newest, told_of_future
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import folder_of, former_setting, said_of_others

Warn = Callable[..., None]  # a logger's `warning`
_NEVER = datetime.min.replace(tzinfo=UTC)


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
    groups = _candidates(plan, folder, warn)
    newest_of_each = [found for found in (newest(group, now) for group in groups) if found]
    if not newest_of_each:
        raise NoBackups
    if len(newest_of_each) == 1:
        return newest_of_each[0]
    if not in_turn:
        raise SeveralDatabases(f"the newest are {_named(newest_of_each)}")
    found = min(newest_of_each, key=lambda b: last_drill(repository, next(g for g in groups if b in g), now) or _NEVER)
    warn(
        "Several databases keep their backups in %s, and are drilled in turn: now %s\nHINT: %s",
        folder.address, _named([found]), "set BACKUPS_OF or DATABASE_URL to choose one of them",
    )  # fmt: skip
    return found


def _candidates(plan: Plan, folder: Folder, warn: Warn) -> list[list[Backup]]:
    """Return the plan's own backups, or else those it may have made before a move.

    They are grouped by database if it is not known which one is meant.
    """
    database, own = folder.whose.database, folder.own
    if own or not folder.others:
        known = folder.whose.others or (database and database.system_identifier)
        return [own] if known else apart(own)
    if not folder.moved:
        raise NoBackups(said_of_others(folder), hint="restore or drill one of them by name, or check BACKUP_PREFIX")
    former = databases_in(folder.moved)
    warn(
        "There is no backup of %s yet; taking those of %s\nHINT: set BACKUPS_OF to %s if it is the same database",
        database, in_words(former), former_setting(plan, former[0]) if plan.is_member else "it",
    )  # fmt: skip
    return apart(folder.moved)


def _noted(folder: Folder, found: Backup, warn: Warn) -> Backup:
    if not folder.whose.owns(found.origin) and found.origin:
        warn("%s is a backup of another database: %s", found.name, found.origin.database)
    return found


def _named(backups: list[Backup]) -> str:
    return ", ".join(f"{b.name} of {b.origin.database if b.origin else 'an unknown database'}" for b in backups)


def last_drill(repository: Repository, backups: Sequence[Backup], now: datetime) -> datetime | None:
    """Return when one of these backups, oldest first, was last drilled; None for never.

    Reports of version 1.0 have no date in their names: the one of the newest backup is read. A drill that a wrong clock
    dated in the future doesn't count: it would put off all others until then.
    """
    dated = [b.last_drill for b in backups if b.last_drill and not is_future(b.last_drill, now)]
    if dated:
        return max(dated)
    reports = (repository.report(b) for b in reversed(backups) if b.has_report)
    return next((r.started_at for r in reports if r and not is_future(r.started_at, now)), None)
