"""Which databases a plan of a whole server has, as its bucket shows them, and when it was backed up last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from blocks.config.databases import folder_for, read_databases
from blocks.config.plan import Plan
from blocks.s3.client import ObjectStore
from tasks.engine.repository import facts
from tasks.engine.repository.members import current_members, last_backup_of, own_members
from tasks.engine.repository.names import LATEST_SET, MANIFEST, OBJECT, set_file, set_name_at
from tasks.engine.repository.sets import BackupSet, SetMember
from tasks.sets import choose_set
from tasks.status import survey
from tests.memory_store import MemoryStore
from tests.plainly import run_plainly
from tests.unit.test_catalog import manifest
from tests.unit.test_whole_servers import PLAN

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facts, "_caches", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def plan_by(patterns: str, store: MemoryStore) -> Plan:
    """A plan by these patterns, with what is in a storage."""
    return replace(PLAN, storage=cast(Any, store), databases=read_databases(patterns))


def store_set(
    store: MemoryStore, hour: int, patterns: str, *databases: str, missing: str = "", done: bool = True
) -> None:
    """Store a set with backups of some databases, and with one that is missing."""
    moment = NOON.replace(hour=hour)
    backup = f"backup_20261121_{hour:02}0000" if done else ""
    members = [SetMember(database=d, folder=folder_for(d), backup=backup) for d in databases]
    members += [SetMember(database=missing, folder="", error="there is none")] if missing else []
    made = BackupSet(
        tool_version="1", plan="default", name=set_name_at(moment), started_at=moment, ended_at=moment,
        members=tuple(members), patterns=read_databases(patterns).patterns,
    )  # fmt: skip
    store.put(store.key(set_file(made.name)), made.encode())
    for database in databases if done else ():
        store.put(store.key(f"{folder_for(database)}/{backup}{OBJECT}"), b"dump")


def seen(plan: Plan) -> dict[str, int]:
    """The current databases, and how many backups each has."""
    return {member.database: len(member.backups) for member in current_members(plan, NOON)}


def test_a_run_for_one_database_hides_no_other() -> None:
    """The newest set of the plan's own patterns says which databases there are; the backups of all runs count."""
    store = MemoryStore()
    store_set(store, 2, "*", "shop", "Crm")
    store_set(store, 3, "shop", "shop")
    assert seen(plan_by("*", store)) == {"shop": 2, "Crm": 1}
    assert seen(plan_by("shop", store)) == {"shop": 2}
    assert seen(plan_by("s*", store)) == {"shop": 2}


def test_a_name_that_is_missing_is_a_database_without_backups() -> None:
    """It is judged as such: what a plan names, and hasn't, must not look healthy."""
    store = MemoryStore()
    store_set(store, 2, "shop, crm", "shop", missing="crm")
    assert seen(plan_by("shop, crm", store)) == {"shop": 1, "crm": 0}


def test_when_a_server_was_backed_up() -> None:
    """By the set, so that one database without any backup doesn't make every start back up all of them again."""
    store = MemoryStore()
    plan = plan_by("*", store)
    assert last_backup_of(plan, NOON) is None
    store_set(store, 2, "*", "shop", missing="crm")
    store_set(store, 3, "shop", "shop")
    assert last_backup_of(plan, NOON) == NOON.replace(hour=2)
    assert last_backup_of(plan_by("other", store), NOON) is None
    store_set(store, 4, "*", "shop", "crm", done=False)
    assert last_backup_of(plan, NOON) is None
    assert last_backup_of(plan, NOON.replace(hour=1)) is None


def test_only_own_backups_are_pruned() -> None:
    """A folder of dumps without a manifest of this plan is another tool's, even if its name could be a database's."""
    store = MemoryStore()
    plan = plan_by("*", store)
    made = {"shop": "default/shop", "other": "nightly/other", "legacy": ""}
    for folder, name in made.items():
        for day in (1, 2):
            backup = f"backup_202601{day:02}_030000"
            store.put(store.key(f"{folder}/{backup}{OBJECT}"), b"dump")
            if name and day == 1:
                told = manifest(backup, plan=name).encode()
                store.put(store.key(f"{folder}/{backup}{MANIFEST}"), told)
    assert [member.database for member in own_members(plan)] == ["shop"]


def test_the_folders_of_databases_are_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the root of a bucket, a database's folder is beside the plan's, and is shown once all the same."""
    store = ObjectStore.at(
        endpoint="https://s3.example.com", bucket="b", prefix="/", key_id="key", secret=SecretStr("s")
    )
    shop = replace(PLAN, storage=store).member("shop").storage
    monkeypatch.setattr(survey, "folders_beside", lambda *_, **__: [replace(store, folder="shop")])
    assert survey._in_folders(store, inside=False, but={shop.folder}) == ([], "")


def test_the_latest_set_is_not_taken_for_all_there_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the patterns at hand, a restore of the newest set says if others took other databases."""
    run_plainly(monkeypatch)
    store = MemoryStore()
    plan = replace(plan_by("*", store), databases=None)
    store_set(store, 2, "*", "shop", "crm")
    assert choose_set(plan, LATEST_SET).counted == "2 of 2"
    assert not caplog.text
    store_set(store, 3, "shop", "shop")
    assert choose_set(plan, LATEST_SET).counted == "1 of 1"
    assert "taken by the patterns shop, and set_20261121_020000, with 2 of 2 databases, by *" in caplog.text
    assert choose_set(plan_by("*", store), LATEST_SET).counted == "2 of 2"
