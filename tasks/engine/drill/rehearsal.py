"""Rehearse a restore: restore a backup into a scratch database, dump that again, compare, and query it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from blocks.config.plan import Plan
from blocks.errors import (
    BackupDamaged,
    DrillTimedOut,
    EmptyBackup,
    PgRoundtripError,
    RestoreError,
    RestoreFailed,
    StatementRefused,
)
from blocks.sql.server import Server
from tasks.engine.drill.own_check import require_own_check, run_own_check
from tasks.engine.drill.place import Place, ProvisionedPlace, provision
from tasks.engine.drill.query_checks import ask_queries
from tasks.engine.drill.query_file import Query
from tasks.engine.drill.refusal import conditions_of, explain_refusal
from tasks.engine.drill.rewording import Copy, Reading, in_the_backups_words
from tasks.engine.drill.round_trip import (
    NO_MANIFEST,
    check_contents,
    check_object,
    check_schema,
    in_doubt,
    read_otherwise,
)
from tasks.engine.drill.second_dump import dump_again
from tasks.engine.drill.sql_checks import run_sql_checks
from tasks.engine.drill.unusual import check_anomalies
from tasks.engine.dump.selection import arguments_for_copy
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.dump.text_settings import MONEY_HINT, monetary_of, read_under, tables_with_money
from tasks.engine.dump.warnings import bounded
from tasks.engine.hook import Hook
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import not_possible, passed, timed
from tasks.engine.repository.manifest import Check, Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.header import encoding_in, read_header
from tasks.engine.restore.load import RestoreOptions, load
from tasks.engine.restore.reader import BackupReader
from tasks.engine.restore.reread import confirm_damage, require_unchanged
from tasks.engine.servers.sandbox_settings import ONE_DATABASE, fits_one_transaction
from tasks.engine.servers.scratch import Locale, in_its_place, scratch_database, scratch_name
from tasks.engine.wording import human_bytes

_UNREAD = "the rows are compared, and the report names the statements; drill again, or compare those by hand"
Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


@dataclass
class Rehearsal:
    """What a drill found, even if an error ended it early."""

    place: str = ""
    target_version: str = ""
    checks: list[Check] = field(default_factory=list)
    summary: DumpSummary | None = None
    restore_seconds: float = 0.0
    compare_seconds: float = 0.0
    error: PgRoundtripError | None = None
    warnings: tuple[str, ...] = ()
    manifest: Manifest | None = None
    sha256: str = ""


class Watch(Protocol):
    """A display of a restore's progress."""

    def tell(self, read_bytes: int) -> None:
        """Show that this many bytes of the object were read."""

    def done(self) -> None:
        """Show that all of it was restored."""


@dataclass(frozen=True)
class DrillJob:
    """What to rehearse, and how."""

    plan: Plan
    repository: Repository
    backup: Backup
    place: Place
    queries: Sequence[Query]
    logger: Logger
    now: datetime
    watched: Callable[[], AbstractContextManager[Watch | None]] = contextlib.nullcontext
    begun: float = field(default_factory=time.monotonic)
    own_check: Hook | None = None

    def remaining_s(self) -> float:
        """Return the seconds left; raises DrillTimedOut when the time limit is exceeded."""
        left = self.plan.drill.timeout_s - (time.monotonic() - self.begun)
        if left <= 0:
            raise DrillTimedOut
        return left


def rehearse(job: DrillJob) -> Rehearsal:
    """Run a whole drill from scratch. Transient errors are raised, to be retried; others are part of the result."""
    seen = Rehearsal(place=job.place.kind)
    try:
        manifest = _look_at_object(job, seen)
        with provision(job.place, manifest, scratch_name("verify", job.now)) as provisioned:
            seen.target_version = provisioned.version
            # A throwaway server takes the database with it, however it ends.
            warn = job.logger.warning if job.place.server else None
            with scratch_database(provisioned.server, "verify", _locale(job, manifest), job.now, warn) as scratch:
                stored = _restore(job, manifest, provisioned, scratch, seen)
                _compare(job, manifest, stored, provisioned, scratch, seen)
    except PgRoundtripError as error:
        if error.transient:
            raise
        seen.error = error
    return seen


def _look_at_object(job: DrillJob, seen: Rehearsal) -> Manifest | None:
    """Check what can be checked before reading the object: that it exists, and has the right size."""
    backup = job.backup
    if not backup.object_bytes:
        raise EmptyBackup("the object is empty", check=checklist.OBJECT)
    seen.checks.append(passed(checklist.OBJECT, f"{backup.key}, {human_bytes(backup.object_bytes)}"))
    manifest = job.repository.manifest_even_unlisted(backup)
    if manifest is None:
        seen.checks += (not_possible(name, NO_MANIFEST) for name in (checklist.MANIFEST, checklist.ANOMALIES))
        return None
    seen.manifest, seen.warnings = manifest, bounded(manifest.warnings)
    seen.checks.append(passed(checklist.MANIFEST, f"format {manifest.format}, by pg-roundtrip {manifest.tool_version}"))
    seen.checks.append(check_anomalies(manifest, backup))
    if manifest.object_bytes != backup.object_bytes:
        require_unchanged(job.repository, backup)
        sizes = f"it has {backup.object_bytes} bytes, the manifest says {manifest.object_bytes}"
        raise BackupDamaged(sizes, check=checklist.SIZE)
    return manifest


