"""The steps of a restore to a database that will be used, unlike a drill's."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from blocks.config.plan import Plan
from blocks.errors import DatabaseError, DumpFailed, NotCompared, OtherRows, PgRoundtripError
from blocks.sql.connection import Connection
from blocks.sql.server import Server
from tasks.clock import utc_now
from tasks.engine.drill.already import Found, holds_already
from tasks.engine.drill.rehearsal import locale_of
from tasks.engine.drill.round_trip import check_contents
from tasks.engine.drill.second_dump import dump_again
from tasks.engine.dump.text_settings import MONEY_HINT, monetary_of, read_under, tables_with_money
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import rows_of_tables
from tasks.engine.repository.choice import choose
from tasks.engine.repository.key_at_hand import require_key
from tasks.engine.repository.manifest import Manifest, Verdict
from tasks.engine.repository.names import LATEST
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.contents import contents_of
from tasks.engine.restore.globals_apply import Result, carry_out_within
from tasks.engine.restore.globals_plan import Step
from tasks.engine.restore.load import RestoreOptions, load
from tasks.engine.restore.reader import BackupReader, ReadResult, read_through
from tasks.engine.restore.reread import read_twice
from tasks.engine.restore.target import Target, aside_name, inspect_target, maintenance_of, take_over, what_is_left
from tasks.engine.servers.programs import Client, match_client
from tasks.engine.servers.scratch import scratch_database
from tasks.engine.wording import human_bytes
from tasks.globals_restore import tell_of
from tasks.orchestration import get_run_logger, task
from tasks.reports.progress import RestoreProgress
from tasks.retries import QUICK, READING


@task("choose the backup", QUICK)
def choose_named(plan: Plan, repository: Repository, name: str) -> tuple[Backup, Manifest | None]:
    """Find a backup by name (`latest`: the newest), with its manifest."""
    wanted = None if name == LATEST else name
    backup = choose(plan, repository, wanted, utc_now(), get_run_logger().warning)
    _warn_of_failure(repository, backup)
    require_key(repository, backup)
    manifest = repository.manifest_even_unlisted(backup)
    if manifest and manifest.without:
        get_run_logger().warning(
            "%s is not whole: it was taken without %s", backup.name, bounded([manifest.without])[0]
        )
    return backup, manifest


def _warn_of_failure(repository: Repository, backup: Backup) -> None:
    """Warn if the newest drill of this backup FAILED, but go on: the user may have no better one."""
    with contextlib.suppress(PgRoundtripError):  # an unreadable report must not prevent a restore
        report = repository.report_even_unlisted(backup.name)
        if report and report.verdict is Verdict.FAILED:
            hint = "pg-roundtrip list shows which backups are PROVEN"
            get_run_logger().warning("The newest drill of %s FAILED: %s\nHINT: %s", backup.name, report.cause, hint)


@task("look at the target", QUICK)
def look_at_target(
    database: Server, replace: bool, manifest: Manifest | None = None, *, as_new: bool = False
) -> Target:
    """Refuse a target that must not be touched, before anything is read or written."""
    try:
        extensions = manifest.extensions if manifest else ()
        return inspect_target(database, replace=replace, extensions=extensions, as_new=as_new)
    except DatabaseError as error:
        error.hint = re.sub(r"\bDATABASE_URL", "--to or RESTORE_DATABASE_URL", error.hint)
        raise


@task("see whether it is there already", QUICK)
def is_there(plan: Plan, repository: Repository, name: str, target: Server) -> int | None:
    """Return the rows of a backup that its target already holds, with the same schema; None if it doesn't.

    A database appears only when it is whole, so one that was restored before needs no second restore.
    """
    logger = get_run_logger()
    try:
        server = maintenance_of(target)
        backup = choose(plan, repository, name, utc_now(), logger.warning)
        manifest = repository.manifest(backup)
        if manifest is None or not contents_of(target).count():
            return None
        found = Found(
            target, match_client(server.inspect().major), manifest,
            lambda: scratch_database(server, "restore", locale_of(manifest), utc_now(), logger.warning),
            lambda: read_through(BackupReader(repository, backup, manifest, keep_schema=True)).summary, plan.drill.timeout_s,
        )  # fmt: skip
        if not holds_already(found):
            return None
    except PgRoundtripError as error:
        if error.transient:
            raise
        return None  # the restore will say what is wrong
    logger.info("%s is in %s already, all of it", name, target.address)
    return manifest.rows


@task("restore into a new database and rename it", READING, run_name="restore {backup.name} and rename it")
def restore_and_swap(
    repository: Repository, backup: Backup, manifest: Manifest | None, target: Target, *, verify: bool = True,
    own: Sequence[Step] = (),
) -> ReadResult:  # fmt: skip
    """Restore under a temporary name; rename it to the target's name only when all of it is right.

    With the name, it gets its `own` settings and owner: a run that dies leaves no database that lacks them.

    A retry starts over, with another name.
    """
    logger = get_run_logger()
    client = match_client(target.facts.major)
    with scratch_database(target.maintenance, "restore", locale_of(manifest), utc_now(), logger.warning) as fresh:
        logger.info("Restoring %s (%s) into %s", backup.name, human_bytes(backup.object_bytes), fresh.database)
        with RestoreProgress(backup.name, backup.object_bytes, logger.info) as progress:
            reader = BackupReader(repository, backup, manifest)
            with read_twice(repository, backup, manifest, reader):
                result = load(reader, fresh, RestoreOptions(progress=progress.tell, **read_under(manifest)))
            progress.done()
        if verify:
            _verify(manifest, result, fresh, client)
        made = list[Result]()

        def finish(connection: Connection) -> None:
            made[:] = carry_out_within(connection, own) if own else []

        take_over(target, fresh.database, aside_name(utc_now()), logger.warning, finish)
        tell_of(made)
    _tell_of_money(manifest, target.database)
    what = rows_of_tables(result.summary.rows, len(result.summary.tables))
    logger.info("Restored %s to %s", what, target.database.address)
    return result


@task("restore in place", READING, run_name="restore {backup.name} in place")
def restore_in_place(
    repository: Repository, backup: Backup, manifest: Manifest | None, target: Target, *, verify: bool = True
) -> ReadResult:
    """Restore into the existing empty database, if the role cannot create one or an extension is tied to its name.

    Read and check the whole backup first. Then restore it in one transaction, unless it has large objects, whose part
    of a dump commits by itself. On failure, the error says what was left; retry only if nothing was. Compare the rows
    after the commit, because no other session sees an uncommitted transaction.
    """
    logger = get_run_logger()
    client = match_client(target.facts.major)
    why = f"{target.tied} is tied to the database" if target.tied else "The role cannot create databases"
    logger.info("%s: checking the whole backup, then restoring in place", why)
    reader = BackupReader(repository, backup, manifest)
    with read_twice(repository, backup, manifest, reader):
        checked = read_through(reader)
    atomic = not checked.summary.large_objects
    try:
        with RestoreProgress(backup.name, backup.object_bytes, logger.info) as progress:
            reader = BackupReader(repository, backup, manifest)
            options = RestoreOptions(single_transaction=atomic, progress=progress.tell, **read_under(manifest))
            with read_twice(repository, backup, manifest, reader):
                result = load(reader, target.database, options)
            progress.done()
        if verify:
            _verify(manifest, result, target.database, client)
    except PgRoundtripError as error:
        error.hint = "; ".join(filter(None, (error.hint, what_is_left(target.database))))
        error.transient = error.transient and atomic
        raise
    _tell_of_money(manifest, target.database)
    what = rows_of_tables(result.summary.rows, len(result.summary.tables))
    logger.info("Restored %s to %s", what, target.database.address)
    return result


def _verify(manifest: Manifest | None, result: ReadResult, restored: Server, client: Client) -> None:
    """Raise RestoreError unless the restored database contains what was read, row by row.

    Checking the stream is not enough: the server may interpret it differently, because of a setting or its version.
    """
    get_run_logger().info("Restored in %.1f s; reading the restored rows to compare them", result.seconds)
    monetary = monetary_of(manifest)
    try:
        seen = dump_again(restored, client, result.summary, manifest)
    except DumpFailed as error:
        if error.transient:
            raise
        raise NotCompared(
            error.context,
            hint="restore as a superuser, or pass --no-verify (RESTORE_VERIFY=false): the role cannot read everything that it restores",
        ) from None
    differences = [c.evidence for c in check_contents(manifest, result.summary, seen) if c.result == "failed"]
    if differences:
        with restored.connect() as connection:
            money = not monetary and bool(tables_with_money(connection))
        raise OtherRows("; ".join(differences), hint=f"it may be money: {MONEY_HINT}" if money else None)


def _tell_of_money(manifest: Manifest | None, restored: Server) -> None:
    """Warn if the same numbers are displayed as other amounts: a dump does not contain the database's settings."""
    source = manifest.source_lc_monetary if manifest else ""
    here = restored.inspect().lc_monetary
    if not source or source == here:
        return
    with restored.connect() as connection:
        if tables_with_money(connection):
            text = "Money is shown with lc_monetary %s here, but with %s on the source\nHINT: %s"
            hint = f"ALTER DATABASE … SET lc_monetary = '{source}' if amounts look wrong"
            get_run_logger().warning(text, here, bounded([source])[0], bounded([hint])[0])
