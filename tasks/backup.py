"""The steps of a backup: inspect the source, stream the dump, and commit it with its manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from blocks.config.encryption import ALONE
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, DatabaseError, PgRoundtripError, Problem, StorageDenied
from blocks.sql.connection import Connection
from blocks.sql.server import Server
from tasks.clock import utc_now
from tasks.destinations import left_out
from tasks.engine.dump.dependents import what_needs_it
from tasks.engine.dump.left_out import LeftOut, what_is_left_out
from tasks.engine.dump.partitions import read_partitions
from tasks.engine.dump.pg_dump import running_dump
from tasks.engine.dump.roles import read_roles
from tasks.engine.dump.selection import arguments, read_selection
from tasks.engine.dump.source_settings import read_settings
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.anomaly_history import history_of
from tasks.engine.repository.catalog import Backup, Listing
from tasks.engine.repository.destinations import Destinations
from tasks.engine.repository.folder import Folder
from tasks.engine.repository.identity import read_identity
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.mixed import told_of_mixed
from tasks.engine.repository.names import taken_at
from tasks.engine.repository.newest import WHEN_FUTURE, newest_whole, of_selection, told_of_future
from tasks.engine.repository.omissions import Omissions
from tasks.engine.repository.outline import Outline
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.whose import folder_of, refusal, sharing
from tasks.engine.servers.programs import Client, match_client
from tasks.engine.stream.pipeline import StreamResult, stream_dump
from tasks.engine.stream.record import Source, manifest_of_dump
from tasks.engine.wording import human_bytes, iso
from tasks.orchestration import get_run_logger, task
from tasks.reports.progress import DumpProgress
from tasks.retries import LONG, ONCE, QUICK

# With many plans, a Prefect concurrency limit for this tag limits how many dumps run at once.
DUMP_TAG = "pg-roundtrip-dump"
# Text and hexadecimal grow in a dump and shrink in gzip; the net ratio stays well below this.
_OBJECT_PER_DATABASE_BYTE = 1.5
_BLIND = (
    "this backup is made all the same, but isn't compared with those before it, and nothing old or unfinished is removed;"
    " run drills, prune and list with other keys (docs/locks.md)"
)
_CHANGED = "the newest PROVEN backup from before is kept until one from now on is PROVEN; drill soon"


@dataclass(frozen=True)
class Previous:
    """What existed before a backup, as far as it could be read.

    That is what the newest manifest says in the open, what each place listed, and what to compare the new one with: backups
    of the same database and selection in `repository`, the first place that could be read. Into the
    `blind` ones the keys may not look.
    """

    manifest: Outline | None = None
    listings: Mapping[str, Listing] = field(default_factory=dict)
    history: tuple[Backup, ...] = ()
    repository: Repository | None = None
    blind: tuple[str, ...] = ()


@task("look at the source", QUICK)
def inspect_source(plan: Plan) -> Source:
    """Connect to the database and match a pg_dump to it, before anything is written."""
    server = plan.source
    if dropped := server.dropped_parameters:
        get_run_logger().warning(
            "DATABASE_URL has parameters that PostgreSQL does not know; left out: %s", ", ".join(dropped)
        )
    facts = server.inspect()
    client = match_client(facts.major)
    with server.connect(own_names=True) as connection:
        chosen = read_selection(connection, plan.dump.selection, client.major)
    with server.connect() as connection:
        found = connection.query("SELECT extname, extversion FROM pg_extension ORDER BY 1")
        extensions: dict[str, str] = {name: version for name, version in found}  # noqa: C416
        roles = read_roles(connection)
        database = read_identity(connection, facts.database)
        settings = read_settings(connection)
        partitions = _partitions(connection)
        needing = _needing(connection, plan, chosen, client)
    get_run_logger().info(
        "Database %s: PostgreSQL %s, %s; using pg_dump %s",
        server.address, facts.version, human_bytes(facts.size_bytes), client.version,
    )  # fmt: skip
    left_out = (*needing, *_left_out(plan))
    return Source(facts, client, extensions, roles, left_out, database, settings, partitions, chosen)


def _partitions(connection: Connection) -> dict[str, str] | None:
    """Return None if the server doesn't say: then fewer anomalies are found, and the backup is as good."""
    try:
        return read_partitions(connection)
    except DatabaseError as error:
        if connection.lost:
            raise
        get_run_logger().warning("Could not look for partitions: %s", error.sentence)
        return None


