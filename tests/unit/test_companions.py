"""Roles and settings whose backup is gone are removed in the end, and never while anything could still need them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import StorageError, StorageUnreachable
from tasks.engine.repository.companions import remove_orphan
from tasks.engine.repository.names import ACKNOWLEDGED, GLOBALS, MANIFEST, OBJECT, name_at
from tasks.engine.repository.repository import Repository
from tasks.prune import _REFUSED, remove_orphans, tell_orphans
from tasks.sweep import sweep_stale_uploads
from tests.memory_store import MemoryStore

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
OLD = name_at(NOW - timedelta(days=9))
DAY = timedelta(days=1)


def bucket(name: str = OLD, *others: str, age: timedelta = DAY) -> MemoryStore:
    """A folder with a companion of an age, and other files of the same backup."""
    store = MemoryStore()
    for end in (GLOBALS, *others):
        store.objects[store.key(name + end)] = b"x"
        store.moments[store.key(name + end)] = NOW - age
    return store


def removed(store: MemoryStore, name: str = OLD) -> bool:
    """Whether the companion is removed, and nothing else ever is."""
    before = dict(store.objects)
    done = remove_orphan(Repository(store), name, NOW)
    gone = before.keys() - store.objects.keys()
    assert gone == ({store.key(name + GLOBALS)} if done else set())
    return done


def test_one_that_is_alone_goes() -> None:
    """Also if reports of drills and acknowledged anomalies are left: they restore nothing, and need no roles."""
    assert removed(bucket())
    assert removed(bucket(OLD, ".drill_20261122_000000.json", ACKNOWLEDGED))


@pytest.mark.parametrize("other", [OBJECT, MANIFEST])
def test_one_whose_backup_is_there_stays(other: str) -> None:
    """Its object or its manifest is enough, even if a listing lacked it."""
    assert not removed(bucket(OLD, other))


def test_one_that_is_young_stays() -> None:
    """A copy of a folder may have come to this file first, and a run may be about to write the manifest."""
    assert not removed(bucket(age=DAY - timedelta(seconds=1)))
    young = name_at(NOW - DAY + timedelta(seconds=1))
    assert not removed(bucket(young), young)
    future = name_at(NOW + DAY)
    assert not removed(bucket(future, age=9 * DAY), future)


def test_one_whose_object_is_on_its_way_stays() -> None:
    """A dump can take longer than a day."""
    store = bucket()
    store.begin_upload(store.key(OLD + OBJECT))
    assert not removed(store)


def three(monkeypatch: pytest.MonkeyPatch, error: StorageError) -> tuple[MemoryStore, list[str]]:
    """A folder with three companions that are alone, of which the first can't be deleted."""
    store, names = MemoryStore(), [name_at(NOW - timedelta(days=days)) for days in (30, 20, 10)]
    for name in names:
        store.objects[store.key(name + GLOBALS)] = b"x"
    remove = MemoryStore.remove

    def refuse(self: MemoryStore, key: str) -> bool:
        if names[0] in key:
            raise error
        return remove(self, key)

    monkeypatch.setattr(MemoryStore, "remove", refuse)
    monkeypatch.setattr("tasks.prune.utc_now", lambda: NOW)
    monkeypatch.setattr("tasks.prune.get_run_logger", lambda: logging.getLogger("test"))
    return store, names


def test_one_that_cannot_go_is_in_no_other_ones_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A locked file stays, the others go, and the log says how many of each, and what to do."""
    caplog.set_level(logging.INFO)
    store, names = three(monkeypatch, StorageError("it is locked"))
    assert remove_orphans.fn(Repository(store), names, ()) == 2
    assert list(store.objects) == [store.key(names[0] + GLOBALS)]
    refused, done = caplog.messages
    assert refused.startswith("Could not delete 1 file of roles and settings without a backup: ")
    assert refused.endswith("\nHINT: " + _REFUSED)
    assert done == f"Deleted 2 files of roles and settings without a backup: {names[1]}, {names[2]}"


def test_a_storage_that_is_away_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each request would wait in vain."""
    store, names = three(monkeypatch, StorageUnreachable("gone"))
    assert remove_orphans.fn(Repository(store), names, ()) == 0
    assert not [key for call, key in store.calls if names[1] in key]
    (warning,) = caplog.messages
    assert warning.startswith("Could not delete 3 files")
    assert warning.endswith(StorageUnreachable.hint)


def test_what_would_go_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A dry run looks as closely, names what a prune would delete, and deletes nothing."""
    caplog.set_level(logging.INFO)
    store, names = three(monkeypatch, StorageError())
    store.begin_upload(store.key(names[1] + OBJECT))
    before = dict(store.objects)
    assert tell_orphans.fn(Repository(store), names) == 2
    assert store.objects == before
    assert caplog.messages == [f"Would delete 2 files of roles and settings without a backup: {names[0]}, {names[2]}"]


def test_one_whose_upload_was_just_aborted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep before ended what would have said that the object is on its way: the next prune asks again."""
    store, names = three(monkeypatch, StorageError())
    monkeypatch.setattr("tasks.sweep.utc_now", lambda: NOW)
    monkeypatch.setattr("tasks.sweep.get_run_logger", lambda: logging.getLogger("test"))
    store.uploads["old"] = (store.key(names[1] + OBJECT), NOW - 2 * DAY, {})
    swept = sweep_stale_uploads.fn(Repository(store))
    assert (swept, store.uploads) == ([store.key(names[1] + OBJECT)], {})
    assert remove_orphans.fn(Repository(store), names[1:], swept) == 1
    assert store.key(names[1] + GLOBALS) in store.objects
    assert remove_orphans.fn(Repository(store), names[1:], ()) == 1


def test_what_we_did_not_make_stays() -> None:
    """Whoever named a file like one of ours may need it."""
    store = bucket()
    store.foreign.add(store.key(OLD + GLOBALS))
    assert not removed(store)
    assert not removed(bucket(OLD + "_copy"), OLD + "_copy")


def test_without_an_answer_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that can't say whether an upload is on its way leaves doubt."""

    def denied(_self: MemoryStore, *keys: str) -> set[str]:
        raise StorageError(keys[0])

    monkeypatch.setattr(MemoryStore, "uploads_of", denied)
    store = bucket()
    with pytest.raises(StorageError):
        remove_orphan(Repository(store), OLD, NOW)
    assert store.key(OLD + GLOBALS) in store.objects


@given(st.dictionaries(st.integers(0, 5), st.sets(st.sampled_from([OBJECT, GLOBALS, MANIFEST, ACKNOWLEDGED, ".x"]))))
def test_a_listing_names_those_that_are_alone(files: dict[int, set[str]]) -> None:
    """Exactly the names of which there is a companion without object and manifest; each backup is listed as before."""
    store = MemoryStore()
    for hours, ends in files.items():
        store.objects |= {store.key(name_at(NOW - timedelta(hours=hours)) + end): b"x" for end in ends}
    listing = Repository(store).listing(NOW)
    assert listing.backups == tuple(Repository(store).backups())
    alone = [n for n, ends in files.items() if GLOBALS in ends and not ends & {OBJECT, MANIFEST}]
    assert listing.orphans == tuple(sorted(name_at(NOW - timedelta(hours=hours)) for hours in alone))
