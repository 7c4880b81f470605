"""A place that lacks backups gets them from another one, whole or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.config.copying import Copying
from blocks.config.destinations import Destination, RetentionRules
from blocks.config.plan import Plan
from blocks.disk.folder_store import FolderStore
from blocks.errors import BackupDamaged, PgRoundtripError, StorageError, StorageUnreachable
from tasks import copies
from tasks.copies import catch_up
from tasks.engine.repository.catch_up import IDLE, behind_since, clear_the_way, copy_backup, copy_from_any, is_late
from tasks.engine.repository.manifest import GlobalsRecord, Manifest
from tasks.engine.repository.names import GLOBALS, MANIFEST, OBJECT, name_at
from tasks.engine.repository.places import Places
from tasks.engine.repository.places import read_places as read_places_at
from tasks.engine.repository.repository import Repository
from tests.memory_store import MemoryStore
from tests.plans import plan_of

NOW = datetime.now(UTC).replace(microsecond=0)


def read_places(plan: Plan) -> Places:
    """Look into each place now."""
    return read_places_at(plan, NOW)


def ago(hours: float) -> str:
    return name_at(NOW - timedelta(hours=hours))


def store_backup(store: Any, name: str, data: bytes = b"the object", companion: bytes = b"") -> Manifest:
    """Store a backup as a run does."""
    moment = datetime.strptime(name, "backup_%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    record = GlobalsRecord(
        file=name + GLOBALS, raw_bytes=1, object_bytes=len(companion), sha256=hashlib.sha256(companion).hexdigest(),
        client_version="16.1",
    )  # fmt: skip
    made = Manifest(
        tool_version="1", plan="default", name=name, database="shop", server_version="16.1", client_version="16.1",
        encoding="UTF8", collation="C", started_at=moment, ended_at=moment, raw_bytes=1, object_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(), compression="gzip 6", schema_digest="0" * 32, schema_statements=0, tables=(),
        extensions={}, roles=(), sequences=(), character_type="C", large_objects=0, large_object_digest="0" * 32,
        globals=record if companion else None,
    )  # fmt: skip
    store.put(store.key(name + OBJECT), data)
    Repository(store).commit(made, companion)
    return made


def all_of(store: Any) -> dict[str, bytes]:
    """Return the contents of every file in a place, by its name."""
    return {o.key.removeprefix(store.key("")): store.get(o.key) for o in store.list_objects()}


@dataclass
class Two:
    """A plan with two places."""

    primary: Any
    copy: Any
    plan: Plan
    warned: list[str] = field(default_factory=list)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    """A plan with two folders as its places."""
    stores = []
    for name in ("primary", "copy"):
        (tmp_path / name).mkdir()
        stores.append(FolderStore.at(str(tmp_path / name), "shop"))
    plan = replace(plan_of(stores[0]), copies=(Destination("copy", stores[1], RetentionRules(7)),), copying=Copying())
    made = Two(stores[0], stores[1], plan)
    logger = SimpleNamespace(info=lambda *_: None, warning=lambda text, *given: made.warned.append(text % given))
    monkeypatch.setattr(copies, "get_run_logger", lambda: logger)
    monkeypatch.setattr(copies, "copy_one", copies.copy_one.fn)
    return made


def test_what_is_behind_is_copied(two: Two) -> None:
    """The place has the same files afterwards, byte for byte, and a second run finds nothing to do."""
    store_backup(two.primary, ago(3), companion=b"roles")
    store_backup(two.primary, ago(2))
    store_backup(two.primary, ago(1), b"another object")
    store_backup(two.copy, ago(1), b"another object")
    made = catch_up(two.plan, read_places(two.plan))
    assert [(place, one.backup.name) for place, one in made.done] == [("copy", ago(2)), ("copy", ago(3))]
    assert all_of(two.copy) == all_of(two.primary)
    assert (made.failed, made.left, two.warned) == ([], 0, [])
    assert read_places(two.plan).missing == {"primary": [], "copy": []}


def test_the_first_place_is_caught_up_with_as_well(two: Two) -> None:
    """A first place that was down gets its backups from the copy."""
    store_backup(two.copy, ago(1))
    catch_up(two.plan, read_places(two.plan))
    assert all_of(two.primary) == all_of(two.copy) != {}


def test_a_backup_copies_only_the_newest(two: Two) -> None:
    """The newest go first, and a run that has other things to do leaves the rest to the next one."""
    for hours in range(1, 6):
        store_backup(two.primary, ago(hours))
    made = catch_up(two.plan, read_places(two.plan), most=2)
    assert ([one.backup.name for _, one in made.done], made.left) == ([ago(1), ago(2)], 3)


def test_one_backup_alone(two: Two) -> None:
    """A backup can be named, with or without the end of its object's name."""
    store_backup(two.primary, ago(2))
    store_backup(two.primary, ago(1))
    made = catch_up(two.plan, read_places(two.plan), ago(2) + OBJECT)
    assert [one.backup.name for _, one in made.done] == [ago(2)]