def _needing(connection: Connection, plan: Plan, chosen: Omissions | None, client: Client) -> tuple[LeftOut, ...]:
    """Warn of what can't be restored without what is left out; if this fails, make the backup anyway."""
    try:
        found = what_needs_it(connection, chosen, client.major, plan.dump.selection.options)
    except DatabaseError as error:
        if connection.lost:
            raise
        get_run_logger().warning("Could not look for what needs what is left out: %s", error.sentence)
        return ()
    for one in found:
        get_run_logger().warning("%s\nHINT: %s", bounded([one.text])[0], one.hint)
    return tuple(found)


def _left_out(plan: Plan) -> tuple[LeftOut, ...]:
    """Warn in advance of what the dump will lack; if this fails, make the backup anyway."""
    try:
        found = tuple(what_is_left_out(plan.source))
    except DatabaseError as error:
        get_run_logger().warning("Could not look for what pg_dump leaves out: %s", error.sentence)
        return ()
    for one in found:
        get_run_logger().warning("Not in the backup: %s\nHINT: %s", bounded([one.text])[0], one.hint)
    return found


@task("name the backup", QUICK)
def name_backup(there: Destinations) -> str:
    """Choose the name for a backup that starts now; if it is taken anywhere, use the next second."""
    moment = utc_now()
    name = there.free_name(moment)
    get_run_logger().info("Starting backup at %s", iso(moment))
    return name


@task("look at the backup before", ONCE)
def read_previous(plan: Plan, there: Destinations, source: Source) -> Previous:
    """Fetch the newest manifest for comparison; if it cannot be read, make the backup anyway.

    Raises ConfigurationError for a database's first backup in a folder where another database keeps its own.
    """
    found = Previous()
    for place in plan.destinations:
        if place.name not in there.there:
            continue
        listed, one = _previous_in(plan.at(place), there.repositories[place.name], source, alone=not plan.copies)
        listings = {**found.listings, **({place.name: listed} if listed else {})}
        blind = found.blind if one.repository or not one.blind else (*found.blind, place.name)
        found = replace(one if found.repository is None else found, listings=listings, blind=blind)
    return found


def _previous_in(plan: Plan, repository: Repository, source: Source, *, alone: bool) -> tuple[Listing | None, Previous]:
    """Look at one place; a second one may have what the first one can't be asked for."""
    now, listing = utc_now(), None
    try:
        listing = repository.listing(now)
        folder = folder_of(plan, source.database, backups=listing.backups)
        _tell_of_folder(plan, folder, now)
        _tell_of_encryption(plan, folder, now)
        _tell_of_selection(plan, newest_whole(folder.own, now))
        like = of_selection(folder.own, plan.selection_mark)
        last = newest_whole(like, now)
        history = history_of(like, now)
        made = Previous(_outline_of(repository, last), history=tuple(history), repository=repository)
    except ConfigurationError:
        raise
    except StorageDenied as error:
        if error.wrong_keys and alone:
            raise
        get_run_logger().warning(
            "The keys may not look into %s: %s\nHINT: %s", repository.address, error.sentence, _BLIND
        )
        made = Previous(blind=(plan.place,))
    except PgRoundtripError as error:
        get_run_logger().warning("Could not look at the backup before: %s", error.sentence)
        made = Previous()
    return listing, made


def _outline_of(repository: Repository, last: Backup | None) -> Outline | None:
    """Return None if it cannot be read: older ones can be compared with all the same."""
    try:
        return repository.outline(last) if last else None
    except PgRoundtripError as error:
        get_run_logger().warning("Could not read the manifest of the backup before: %s", error.sentence)
        return None


def _tell_of_encryption(plan: Plan, folder: Folder, now: datetime) -> None:
    """Warn of plain backups beside encrypted ones; and once, with the first encrypted one, of a single recipient."""
    if mixed := told_of_mixed(folder.own, encrypts=bool(plan.encryption)):
        get_run_logger().warning("%s\nHINT: %s", *mixed)
    last = newest_whole(folder.own, now)
    if plan.encryption.alone and not (last and last.encrypted):
        get_run_logger().warning("Backups are encrypted to one key only\nHINT: %s", ALONE)


