"""Kept backups get other keys, and nothing is lost if that is killed at any moment."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.config.destinations import RetentionRules
from blocks.config.encryption import Encryption
from blocks.errors import BackupDamaged, ConfigurationError, KeyMissing
from tasks.engine.age.files import decrypt, encrypt
from tasks.engine.age.identities import identities_in, new_identity
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.manifest import GlobalsRecord
from tasks.engine.repository.names import companion_file, object_file
from tasks.engine.repository.rekey import has_other_keys, rekey, require_new_key
from tasks.engine.repository.rekeyed import REKEYED
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.rotation import rotation_of
from tasks.engine.repository.sealed_manifest import encoded
from tests.memory_store import MemoryStore
from tests.unit.test_catalog import FIRST, manifest

OLD, (NEW_LINE, NEW) = new_identity(), new_identity()
OLD_LINE = OLD[0]
PLAIN = bytes(range(256)) * 1000
LARGE = bytes(range(256)) * (17 << 12)  # 17 MiB: three parts
ROLES = b"roles" * 100
NAME = FIRST


@dataclass
class Killed(MemoryStore):
    """A storage whose user is killed before the request of this number that changes anything."""

    left: int = 1 << 30

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def put(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        self._live()
        super().put(key, data, content_type)

    def put_part(self, *args: Any) -> str:
        self._live()
        return super().put_part(*args)

    def begin_upload(self, key: str) -> str:
        self._live()
        return super().begin_upload(key)

    def abort_upload(self, key: str, upload_id: str) -> None:
        self._live()
        super().abort_upload(key, upload_id)


def repository(store: MemoryStore, *, new: bool) -> Repository:
    """Open it as configured before the change of keys, or after."""
    return Repository(store, Keys(Encryption((NEW if new else OLD[1]).recipient.text)))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Killed:
    """A storage with a backup that is encrypted to the old key, with roles beside it; both private keys are at hand."""
    monkeypatch.setenv("AGE_IDENTITY", f"{OLD_LINE}\n{NEW_LINE}")
    return stored(PLAIN)


def stored(plain: bytes) -> Killed:
    store, recipients = Killed(), [OLD[1].recipient]
    payload, roles = encrypt(plain, recipients), encrypt(ROLES, recipients)
    record = GlobalsRecord(
        file=companion_file(NAME, encrypted=True), raw_bytes=1, object_bytes=len(roles),
        sha256=hashlib.sha256(roles).hexdigest(), client_version="18.0",
    )  # fmt: skip
    made = manifest(NAME).model_copy(
        update={
            "object_bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest(), "globals": record,
            "recipients": (OLD[1].recipient.text,),
        }
    )  # fmt: skip
    store.put(store.key(object_file(NAME, encrypted=True)), payload)
    store.put(store.key(record.file), roles)
    store.put(store.key(f"{NAME}.manifest.json"), encoded(made, repository(store, new=False).keys))
    return store


def kept(store: MemoryStore) -> Backup:
    (backup,) = repository(store, new=True).backups()
    return backup


def require_whole(store: MemoryStore, plain: bytes = PLAIN) -> None:
    """Whoever has the keys can read all of the backup, and every digest holds."""
    backup, opener = kept(store), repository(store, new=True)
    made = opener.manifest(backup)
    assert made
    assert made.globals
    data = b"".join(opener.read(backup))
    assert (made.object_bytes, made.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert decrypt(data, opener.keys.identities(), len(plain)) == plain
    roles = opener.companion(made.globals.file)
    assert hashlib.sha256(roles).hexdigest() in (made.globals.sha256, made.globals.before)
    assert decrypt(roles, opener.keys.identities(), 1000) == ROLES
    outline = opener.outline(backup)
    assert outline
    assert outline.sha256 == made.sha256


def change_keys(store: MemoryStore) -> None:
    opener = repository(store, new=True)
    rekey(opener, kept(store), opener.keys.identities(), opener.keys.recipients)


def test_the_new_key_opens_it_and_the_old_one_does_not(store: Killed, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three parts of a backup get the new keys: object, manifest, roles and settings."""
    assert has_other_keys(repository(store, new=True), kept(store), [NEW.recipient])
    change_keys(store)
    assert not has_other_keys(repository(store, new=True), kept(store), [NEW.recipient])
    monkeypatch.setenv("AGE_IDENTITY", NEW_LINE)
    require_whole(store)
    made = repository(store, new=True).manifest(kept(store))
    assert made
    assert made.globals
    assert (made.recipients, made.globals.before) == ((NEW.recipient.text,), "")
    monkeypatch.setenv("AGE_IDENTITY", OLD_LINE)
    with pytest.raises(KeyMissing):
        repository(store, new=True).manifest(kept(store))
    for data in store.objects.values():
        assert OLD[1].recipient.text.encode() not in data
        if data.startswith(b"age-encryption.org"):
            with pytest.raises(KeyMissing):
                decrypt(data, identities_in(OLD_LINE), len(PLAIN))