def test_what_would_go_at_once_is_not_copied(two: Two) -> None:
    """A backup that the place's own retention policy would remove is not missed there."""
    store_backup(two.primary, ago(1))
    store_backup(two.primary, ago(24 * 10))
    assert [m.backup.name for m in read_places(two.plan).missing["copy"]] == [ago(1)]
    longer = replace(two.plan, copies=(replace(two.plan.copies[0], retention=RetentionRules(30)),))
    assert [m.backup.name for m in read_places(longer).missing["copy"]] == [ago(1), ago(24 * 10)]


def test_a_damaged_backup_is_not_copied(two: Two) -> None:
    """Bytes that are not those of the manifest become visible nowhere, and the next backup is copied all the same."""
    store_backup(two.primary, ago(2))
    store_backup(two.primary, ago(1))
    two.primary.put(two.primary.key(ago(1) + OBJECT), b"the objecT")
    made = catch_up(two.plan, read_places(two.plan))
    assert [one.backup.name for _, one in made.done] == [ago(2)]
    assert [(to, name, type(error)) for to, name, error in made.failed] == [("copy", ago(1), BackupDamaged)]
    assert {file for file in all_of(two.copy) if file.startswith(ago(1))} == set()
    assert "could not be copied to copy" in two.warned[0]


@pytest.mark.parametrize("what", [OBJECT, GLOBALS], ids=["object", "companion"])
@pytest.mark.parametrize("data", [b"the object and more", b"the", b"the objecT"])
def test_nothing_wrong_becomes_a_copy(what: str, data: bytes) -> None:
    """An object or a companion that is shorter, longer or other than its manifest says is no backup in the other place."""
    source, target = MemoryStore("one"), MemoryStore("two")
    store_backup(source, ago(1), companion=b"the object")
    source.objects[source.key(ago(1) + what)] = data
    backup = Repository(source).backups()[0]
    with pytest.raises(BackupDamaged):
        copy_backup(Repository(source), Repository(target), backup)
    assert not any(key.endswith(MANIFEST) for key in target.objects)
    assert target.uploads == {}


def test_a_copy_that_was_cut_short_goes_on(two: Two) -> None:
    """An object whose manifest is missing is read again instead of being sent again, and never replaced."""
    made = store_backup(two.primary, ago(1))
    two.copy.put(two.copy.key(ago(1) + OBJECT), b"the object")
    stored_at = two.copy.stat(two.copy.key(ago(1) + OBJECT)).modified_at
    catch_up(two.plan, read_places(two.plan))
    assert all_of(two.copy)[ago(1) + MANIFEST] == made.encode()
    assert two.copy.stat(two.copy.key(ago(1) + OBJECT)).modified_at == stored_at


@pytest.mark.parametrize("file", [OBJECT, GLOBALS])
def test_nothing_is_overwritten(two: Two, file: str) -> None:
    """What has the name of a backup's file in the other place stays, and the run says so."""
    store_backup(two.primary, ago(1), companion=b"roles")
    two.copy.put(two.copy.key(ago(1) + file), b"something else")
    made = catch_up(two.plan, read_places(two.plan))
    assert "another object has this name" in made.failed[0][2].sentence
    assert all_of(two.copy)[ago(1) + file] == b"something else"
    assert ago(1) + MANIFEST not in all_of(two.copy)