def _restore(
    job: DrillJob, manifest: Manifest | None, provisioned: ProvisionedPlace, scratch: Server, seen: Rehearsal
) -> DumpSummary:
    """Restore the backup, checking it on the fly; return a summary of its contents."""
    size, logger = human_bytes(job.backup.object_bytes), job.logger
    logger.info("Restoring %s (%s) into %s on %s", job.backup.name, size, scratch.database, job.place)
    reader = BackupReader(job.repository, job.backup, manifest, keep_schema=True)
    in_sandbox, begun = job.place.kind == "sandbox", time.monotonic()
    options = RestoreOptions(
        # There, a table created and filled in one transaction needs no write-ahead log.
        single_transaction=in_sandbox and fits_one_transaction(manifest), gentle=not in_sandbox, timeout_s=job.remaining_s(), prepare=provisioned.prepare,
        **read_under(manifest),
    )  # fmt: skip
    try:
        with job.watched() as watch:
            watched = replace(options, progress=watch.tell if watch else None)
            result = load(reader, scratch, watched)
            if watch:
                watch.done()
    except (BackupDamaged, EmptyBackup, StatementRefused) as error:
        damaged = not isinstance(error, StatementRefused)
        confirm_damage(job.repository, job.backup, manifest, reader, damaged=damaged)
        raise
    except RestoreFailed as error:
        result = confirm_damage(job.repository, job.backup, manifest, reader, damaged=False)
        seen.checks += check_object(manifest, result)
        raise explain_refusal(error, provisioned, reader, conditions_of(manifest, scratch, reader.seen)) from None
    seen.restore_seconds, seen.summary, seen.sha256 = round(time.monotonic() - begun, 3), result.summary, result.sha256
    where = f"PostgreSQL {provisioned.version}, {'a throwaway server' if in_sandbox else scratch.address}"
    seen.checks += timed([*check_object(manifest, result), passed(checklist.RESTORED, where)], seen.restore_seconds)
    return result.summary


def _compare(
    job: DrillJob,
    manifest: Manifest | None,
    stored: DumpSummary,
    provisioned: ProvisionedPlace,
    scratch: Server,
    seen: Rehearsal,
) -> None:
    """Dump the restored copy through the same scanner, compare, and query what a dump does not tell."""
    job.logger.info("Restored in %.1f s; dumping the restored copy to compare it", seen.restore_seconds)
    begun = time.monotonic()
    restored = dump_again(scratch, provisioned.client, stored, manifest, keep_schema=True, timeout_s=job.remaining_s())
    unsure = frozenset() if monetary_of(manifest) else _unsure(scratch)
    contents = check_contents(manifest, stored, restored, unsure)
    seen.checks += contents  # what was found before an error counts
    reading = _in_the_backups_words(job, manifest, stored, restored, provisioned, scratch)
    seen.compare_seconds = round(time.monotonic() - begun, 3)
    schema = check_schema(manifest, stored, reading.summary, reading.unread)
    seen.checks[-len(contents) :] = timed([*contents, *schema], seen.compare_seconds)
    if others := read_otherwise(stored, restored, unsure):
        raise RestoreError(in_doubt(others), hint=MONEY_HINT)
    seen.checks += run_sql_checks(scratch, manifest, stored, job.remaining_s)
    drill = job.plan.drill
    seen.checks += ask_queries(
        scratch, job.queries, timeout_s=drill.query_timeout_s, strict=drill.strict, warn=job.logger.warning, remaining_s=job.remaining_s
    )  # fmt: skip
    job.remaining_s()
    own = run_own_check(
        scratch, job.own_check, job.place.kind, strict=drill.strict, logger=job.logger, remaining_s=job.remaining_s
    )
    seen.checks += own
    if reading.unread and any(check.result == "not possible" for check in schema):
        raise RestoreError(f"whether the schema is the same is unknown: {reading.unread}", hint=_UNREAD)
    require_own_check(own, strict=drill.strict)


def _in_the_backups_words(
    job: DrillJob, manifest: Manifest | None, stored: DumpSummary, restored: DumpSummary, provisioned: ProvisionedPlace, scratch: Server
) -> Reading:  # fmt: skip
    """Let the server say whether what the copy words differently means the same; of foreign backups nothing is known."""
    if manifest is None or stored.schema_digest == restored.schema_digest:
        return Reading(restored)
    warn = job.logger.warning if job.place.server else None
    options = RestoreOptions(gentle=warn is not None, **read_under(manifest))

    def another() -> AbstractContextManager[Server]:
        if warn is None and ONE_DATABASE.keys() & manifest.extensions.keys():
            return in_its_place(provisioned.server, scratch.database, _locale(job, manifest))
        return scratch_database(provisioned.server, "verify", _locale(job, manifest), job.now, warn)

    copy = Copy(scratch, provisioned.client, another, options, job.remaining_s, arguments_for_copy(manifest))
    return in_the_backups_words(copy, stored, restored)


def _unsure(scratch: Server) -> frozenset[str]:
    """Return the tables whose text may have been written under a different lc_monetary than it was read under."""
    with scratch.connect() as connection:
        return tables_with_money(connection)


def _locale(job: DrillJob, manifest: Manifest | None) -> Locale:
    """Return the locale for the restored copy.

    A foreign backup states only its encoding, which matters because not all bytes are valid text in another one.
    """
    if manifest:
        return locale_of(manifest)
    with contextlib.suppress(BackupDamaged, EmptyBackup):  # reported when it is read
        encoding = encoding_in(read_header(job.repository, job.backup))
        return Locale(encoding, "C", "C") if encoding not in ("", "UTF8") else Locale()
    return Locale()


def locale_of(manifest: Manifest | None) -> Locale:
    """Return the locale that a restored database needs; the server's own for a foreign backup."""
    if manifest is None:
        return Locale()
    return Locale(
        manifest.encoding, manifest.collation, manifest.character_type, manifest.locale_provider, manifest.locale
    )
