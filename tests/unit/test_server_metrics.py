"""A scrape of a whole server's metrics reads only what has changed since the one before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.config.databases import folder_for, read_databases
from blocks.config.plan import Plan
from tasks.engine.repository import facts
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import MANIFEST, OBJECT, name_at, report_file, set_file, set_name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.sets import BackupSet, SetMember, Sets
from tasks.status.metrics import Stock, read_stock
from tests.memory_store import MemoryStore
from tests.unit.test_catalog import NOW, manifest, report

MANY = 200
MADE = name_at(datetime(2026, 11, 21, 11, tzinfo=UTC))
SET = set_name_at(datetime(2026, 11, 21, 10, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facts, "_caches", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def store() -> MemoryStore:
    """The backups of a server with many databases, each drilled once."""
    store, members = MemoryStore(seal_key=b"key", bucket="many"), []
    for number in range(MANY):
        name = f"shop_{number}"
        own = store.within(folder_for(name))
        own.put(own.key(MADE + OBJECT), b"x" * 100)
        own.put(own.key(MADE + MANIFEST), manifest(MADE, database=name).encode())
        Repository(own).store_report(report(MADE))
        members.append(SetMember(database=name, folder=folder_for(name), backup=MADE))
    moment = datetime(2026, 11, 21, 10, tzinfo=UTC)
    made = BackupSet(
        tool_version="1", plan="default", name=SET, started_at=moment, ended_at=moment, members=tuple(members)
    )
    Sets(store).write(made)
    return store


def scraped(store: MemoryStore) -> tuple[Stock, list[tuple[str, str]]]:
    """What a scrape knows, and which requests it made."""
    store.calls.clear()
    found = read_stock(Plan("default", store, databases=read_databases("*")))  # type: ignore[arg-type]
    return found, list(store.calls)


def test_a_scrape_reads_what_changed(store: MemoryStore) -> None:
    """After the first, a listing and the set are all; a new drill costs the reading of its report."""
    first, _ = scraped(store)
    again, calls = scraped(store)
    assert again == first
    assert sorted(calls) == [("get", store.key(set_file(SET))), ("list", "")]
    assert len(first.members) == MANY
    assert all(member.manifest and member.report for member in first.members.values())
    own = store.within("shop_7")
    later = report(MADE, Verdict.FAILED).model_copy(update={"started_at": NOW + timedelta(hours=1)})
    Repository(own).store_report(later)
    changed, calls = scraped(store)
    told = changed.members["default/shop_7"].report
    assert told
    assert told.verdict is Verdict.FAILED
    assert {key for call, key in calls if call != "list"} == {
        store.key(set_file(SET)),
        own.key(report_file(MADE, later.started_at, conclusive=True)),
    }


def test_a_manifest_that_cannot_be_read(store: MemoryStore) -> None:
    """The database's catalog is unreadable, which is an alert; the others' figures are there."""
    own = store.within("shop_3")
    own.put(own.key(MADE + MANIFEST), b"{")
    found, _ = scraped(store)
    assert [name for name, member in found.members.items() if not member.readable] == ["default/shop_3"]
