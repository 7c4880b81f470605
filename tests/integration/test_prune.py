"""Retention removes what may go, and nothing that could be missed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from blocks.storage import BackupStorage
from tasks.clock import utc_now
from tasks.engine import catalog
from tasks.engine.manifest import DrillReport, Verdict
from tests.conftest import Ended, NewDatabase

NewBackup = Callable[[float], str]


@pytest.fixture
def backup_of_age(new_database: NewDatabase, command_line: Callable[..., Ended], storage: BackupStorage) -> NewBackup:
    """A function that puts a real backup of some age, in days, into the bucket and returns its name."""
    server = new_database(16, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    made = json.loads(command_line("backup", "--json", server=server).out)
    content = storage.get(made["key"])
    manifest = catalog.load_manifest(storage, catalog.read_catalog(storage)[0])
    assert manifest is not None
    for ending in (catalog.MANIFEST, catalog.OBJECT):
        storage.remove(storage.key(made["name"] + ending))

    def put(days: float) -> str:
        name = catalog.name_at(utc_now() - timedelta(days=days))
        storage.put(storage.key(name + catalog.OBJECT), content)
        storage.put(storage.key(name + catalog.MANIFEST), manifest.model_copy(update={"name": name}).encode())
        return name

    return put


def prove(storage: BackupStorage, name: str) -> None:
    """Put a report beside a backup that says it was proven."""
    report = DrillReport(
        tool_version="1", backup=name, verdict=Verdict.PROVEN, cause="", checks=(), started_at=utc_now(),
        restore_seconds=1, seconds=1,
    )  # fmt: skip
    storage.put(storage.key(name + catalog.REPORT), report.encode())


def names(storage: BackupStorage) -> set[str]:
    return {b.name for b in catalog.read_catalog(storage)}


def test_old_backups_go_and_the_newest_proven_one_stays(
    backup_of_age: NewBackup, command_line: Callable[..., Ended], storage: BackupStorage
) -> None:
    """What is older than the limit goes with all its objects; a dry run first says so and removes nothing."""
    old, proven, edge, new = (backup_of_age(days) for days in (30, 20, 6.9, 0))
    prove(storage, proven)
    other = storage.key("backup_20200101_000000.sql.gz.note")
    storage.put(other, b"not ours")
    before = {found.key for found in storage.list_objects()}
    dry = command_line("prune", "--dry-run")
    assert dry.status == 0, dry.err
    assert f"{old}  remove    30 days old, limit 7" in dry.out
    assert f"{proven}  keep      the newest PROVEN backup" in dry.out
    assert {found.key for found in storage.list_objects()} == before
    done = command_line("prune")
    assert (done.status, names(storage)) == (0, {proven, edge, new}), done.err
    assert "INFO: Deleted 1 old backups, kept 3" in done.err
    left = {found.key for found in storage.list_objects()}
    assert other in left
    assert not any(old in key for key in left)


def test_nothing_goes_while_no_recent_backup_exists(
    backup_of_age: NewBackup, command_line: Callable[..., Ended], storage: BackupStorage
) -> None:
    """When backups have stopped, old ones are all there is."""
    kept = {backup_of_age(days) for days in (40, 30, 1)}
    done = command_line("prune")
    assert done.status == 0
    assert names(storage) == kept
    assert "WARNING: the newest backup is 24 h old" in done.err
    command_line("prune", BACKUP_INTERVAL="86400")
    assert len(names(storage)) == 1


def test_a_backup_prunes_afterwards(
    backup_of_age: NewBackup, command_line: Callable[..., Ended], storage: BackupStorage, new_database: NewDatabase
) -> None:
    """Old backups go after each successful backup, and only then."""
    old, server = backup_of_age(30), new_database(16)
    failed = command_line("backup", DATABASE_URL=server.on("nowhere").url.get_secret_value())
    assert failed.status == 1
    assert names(storage) == {old}
    done = command_line("backup", server=server)
    assert done.status == 0, done.err
    assert old not in names(storage)
    assert len(names(storage)) == 1