def test_two_runs_do_not_copy_the_same() -> None:
    """A run gives way to another one that copies the same backup at this moment, and leaves no upload."""
    source, target = MemoryStore("one"), MemoryStore("two")
    store_backup(source, ago(1))
    backup = Repository(source).backups()[0]
    target.begin_upload(target.key(ago(1) + OBJECT))
    assert not copy_backup(Repository(source), Repository(target), backup)
    assert (target.objects, len(target.uploads)) == ({}, 1)


def test_what_a_killed_run_left_is_aborted(two: Two) -> None:
    """An upload that nothing was added to for an hour claims the name no longer; a younger one does."""
    store_backup(two.primary, ago(1))
    key = two.copy.key(ago(1) + OBJECT)
    left = two.copy.begin_upload(key)
    assert [one.backup for _, one in catch_up(two.plan, read_places(two.plan)).done] == []
    assert two.copy.uploads_of(key) == {left}
    backup = Repository(two.primary).backups()[0]
    assert clear_the_way(Repository(two.copy), backup, NOW) == 0
    assert clear_the_way(Repository(two.copy), backup, datetime.now(UTC) + 2 * IDLE) == 1
    assert two.copy.uploads_of(key) == set()
    catch_up(two.plan, read_places(two.plan))
    assert ago(1) + MANIFEST in all_of(two.copy)


def test_another_place_may_have_good_bytes() -> None:
    """What one place can't give, a third one may."""
    bad, good, target = MemoryStore("one"), MemoryStore("two"), MemoryStore("three")
    for store in (bad, good):
        store_backup(store, ago(1))
    bad.objects[bad.key(ago(1) + OBJECT)] = b"the objecT"
    backup = Repository(bad).backups()[0]
    assert copy_from_any([Repository(bad), Repository(good)], Repository(target), backup)
    assert target.objects[target.key(ago(1) + OBJECT)] == b"the object"


def test_a_place_that_is_down_stops_only_itself(two: Two, tmp_path: Path) -> None:
    """The other places get what they lack; the one that is down is named with its error."""
    away = FolderStore.at(str(tmp_path / "not mounted"), "shop")
    plan = replace(two.plan, copies=(Destination("copy", away), Destination("copy2", two.copy)))
    store_backup(two.primary, ago(1))
    places = read_places(plan)
    assert list(places.away) == ["copy"]
    assert [place for place, _ in catch_up(plan, places).done] == ["copy2"]
    nowhere = replace(plan, storage=away, copies=(Destination("copy", away),))
    with pytest.raises(StorageError):
        read_places(nowhere)


def test_a_transient_fault_ends_the_run_for_its_place(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that fails for the moment isn't asked for each of a hundred backups."""
    for hours in (1, 2, 3):
        store_backup(two.primary, ago(hours))
    asked: list[str] = []

    def failing(_sources: object, _target: object, one: Any, _name: str) -> bool:
        asked.append(one.backup.name)
        raise StorageUnreachable("away")

    monkeypatch.setattr(copies, "copy_one", failing)
    made = catch_up(two.plan, read_places(two.plan))
    assert (asked, made.left) == ([ago(1)], 3)


def test_no_backup_goes_where_another_database_keeps_its_own(two: Two) -> None:
    """A copy's folder that is another database's is refused as the first place's would be."""
    store_backup(two.primary, ago(1))
    other = store_backup(two.copy, ago(2))
    two.copy.remove(two.copy.key(ago(2) + MANIFEST))
    two.copy.put(two.copy.key(ago(2) + MANIFEST), other.model_copy(update={"database": "other"}).encode())
    plan = replace(two.plan, backups_of="shop")
    made = catch_up(plan, read_places(plan))
    assert made.done == []
    assert isinstance(made.failed[0][2], PgRoundtripError)
    assert "another database" in made.failed[0][2].sentence


def test_how_far_behind_a_place_is(two: Two) -> None:
    """A place is behind since the oldest backup that it should have; what was taken before it was a place is not late."""
    for hours in (30, 20, 1):
        store_backup(two.primary, ago(hours))
    store_backup(two.copy, ago(25))
    places = read_places(two.plan)
    since = behind_since(places.folders["copy"].backups, places.missing["copy"])
    assert since == places.behind_since("copy") == NOW - timedelta(hours=20)
    assert (is_late(since, timedelta(hours=19), NOW), is_late(since, timedelta(hours=21), NOW)) == (True, False)
    assert is_late(None, timedelta(0), NOW) is False