def test_the_storage_copies_what_stays_the_same(store: Killed) -> None:
    """Of a large backup, only the header and what fills its part are sent."""
    store = stored(LARGE)
    change_keys(store)
    assert ("copy", kept(store).key) in store.calls
    require_whole(store, LARGE)


def test_a_kill_at_any_moment_loses_nothing(store: Killed, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment what is listed can be read, and the next attempt finishes it."""
    before, kills = dict(store.objects), 0
    monkeypatch.setenv("AGE_IDENTITY", f"{OLD_LINE}\n{NEW_LINE}")
    while True:
        store.objects, store.left = dict(before), kills
        try:
            change_keys(store)
            break
        except KeyboardInterrupt:
            pass
        finally:
            store.left = 1 << 30
        require_whole(store)
        change_keys(store)
        require_whole(store)
        assert REKEYED not in json.loads(store.objects[store.key(f"{NAME}.manifest.json")])
        assert not has_other_keys(repository(store, new=True), kept(store), [NEW.recipient])
        kills += 1
    assert kills >= 5


def test_a_damaged_backup_keeps_its_keys(store: Killed) -> None:
    """What is not as the manifest says is not written again: evidence would be lost."""
    key = kept(store).key
    store.objects[key] = store.objects[key][:-1] + b"x"
    before = dict(store.objects)
    with pytest.raises(BackupDamaged, match="keeps its keys"):
        change_keys(store)
    assert store.objects == before


def test_keys_that_do_not_open_it_change_nothing(store: Killed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who can read a backup can let others read it."""
    monkeypatch.setenv("AGE_IDENTITY", NEW_LINE)
    before = dict(store.objects)
    with pytest.raises(KeyMissing):
        change_keys(store)
    assert store.objects == before


def test_a_new_key_that_nobody_has_is_refused() -> None:
    """Backups that nobody can open are worth nothing."""
    with pytest.raises(ConfigurationError, match="None of the private keys"):
        require_new_key([OLD[1]], [NEW.recipient])
    require_new_key([OLD[1], NEW], [NEW.recipient])


def test_what_only_old_keys_open() -> None:
    """They are counted by their keys, with the moment at which retention has removed them at the latest."""
    day = datetime(2026, 11, 1, tzinfo=UTC)
    backups = [
        Backup(
            f"backup_2026110{n}_000000", day.replace(day=n), f"{n}.sql.gz.age", 1, has_manifest=True, has_report=False
        )
        for n in (1, 2, 3, 4)
    ]
    old, new = OLD[1].fingerprint, NEW.fingerprint
    keys = dict(zip((b.name for b in backups), [(old,), (old,), (old, new)], strict=False))
    found = rotation_of(backups, keys, [NEW.recipient], RetentionRules(7, {"weekly": 4}))
    assert (found.opened, found.unknown) == (1, 1)
    (others,) = found.others
    assert (others.keys, len(others.backups)) == ((old,), 2)
    assert others.until == datetime(2026, 11, 30, tzinfo=UTC)
    assert rotation_of(backups, keys, [NEW.recipient], RetentionRules(7, {"last": 4})).others[0].until is None
