"""A key check says which backups the keys at hand open, and reads hardly anything for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tasks.engine.age.files import encrypt
from tasks.engine.age.identities import Identity, new_identity
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.key_check import SAMPLE, check_keys, sample_of
from tasks.engine.repository.names import name_at
from tasks.engine.repository.repository import Repository
from tests.memory_store import MemoryStore

DAY = datetime(2026, 11, 1, 3, tzinfo=UTC)
OLD, NEW = new_identity()[1], new_identity()[1]


def backups(number: int) -> list[Backup]:
    days = [DAY + timedelta(days=n) for n in range(number)]
    return [
        Backup(name_at(day), day, f"backups/{name_at(day)}.sql.gz.age", 1, has_manifest=True, has_report=False)
        for day in days
    ]


def stored(keys: list[Identity]) -> tuple[MemoryStore, list[Backup]]:
    """Return a storage with a backup for each key."""
    store, made = MemoryStore(), backups(len(keys))
    for backup, key in zip(made, keys, strict=True):
        store.objects[backup.key] = encrypt(b"x" * 100_000, [key.recipient])
    return store, made


@pytest.mark.parametrize("number", [0, 1, 2, SAMPLE, SAMPLE + 1, 100, 1000])
def test_the_sample(number: int) -> None:
    """The newest and the oldest are in it, and the others are as far apart as can be."""
    made = backups(number)
    chosen = sample_of(made)
    assert len(chosen) == min(number, SAMPLE)
    assert [chosen[0], chosen[-1]] == [made[0], made[-1]] if number else chosen == []
    places = [made.index(backup) for backup in chosen]
    gaps = {after - before for before, after in pairwise(places)}
    assert len(gaps) <= 2
    assert len(set(places)) == len(places)


def test_keys_that_open_everything() -> None:
    """It is said with which key, and only the first bytes are read."""
    store, made = stored([OLD, OLD, OLD])
    found = check_keys(Repository(store), made, [NEW, OLD])
    assert found.sentence == f"3 of 3 backups can be opened with key {OLD.fingerprint}"
    assert not found.locked
    assert [call for call, _ in store.calls] == ["read"] * 3


def test_backups_that_other_keys_open() -> None:
    """They are named, and scripts get the same."""
    store, made = stored([OLD, NEW, NEW])
    found = check_keys(Repository(store), made, [NEW], label="shop/")
    assert found.sentence == f"2 of 3 backups can be opened with key {NEW.fingerprint}"
    assert found.which == f"shop/{made[0].name} (other keys)"
    assert found.document()["good"] is False
    assert found.document()["backups"][0] == {"backup": f"shop/{made[0].name}", "key": None, "problem": "other keys"}


def test_a_header_that_was_changed() -> None:
    """It opens with no key, and that is the reason given."""
    store, made = stored([OLD])
    store.objects[made[0].key] = store.objects[made[0].key].replace(b"--- ", b"--- A", 1)
    assert "malformed" in check_keys(Repository(store), made, [OLD]).which


def test_many_recipients() -> None:
    """A header that is longer than the first read is read whole."""
    store, made = stored([OLD])
    many = [new_identity()[1].recipient for _ in range(31)]
    store.objects[made[0].key] = encrypt(b"x" * 100_000, [*many, OLD.recipient])
    assert not check_keys(Repository(store), made, [OLD]).locked


def test_what_is_gone_or_plain_is_not_counted() -> None:
    """A backup that was removed meanwhile is no failure; plain ones are mentioned."""
    store, made = stored([OLD, OLD])
    del store.objects[made[0].key]
    plain = Backup("backup_20261201_000000", DAY, "backups/plain.sql.gz", 1, has_manifest=True, has_report=False)
    found = check_keys(Repository(store), [*made, plain], [OLD])
    assert found.sentence == f"1 of 1 backup can be opened with key {OLD.fingerprint}; 1 more backup not encrypted"
    assert check_keys(Repository(store), [plain], [OLD]).sentence == "None of 1 backup is encrypted"