def _tell_of_selection(plan: Plan, last: Backup | None) -> None:
    """Warn of the first backup with another selection: neither stands in for the other."""
    if last and last.origin and last.origin.selection != plan.selection_mark:
        text = "What is backed up has changed: this backup and %s don't leave out the same\nHINT: %s"
        get_run_logger().warning(text, last.name, _CHANGED)


def _tell_of_folder(plan: Plan, folder: Folder, now: datetime) -> None:
    """Refuse another database's folder; only warn if two already share it, or if the database was moved."""
    logger = get_run_logger()
    refused = refusal(plan, folder)
    if refused and not folder.moved:
        raise ConfigurationError([Problem(*refused)])
    if shared := sharing(plan, folder):
        logger.warning("%s\nHINT: %s", *shared)
    if odd := told_of_future(folder.backups, now):
        logger.warning("In %s, %s\nHINT: %s", folder.address, odd, WHEN_FUTURE)


def dump_tags(server: Server) -> list[str]:
    """Return the tags by which a Prefect server can limit dumps: all of them, and those of one database server.

    Names of limits may not contain some characters, such as the `/` of a socket's folder.
    """
    return [DUMP_TAG, f"{DUMP_TAG}-{re.sub('[^A-Za-z0-9._:-]+', '-', server.host)}"]


@task("dump to storage", LONG, run_name="dump {name}", tags={DUMP_TAG})
def dump_to_storage(
    plan: Plan, there: Destinations, source: Source, name: str, before: Outline | None = None
) -> Manifest:
    """Stream one dump into one object, in each place. A retry starts over; a failure leaves nothing behind.

    The manifest has the final name: another run may take this `name` first, or an attempt whose last response was lost
    may have left an object of it. Progress is measured against the size of the
    dump `before`, else against that of the database.
    """
    logger, started, size_bytes = get_run_logger(), utc_now(), source.facts.size_bytes
    logger.info("Dumping database...")
    logger.info("Uploading to S3...")  # at the same time: the dump is streamed, and stored nowhere else
    expected_bytes = before.raw_bytes if before else size_bytes
    options = arguments(source.chosen, plan.dump.selection.options)
    moment, at_most_bytes = taken_at(name) or started, int(size_bytes * _OBJECT_PER_DATABASE_BYTE)
    encrypt = there.first.keys.stage()  # each object has a key of its own, a second attempt, too
    with (
        running_dump(plan.source, source.client, options=options) as dump,
        there.begun(moment, at_most_bytes, left_out()) as (claimed, sink),
        DumpProgress(claimed, expected_bytes, logger.info) as progress,
    ):
        result = stream_dump(dump, sink, plan.dump.compression_level, progress.tell, encrypt)
        progress.done(result.summary.raw_bytes, result.object_bytes)
    logger.info("Backup file created: %s", human_bytes(result.object_bytes))
    for warning in dump.warnings:
        logger.warning("pg_dump warned: %s\nHINT: see docs/drills.md for what a backup does not contain", warning)
    refused = _would_refuse(result)
    for warning in refused:
        logger.warning("%s\nHINT: restore it by hand with psql, and report this if the database is sound", warning)
    manifest = manifest_of_dump(plan, source, claimed, started, utc_now(), result)
    return manifest.model_copy(update={"warnings": _warnings(source, (*dump.warnings, *refused))})


def _would_refuse(result: StreamResult) -> tuple[str, ...]:
    """Warn of what our own restore would refuse: the backup is kept anyway."""
    why = result.summary.refused
    return (f"pg-roundtrip will not restore this by itself: {why}",) if why else ()


def _warnings(source: Source, said: tuple[str, ...]) -> tuple[str, ...]:
    """Combine pg_dump's warnings with our own findings, without duplicates."""
    heard = "\n".join(said)
    found = [one.text for one in source.left_out if not one.said_by_pg_dump or one.said_by_pg_dump not in heard]
    return bounded([*found, *said])


@task("commit the backup", QUICK)
def commit_backup(there: Destinations, manifest: Manifest, companion: bytes = b"") -> dict[str, Backup]:
    """Write the manifest of a completely uploaded object, after its companion: this makes it a backup.

    Returns it by the names of the places that have it.
    """
    made = there.commit(manifest, companion, left_out())
    for name, backup in made.items():
        where = f" in {name}" if there.several else ""
        get_run_logger().info("Backup completed successfully%s: %s", where, backup.key)
    return made
