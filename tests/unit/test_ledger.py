"""What was told is remembered wherever it can be: in the bucket, without ever changing an object, or else in a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import StorageDenied, StorageUnreachable
from tasks.engine.notify.incidents import Incident, Subject
from tasks.engine.notify.ledger import Ledger
from tasks.engine.repository.cache_file import CacheFile
from tasks.engine.repository.catalog import backups_in
from tasks.engine.repository.names import notice_at, notice_file
from tests.memory_store import MemoryStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def incident(subject: Subject = Subject.BACKUP, minutes: int = 0, *, is_open: bool = True) -> Incident:
    at = NOW + timedelta(minutes=minutes)
    return Incident(subject=subject, open=is_open, since=NOW, seen_at=at, failures=1, told_at=at)


class LockedStore(MemoryStore):
    """A bucket with object lock, whose keys may not delete: nothing can be replaced or removed."""

    def put(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        assert key not in self.objects
        super().put(key, data, content_type)

    def remove(self, key: str) -> bool:
        raise StorageDenied(key)


class DeadStore(MemoryStore):
    """A bucket that does not answer."""

    def list_objects(self, *_: object, **__: object) -> Any:
        raise StorageUnreachable(self.address)

    def put(self, key: str, *_: object) -> None:
        raise StorageUnreachable(key)


@pytest.fixture
def file(tmp_path: Path) -> CacheFile:
    return CacheFile(tmp_path / "folder-notices-default", b"key")


def test_the_newest_counts(file: CacheFile) -> None:
    """Each subject's newest entry is what is known; the ones before it go, and other plans' stay."""
    store = MemoryStore()
    Ledger("other", store).write([incident()], NOW)
    for n, subject in enumerate((Subject.BACKUP, Subject.DRILL, Subject.BACKUP)):
        ledger = Ledger("default", store, file)
        ledger.read()
        assert ledger.write([incident(subject, n)], NOW + timedelta(minutes=n))
    known = Ledger("default", store).read()
    assert known == {Subject.BACKUP: incident(minutes=2), Subject.DRILL: incident(Subject.DRILL, 1)}
    assert sorted(store.objects) == [
        "backups/notices/default/backup_20261121_120200.json", "backups/notices/default/restore-drill_20261121_120100.json",
        "backups/notices/other/backup_20261121_120000.json",
    ]  # fmt: skip
    assert backups_in(store.key(""), store.list_objects()) == ()
    assert not file.path.exists()


def test_outages_are_remembered() -> None:
    """Why there was no backup is known for 400 days, once each; reminders and recoveries of anything else go."""
    store = MemoryStore()
    for day in (0, 401, 402, 403):
        for n, is_open in enumerate((True, True, False, False)):
            for subject in (Subject.BACKUP, Subject.DRILL):
                changes = {"reason": f"day {day}", "since": NOW + timedelta(days=day)}
                told = incident(subject, day * 1440 + n, is_open=is_open).model_copy(update=changes)
                ledger = Ledger("default", store)
                ledger.read()
                ledger.write([told], NOW + timedelta(days=day, minutes=n))
    assert [told.reason for told in Ledger("default", store).outages()] == ["day 401", "day 402", "day 403"]
    assert [told.open for told in Ledger("default", store).outages()] == [False] * 3
    assert len(store.objects) == 4
    ledger = Ledger("default", store)
    ledger.read()
    again = incident(minutes=404 * 1440).model_copy(update={"reason": "again", "since": NOW + timedelta(days=404)})
    ledger.write([again], NOW + timedelta(days=404))
    assert [(told.reason, told.open) for told in Ledger("default", store).outages()][-1] == ("again", True)


def test_nothing_is_written_twice() -> None:
    """A bucket in which nothing can be replaced or deleted will do, and so will a clock that stands still or goes back."""
    store = LockedStore()
    for n in range(5):
        ledger = Ledger("default", store)
        ledger.read()
        assert ledger.write([incident(minutes=n)], NOW - timedelta(minutes=n))
        assert Ledger("default", store).read()[Subject.BACKUP] == incident(minutes=n)
    assert len(store.objects) == 5


def test_a_bucket_that_does_not_answer(file: CacheFile) -> None:
    """The file holds what is told meanwhile, and the bucket's turn comes when it answers again."""
    store = MemoryStore()
    Ledger("default", store, file).write([incident()], NOW)
    down = Ledger("default", DeadStore(), file)
    assert down.read() == {}
    assert not down.write([incident(minutes=5)], NOW)
    assert Ledger("default", DeadStore(), file).read() == {Subject.BACKUP: incident(minutes=5)}
    up = Ledger("default", store, file)
    assert up.read() == {Subject.BACKUP: incident(minutes=5)}
    assert up.write([incident(minutes=9, is_open=False)], NOW + timedelta(minutes=9))
    assert Ledger("default", store, file).read() == {Subject.BACKUP: incident(minutes=9, is_open=False)}


def test_what_others_put_there() -> None:
    """An entry that can't be read counts as none, however large or odd it is."""
    store = MemoryStore()
    for name, data in (
        ("backup_20261121_120000.json", b"{"), ("restore-drill_20261121_120000.json", b"x" * 100_000),
        ("unproven_20269999_120000.json", b"{}"), ("../evil_20261121_120000.json", b"{}"), ("prune_20261121_120000.json", b'{"format": 2}'),
    ):  # fmt: skip
        store.put(store.key(f"notices/default/{name}"), data)
    ledger = Ledger("default", store)
    assert ledger.read() == {}
    assert ledger.write([incident()], NOW)
    assert Ledger("default", store).read() == {Subject.BACKUP: incident()}


def test_names() -> None:
    """A name says of what and when, and no other name does."""
    assert notice_file("shop", "backup", NOW) == "notices/shop/backup_20261121_120000.json"
    assert notice_at("notices/shop/backup_20261121_120000.json", "shop") == ("backup", NOW)
    for other in (
        "notices/shop/backup_20261121_120000.txt",
        "notices/other/backup_20261121_120000.json",
        "notices/shop/backup_20261399_120000.json",
    ):
        assert notice_at(other, "shop") is None


def test_a_copy_follows_the_bucket(file: CacheFile) -> None:
    """What is over in the bucket is over in the file, too: the next outage of the storage is a new failure."""
    down = Ledger("default", None, file)
    down.read()
    down.write([incident()], NOW)
    store = MemoryStore()
    up = Ledger("default", store, file)
    assert up.read() == {Subject.BACKUP: incident()}
    assert up.write([incident(minutes=60, is_open=False)], NOW + timedelta(hours=1))
    assert Ledger("default", None, file).read() == {Subject.BACKUP: incident(minutes=60, is_open=False)}
    Ledger("default", store).write([incident(minutes=90)], NOW + timedelta(hours=2))  # by another machine
    Ledger("default", store, file).read()
    assert Ledger("default", None, file).read() == {Subject.BACKUP: incident(minutes=90)}
