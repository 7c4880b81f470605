"""Find out which database a plan backs up, and pick out its backups among others'."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from pydantic import SecretStr

from blocks.config.databases import database_of
from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted
from tasks.engine.repository.folder import Folder, databases_in, look_into
from tasks.engine.repository.identity import Database, Whose, databases_named, in_words, read_identity
from tasks.engine.repository.of_plan import repository_of
from tasks.engine.repository.sets import Sets

# An unreachable database must not hold up questions about its backups.
_PATIENCE_S = "3"
_ASK_AGAIN_S = 60.0
_asked: dict[str, tuple[float, Database]] = {}

HINT_SHARED = "give each database its own BACKUP_PREFIX (docs/runbooks/shared-folder.md); ALLOW_SHARED_PREFIX=true allows them to share"


def whose(plan: Plan, database: Database | None = None) -> Whose:
    """Return whose backups count for a plan; if the server does not answer, go by the database's name only."""
    if database is None and plan.server:
        database = _ask(plan.server)
    return Whose(database, databases_named(plan.backups_of))


def folder_of(plan: Plan, database: Database | None = None, *, backups: Iterable[Backup] | None = None) -> Folder:
    """Return the plan's folder, with its own backups told apart from others'."""
    repository = repository_of(plan)
    listed = repository.backups() if backups is None else backups
    return look_into(repository, whose(plan, database), listed)


def _ask(server: Server) -> Database:
    url = server.url.get_secret_value()
    asked_at, known = _asked.get(url, (0.0, Database(server.database)))
    if url in _asked and time.monotonic() - asked_at < _ASK_AGAIN_S:
        return known
    try:
        quick = Server(url=SecretStr(conninfo_url({**server.parameters(), "connect_timeout": _PATIENCE_S})))
        with quick.connect() as connection:
            known = read_identity(connection, server.database)
    except PgRoundtripError:
        pass  # the caller that needs the server reports it; what we knew before still holds
    _asked[url] = (time.monotonic(), known)
    return known


def refusal(plan: Plan, folder: Folder) -> tuple[str, str] | None:
    """Return why a first backup must not go into this folder, and what to do; None if it may."""
    if plan.shared or folder.made_here or not folder.others:
        return None
    return said_of_others(folder), _hint(plan, folder)


def sharing(plan: Plan, folder: Folder) -> tuple[str, str] | None:
    """Return the warning to repeat as long as two databases share a folder, and what to do; None if they don't."""
    if plan.shared or not folder.others:
        return None
    return said_of_others(folder), _hint(plan, folder)


def said_of_others(folder: Folder) -> str:
    """Say which other databases keep backups there."""
    others = folder.others
    return (
        f"{folder.address} keeps {counted(len(others), 'backup')} of another database: {in_words(databases_in(others))}"
    )


def _hint(plan: Plan, folder: Folder) -> str:
    if not folder.moved:
        return HINT_SHARED
    former = former_setting(plan, databases_in(folder.moved)[0])
    return f"if that is this database before it was moved or renamed, set BACKUPS_OF={former}; else {HINT_SHARED}"


def former_setting(plan: Plan, former: Database) -> str:
    """Return what to set BACKUPS_OF to; for a whole server that is the former server of all its databases."""
    of_server = plan.is_member and former.system_identifier
    return f"@{former.system_identifier}" if of_server else former.as_setting()


def _of_databases(plan: Plan) -> Iterator[Folder]:
    for folder, backups in Sets(plan.storage).contents().backups.items():
        name = database_of(folder) or ""
        yield look_into(repository_of(plan.member(name)), Whose(Database(name)), backups)


def refused_folder(plan: Plan) -> tuple[str, str] | None:
    """Check for `refusal` before a plan is saved; an unreachable storage is no reason to refuse the plan.

    Each of a whole server's databases has a folder of its own, in which only backups of that name may be.
    """
    try:
        folders = _of_databases(plan) if plan.databases else iter([folder_of(plan)])
        return next((refused for folder in folders if (refused := refusal(plan, folder))), None)
    except PgRoundtripError:
        return None
