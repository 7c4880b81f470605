"""Prune removes old backups, and nothing that could still be needed."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest

from blocks.errors import StorageDenied
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.prune import prune
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import GLOBALS, MANIFEST, OBJECT, REPORT, name_at, report_file
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.retention import PrunePlan
from tasks.engine.repository.upload import Upload
from tasks.engine.servers.programs import Client
from tasks.status.listing import list_catalog
from tests.conftest import Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY, copied, manifest_of, object_of, put_object, take_backup, without_manifest
from tests.plans import plan_of
from tests.unit.test_catalog import report

Clients = dict[int, Client]


def ago(**age: float) -> str:
    """Return the name of a backup taken this long ago."""
    return name_at(utc_now() - timedelta(**age))


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    """A small database."""
    return new_database(16, LIBRARY)


@pytest.fixture
def taken(storage: ObjectStore, library: Server, clients: Clients) -> Callable[..., list[str]]:
    """A function that stores backups under these names, the first one real and the others copies of it."""

    def take(*names: str) -> list[str]:
        take_backup(storage, library, clients[16], name=names[0])
        for name in names[1:]:
            copied(storage, name, names[0])
        return list(names)

    return take


def names_in(storage: ObjectStore) -> set[str]:
    """Return the names of the listed backups."""
    return {b["name"] for b in list_catalog(plan_of(storage))}


def reasons(ran: object) -> dict[str, str]:
    """Return the decision on each backup, and the reason."""
    assert isinstance(ran, PrunePlan)
    return {d.backup.name: ("keep" if d.keep else "remove") + ": " + d.reason for d in ran.decisions}


def test_old_backups_go_after_a_backup(
    taken: Callable[..., list[str]],
    storage: ObjectStore,
    library: Server,
    flow_run: FlowRun,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each backup is followed by a prune: what is older than BACKUP_RETENTION_DAYS is removed with all its files."""
    ancient, old, young = taken(ago(days=30), ago(days=3.1), ago(days=2.9))
    storage.put(storage.key(old + REPORT), b"{}")
    storage.put(storage.key(report_file(old, utc_now(), conclusive=True)), b"{}")
    storage.put(storage.key("backup_notes.txt"), b"somebody's own")
    made = flow_run(backup, library, environ={"BACKUP_RETENTION_DAYS": "3"})
    assert made.error is None
    assert names_in(storage) == {young, made.result.name}
    left = {found.key.removeprefix(storage.key("")) for found in storage.list_objects()}
    assert not [key for key in left if key.startswith((ancient, old))]
    assert "backup_notes.txt" in left
    assert "Deleted 2 old backups, kept 2" in caplog.messages


def test_one_retention_leaves_another_databases_backups(
    taken: Callable[..., list[str]], storage: ObjectStore, new_database: NewDatabase, flow_run: FlowRun
) -> None:
    """Sharing a folder by mistake loses nothing: backups whose manifest names another database stay."""
    theirs = taken(ago(days=20), ago(days=30))
    server = new_database(16)
    made = flow_run(backup, server, environ={"ALLOW_SHARED_PREFIX": "true"})
    assert names_in(storage) == {*theirs, made.result.name}
    assert "belongs to plan default, database " in reasons(flow_run(prune, server).result)[theirs[0]]


def test_a_dry_run_shows_what_would_go_and_why(
    taken: Callable[..., list[str]], storage: ObjectStore, command_line: Callable[..., Ended]
) -> None:
    """`prune --dry-run` lists every backup with its reason and removes nothing; without it the old ones are removed."""
    newest, old = taken(ago(minutes=5), ago(days=30))
    before = {found.key for found in storage.list_objects()}
    shown = command_line("prune", "--dry-run")
    assert shown.status == 0, shown.err
    line = next(line for line in shown.out.splitlines() if old in line)
    assert "remove" in line
    assert "30 days old, limit 7" in line
    assert "Would delete 1 of 2 backups" in shown.out
    assert {found.key for found in storage.list_objects()} == before
    done = command_line("prune")
    assert done.status == 0
    assert "Deleted 1 of 2 backups" in done.out
    assert names_in(storage) == {newest}


