"""Find out which database a plan is about, and look for its backups among others'."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pydantic import SecretStr

from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted
from tasks.engine.repository.folder import Folder, databases_in, look_into
from tasks.engine.repository.identity import Database, Whose, databases_named, in_words, read_identity
from tasks.engine.repository.repository import Repository

# A database that is away must not hold up those who ask about its backups.
_PATIENCE_S = "3"
_ASK_AGAIN_S = 60.0
_asked: dict[str, tuple[float, Database]] = {}

HINT_SHARED = "give each database a BACKUP_PREFIX of its own (docs/runbooks/shared-folder.md); ALLOW_SHARED_PREFIX=true allows them to share"


def whose(plan: Plan, database: Database | None = None) -> Whose:
    """Whose backups count for a plan; the server is asked, and where it does not answer its name must do."""
    if database is None and plan.server:
        database = _ask(plan.server)
    return Whose(database, databases_named(plan.backups_of))


def folder_of(plan: Plan, database: Database | None = None, *, backups: Iterable[Backup] | None = None) -> Folder:
    """The plan's folder, with its own backups told from others'."""
    repository = Repository(plan.storage)
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
        pass  # which is told by whoever needs it; the one that was known before is the same
    _asked[url] = (time.monotonic(), known)
    return known


def refusal(plan: Plan, folder: Folder) -> tuple[str, str] | None:
    """Why a first backup must not go into this folder, and what to do; None where it may."""
    if plan.shared or folder.made_here or not folder.others:
        return None
    return said_of_others(folder), _hint(folder)


def sharing(plan: Plan, folder: Folder) -> tuple[str, str] | None:
    """What to say each time while two databases share a folder."""
    if plan.shared or not folder.others:
        return None
    return said_of_others(folder), _hint(folder)


def said_of_others(folder: Folder) -> str:
    """Who else is there."""
    others = folder.others
    return (
        f"{folder.address} keeps {counted(len(others), 'backup')} of another database: {in_words(databases_in(others))}"
    )


def _hint(folder: Folder) -> str:
    if not folder.moved:
        return HINT_SHARED
    return f"if that is this database before it was moved or renamed, set BACKUPS_OF={databases_in(folder.moved)[0].as_setting()}; else {HINT_SHARED}"


def refused_folder(plan: Plan) -> tuple[str, str] | None:
    """The same before a plan is saved; a storage that cannot be asked now is no reason not to save one."""
    try:
        return refusal(plan, folder_of(plan))
    except PgRoundtripError:
        return None