def test_the_newest_proven_backup_stays(
    taken: Callable[..., list[str]], storage: ObjectStore, library: Server, flow_run: FlowRun
) -> None:
    """Of the old backups, the newest PROVEN one stays, even after a later INCONCLUSIVE drill."""
    oldest, proven, unproven, newest = taken(ago(days=40), ago(days=30), ago(days=20), ago(minutes=5))
    for name in (oldest, proven):
        assert flow_run(restore_drill, library, backup=name).result.verdict == "PROVEN"
    nobody = {"VERIFY_DATABASE_URL": library.on("no such database").url.get_secret_value()}
    assert flow_run(restore_drill, library, environ=nobody, backup=proven).result.verdict == "INCONCLUSIVE"
    decided = reasons(flow_run(prune).result)
    assert decided[proven] == "keep: the newest PROVEN backup"
    assert decided[newest] == "keep: the newest backup, within 7 days"
    assert decided[oldest].startswith("remove")
    assert decided[unproven].startswith("remove")
    assert names_in(storage) == {proven, newest}


def test_nothing_goes_while_no_recent_backup_exists(
    taken: Callable[..., list[str]], storage: ObjectStore, flow_run: FlowRun
) -> None:
    """When backups have stopped, the old ones are all there is: nothing is removed, and a warning says why."""
    old, newest = taken(ago(days=30), ago(hours=5))
    ran = flow_run(prune, environ={"BACKUP_INTERVAL": "3600"})
    assert reasons(ran.result)[old] == "keep: no recent backup exists"
    assert "5 h old, more than two intervals: nothing is removed" in ran.result.warning
    assert names_in(storage) == {old, newest}
    ran = flow_run(prune, environ={"BACKUP_INTERVAL": "21600"})
    assert names_in(storage) == {newest}


def test_an_unfinished_object_does_not_stand_for_a_backup(
    taken: Callable[..., list[str]], storage: ObjectStore, flow_run: FlowRun
) -> None:
    """An object without its manifest may be half a backup: the newest complete one stays, however old."""
    older, whole = taken(ago(days=40), ago(days=30))
    unfinished = ago(minutes=5)
    put_object(storage, b"half of what should be here", unfinished)
    flow_run(prune)
    assert {whole, unfinished} <= names_in(storage)
    assert older in names_in(storage)  # backups have stopped, so nothing is removed at all
    put_object(storage, b"another tool's", ago(days=50))
    for name in (older, whole):
        without_manifest(storage, name)
    flow_run(prune)  # now none of them is ours: the newest shows that their tool works
    assert names_in(storage) == {unfinished}


def test_what_is_listed_as_ours_is_whole_at_every_moment(
    taken: Callable[..., list[str]], storage: ObjectStore, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is removed before the object: a prune that dies in between leaves no manifest without its object."""
    old, _ = taken(ago(days=30), ago(minutes=5))
    removed: list[str] = []
    remove = ObjectStore.remove

    def watched(block: ObjectStore, key: str) -> bool:
        removed.append(key.removeprefix(storage.key(old)))
        return remove(block, key)

    monkeypatch.setattr(ObjectStore, "remove", watched)
    flow_run(prune)
    assert removed.index(MANIFEST) < removed.index(OBJECT)


@pytest.mark.parametrize("step", range(1, 10))
def test_a_prune_that_dies_loses_nothing(
    taken: Callable[..., list[str]],
    storage: ObjectStore,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """Killed before any of its deletions, listed backups stay intact, the newest stays, and the next prune finishes."""
    names = taken(ago(minutes=5), *(ago(days=30 + n) for n in range(3)))
    for name, verdict in zip(names, ("PROVEN", "FAILED", "PROVEN", "INCONCLUSIVE"), strict=True):
        storage.put(storage.key(name + OBJECT), object_of(storage, name), "application/gzip")
        Repository(storage).store_report(report(name, Verdict(verdict)))
    rule = {"BACKUP_KEEP_LAST": "1", "BACKUP_INTERVAL": "604800"}
    remove, requests = ObjectStore.remove, itertools.count(1)

    def dying(block: ObjectStore, key: str) -> bool:
        if next(requests) >= step:
            raise KeyboardInterrupt
        return remove(block, key)

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "remove", dying)
        with pytest.raises(KeyboardInterrupt):
            flow_run(prune, environ=rule)
    left = Repository(storage).backups()
    for found in left:
        if found.has_manifest:
            assert hashlib.sha256(object_of(storage, found.name)).hexdigest() == manifest_of(storage, found.name).sha256
            assert found.has_report or found.name != names[1], "a bad backup would be taken for a good one"
    assert left[-1].name == names[0]
    assert left[-1].has_manifest
    monkeypatch.setattr("tasks.prune.utc_now", lambda: utc_now() + timedelta(days=1, minutes=5))
    flow_run(prune, environ=rule)
    assert [found.key.removeprefix(storage.key("")) for found in storage.list_objects()] == [
        report_file(names[0], report(names[0]).started_at, conclusive=True),
        names[0] + MANIFEST,
        names[0] + OBJECT,
    ]


def test_grandfathers_stay(
    taken: Callable[..., list[str]], storage: ObjectStore, command_line: Callable[..., Ended]
) -> None:
    """BACKUP_KEEP_* keep one backup for each of their periods, and the table says for which."""
    names = taken(ago(minutes=5), ago(days=40), ago(days=40, hours=1), ago(days=400), ago(days=800))
    rules = {"BACKUP_RETENTION_DAYS": "1", "BACKUP_KEEP_DAILY": "2", "BACKUP_KEEP_YEARLY": "2"}
    shown = command_line("prune", "--dry-run", **rules)
    day = utc_now() - timedelta(days=40)
    line = next(line for line in shown.out.splitlines() if names[1] in line)
    assert f"daily {day:%Y-%m-%d}" in line
    assert "keep" in line
    assert command_line("prune", **rules).status == 0
    left = names_in(storage)
    assert set(names[:2]) <= left
    assert names[4] not in left


def test_old_backups_go_although_backups_have_stopped(
    taken: Callable[..., list[str]], storage: ObjectStore, command_line: Callable[..., Ended]
) -> None:
    """The warning says how to prune all the same, and that works."""
    _, newest = taken(ago(days=30), ago(days=20))
    refused = command_line("prune")
    assert "WARNING: the newest backup is 480 h old, more than two intervals: nothing is removed" in refused.err
    assert "`pg-roundtrip prune --even-if-stale` removes backups anyway" in refused.err
    assert len(names_in(storage)) == 2
    assert command_line("prune", "--even-if-stale").status == 0
    assert names_in(storage) == {newest}


def test_a_manifest_that_never_came(
    taken: Callable[..., list[str]], storage: ObjectStore, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that a killed run left without a manifest is removed a day later; another tool's such object is not."""
    (whole,) = taken(ago(minutes=5))
    half, lost, strangers = ago(hours=1), ago(hours=2), ago(hours=3)
    for name in (half, lost):
        sink = Upload(storage, storage.key(name + OBJECT), 0)
        sink.write(b"half a backup")
        sink.complete()
    storage.put(storage.key(lost + REPORT), b"{}")  # it was drilled, so it had a manifest once
    put_object(storage, b"another tool's", strangers)
    rarely = {"BACKUP_INTERVAL": "604800"}
    assert reasons(flow_run(prune, environ=rarely).result)[half] == "keep: may be unfinished"
    monkeypatch.setattr("tasks.prune.utc_now", lambda: utc_now() + timedelta(days=1, minutes=5))
    assert reasons(flow_run(prune, environ=rarely).result)[half] == "remove: unfinished: its manifest was never written"
    assert names_in(storage) == {whole, lost, strangers}


def test_more_than_a_page_of_backups(storage: ObjectStore, flow_run: FlowRun) -> None:
    """Listings of more than 1,000 keys are read to the end: the newest stay, wherever they are listed."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put_object(storage, b"x" * 100, ago(minutes=5 + n)), range(1100)))
    put_object(storage, b"x" * 100, ago(days=8))
    ran = flow_run(prune)
    assert (len(ran.result.decisions), [b.name for b in ran.result.removals]) == (
        1101,
        [min(names_in_order(ran.result))],
    )
    assert len(names_in(storage)) == 1100


def names_in_order(decided: PrunePlan) -> list[str]:
    return [d.backup.name for d in decided.decisions]


def test_what_could_not_be_deleted_is_counted(
    taken: Callable[..., list[str]],
    storage: ObjectStore,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the storage refuses to delete stays, the others are removed, and the log and the history say how many of how many."""
    _, locked, free = taken(ago(minutes=5), ago(days=31), ago(days=30))
    remove = ObjectStore.remove

    def partly(block: ObjectStore, key: str) -> bool:
        if locked in key:
            raise StorageDenied(key)
        return remove(block, key)

    monkeypatch.setattr(ObjectStore, "remove", partly)
    ran = flow_run(prune)
    assert (ran.state, ran.result.failed, [b.name for b in ran.result.removals]) == ("Completed", 1, [free])
    (warning,) = (said for said in caplog.messages if said.startswith("Could not delete"))
    assert re.fullmatch(
        rf"Could not delete 1 old backup: Access Denied \[.*{locked}.*\]\nHINT: .*PRUNE=elsewhere.*", warning
    )
    assert "Deleted 1 of 2 old backups, kept 2" in caplog.messages


def test_a_key_that_may_not_delete_is_warned_about(
    taken: Callable[..., list[str]],
    storage: ObjectStore,
    library: Server,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A storage that refuses deletion costs space but no backup: the run succeeds, and what stayed is named."""
    old, _ = taken(ago(days=30), ago(minutes=5))

    def denied(_: ObjectStore, key: str) -> bool:
        raise StorageDenied(key)

    monkeypatch.setattr(ObjectStore, "remove", denied)
    made = flow_run(backup, library)
    assert (made.error, made.state) == (None, "Completed")
    assert {old, made.result.name} <= names_in(storage)
    alone = flow_run(prune)
    assert (alone.error, alone.state) == (None, "Completed")
    assert reasons(alone.result)[old].startswith("keep: could not be deleted: Access Denied")


def test_roles_and_settings_that_were_left_behind(
    taken: Callable[..., list[str]],
    storage: ObjectStore,
    library: Server,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They go when they are a day old; not in a dry run, which names them, and not while backups have stopped."""
    (stopped,) = taken(ago(days=20))
    lonely, beside = storage.key(ago(days=9) + GLOBALS), storage.key(stopped + GLOBALS)
    for key in (lonely, beside):
        storage.put(key, b"left behind", "application/gzip")
    run = partial(flow_run, prune, environ={"BACKUP_RETENTION_DAYS": "90"})

    def there() -> set[str]:
        return {o.key for o in storage.list_objects() if o.key.endswith(GLOBALS)}

    assert run().result.orphans == ()
    taken(ago(hours=1))
    assert len(run().result.orphans) == 1
    assert there() == {lonely, beside}
    # What was just stored is now old enough.
    monkeypatch.setattr("tasks.engine.repository.companions.STALE_UPLOAD", timedelta(0))
    assert len(run(dry_run=True).result.orphans) == 1
    assert there() == {lonely, beside}
    name = lonely.rpartition("/")[2].removesuffix(GLOBALS)
    assert f"Would delete 1 file of roles and settings without a backup: {name}" in caplog.messages
    assert run().error is None
    assert there() == {beside}
