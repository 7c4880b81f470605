"""Locked buckets, keys that may only write, and rules of the bucket that remove what is old, on real storages."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from blocks.s3 import conditions
from blocks.s3.client import ObjectStore
from blocks.s3.rules import Rules, ask_rules
from blocks.s3.terms import Terms
from blocks.sql.server import Server
from flows.demo.services import Storage
from flows.prune import prune
from tasks.clock import utc_now
from tasks.engine.repository.names import MANIFEST, OBJECT, name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tasks.prune import plan_retention
from tasks.status.check_bucket import check_rules, check_storage
from tests.conftest import Ended, FlowRun, NewDatabase
from tests.integration.objects import LIBRARY, copied, take_backup
from tests.integration.s3_servers import running_moto
from tests.plans import plan_of

LOCKED = "locked"


@pytest.fixture(scope="module")
def server(storage_server: Storage) -> Storage:
    """A bucket with Object Lock beside the one that all tests share."""
    client = storage_server.store("").client
    client.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
    return replace(storage_server, bucket=LOCKED)


@pytest.fixture
def locked(server: Storage) -> ObjectStore:
    """A folder in it, where each object is locked for 14 days."""
    return replace(server.store(secrets.token_hex(4)), terms=Terms(lock_days=14))


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    return new_database(16, LIBRARY)


@pytest.fixture
def old_backup(locked: ObjectStore, library: Server, clients: dict[int, Client]) -> str:
    """An old backup that is locked, beside a new one that isn't."""
    name = name_at(utc_now() - timedelta(days=30))
    take_backup(locked, library, clients[16], name=name)
    copied(locked, name_at(utc_now()), name)
    return name


def versions(store: ObjectStore, key: str) -> list[str]:
    found = store.client.list_object_versions(Bucket=store.bucket, Prefix=key).get("Versions", [])
    return [v["VersionId"] for v in found if v["Key"] == key]


def environment(store: ObjectStore) -> dict[str, str]:
    return {"S3_BUCKET": store.bucket, "BACKUP_PREFIX": store.folder}


def results(findings: list[Any]) -> dict[str, str]:
    return {found.name: found.result for found in findings}


def test_each_object_of_a_backup_is_locked(
    locked: ObjectStore, library: Server, command_line: Callable[..., Ended]
) -> None:
    """All that a backup writes shows a lock of 14 days, and so does an object that went in parts."""
    done = command_line("backup", server=library, S3_OBJECT_LOCK_DAYS="14", **environment(locked))
    assert done.status == 0, done.out + done.err
    key = locked.key("in parts")
    upload = locked.begin_upload(key)
    locked.complete_upload(key, upload, [locked.put_part(key, upload, 1, b"a part")])
    stored = [found.key for found in locked.list_objects()]
    assert len(stored) == 4
    for name in stored:
        found = locked.stat(name)
        assert found
        assert found.hold
        assert found.hold.until
        assert found.hold.mode == "governance"
        assert timedelta(days=13) < found.hold.until - utc_now() < timedelta(days=14, minutes=1)


def test_what_a_lock_holds_is_due_and_stays(
    locked: ObjectStore, old_backup: str, command_line: Callable[..., Ended]
) -> None:
    """A prune removes nothing that is locked, says until when it is, and does not fail."""
    done = command_line("prune", **environment(locked))
    assert done.status == 0, done.out + done.err
    assert "1 is due, but locked, the first until 20" in done.out + done.err
    assert locked.stat(locked.key(old_backup + OBJECT))
    assert locked.stat(locked.key(old_backup + MANIFEST))
    shown = command_line("prune", "--dry-run", **environment(locked))
    assert "due, but locked until 20" in shown.out


def test_it_goes_when_the_lock_ends(
    locked: ObjectStore, old_backup: str, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its lock a backup is removed; what a bucket with versions keeps of it can't be destroyed by us."""
    later = utc_now() + timedelta(days=20)
    monkeypatch.setattr("tasks.prune.utc_now", lambda: later)
    done = flow_run(prune, environ=environment(locked), even_if_stale=True)
    assert [b.name for b in done.result.removals] == [old_backup]
    key = locked.key(old_backup + OBJECT)
    assert locked.stat(key) is None
    (version,) = versions(locked, key)
    with pytest.raises(ClientError, match="AccessDenied"):
        locked.client.delete_object(Bucket=locked.bucket, Key=key, VersionId=version)


def test_a_legal_hold_has_no_end(locked: ObjectStore, library: Server, clients: dict[int, Client]) -> None:
    """A backup under a legal hold stays, whatever its lock says, and the report names the hold."""
    store = replace(locked, terms=Terms())
    name = name_at(utc_now() - timedelta(days=30))
    take_backup(store, library, clients[16], name=name)
    copied(store, name_at(utc_now()), name)
    store.client.put_object_legal_hold(Bucket=store.bucket, Key=store.key(name + OBJECT), LegalHold={"Status": "ON"})
    decided = plan_retention.fn(plan_of(store), Repository(store))
    assert decided.removals == []
    assert [d.reason for d in decided.decisions if d.due] == ["due, but under a legal hold, which has no end"]


def test_a_bucket_that_locks_by_default(server: Storage) -> None:
    """Its retention is seen on each object and by `check`, which warns that it outlasts ours."""
    store = replace(server, bucket="locks-by-default").store("backups")
    store.client.create_bucket(Bucket=store.bucket, ObjectLockEnabledForBucket=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}}
    store.client.put_object_lock_configuration(Bucket=store.bucket, ObjectLockConfiguration=rule)
    assert store.put_new(store.key("a"), b"a")
    found = store.stat(store.key("a"))
    assert found
    assert found.hold
    assert found.hold.mode == "compliance"
    rules = ask_rules(store)
    assert (rules.versions, rules.locks, rules.default_lock_days, rules.default_lock_mode) == (
        True,
        True,
        30,
        "compliance",
    )
    told = {f.name: f.text for f in check_rules(plan_of(store), rules)}
    assert "locked for 30 days, and backups are kept for 7" in told["object lock"]
    assert "old versions" in told


def test_a_check_tries_the_lock(locked: ObjectStore, storage: ObjectStore) -> None:
    """It is found out before the first backup whether locks are taken: in a bucket without them, they are not."""
    assert results(check_storage(plan_of(locked, retention_days=14)))["object lock"] == "ok"
    unlocked = replace(storage, terms=Terms(lock_days=14))
    assert results(check_storage(plan_of(unlocked, retention_days=14)))["object lock"] in ("error", "warning")


def test_a_check_finds_out_whether_overwriting_is_refused(
    storage: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it found is remembered on this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not storage.conditional
    assert results(check_storage(plan_of(storage)))["overwriting"] == "ok"
    assert conditions.known(storage.endpoint, storage.bucket)
    assert storage.conditional
    assert list(storage.list_objects()) == []


def test_a_storage_of_its_own_needs_a_digest_for_locks(tmp_path: Path) -> None:
    """Like Amazon, Moto rejects a locked object without a digest: one is sent whenever a lock is asked for."""
    with running_moto(tmp_path) as moto:
        store = replace(moto.store("backups"), bucket="locks", terms=Terms(lock_days=2, lock_mode="compliance"))
        store.client.create_bucket(Bucket="locks", ObjectLockEnabledForBucket=True)
        assert store.put_new(store.key("a"), b"a")
        found = store.stat(store.key("a"))
        assert found
        assert found.hold
        assert found.hold.mode == "compliance"


def test_keys_that_may_only_write_make_backups(
    storage_server: Storage, storage: ObjectStore, library: Server, command_line: Callable[..., Ended]
) -> None:
    """They say once what they can't look at, and what they made is a whole backup."""
    keys = {n: v for n, v in storage_server.as_writer().environment().items() if "KEY" in n}
    done = command_line("backup", server=library, **keys)
    assert done.status == 0, done.out + done.err
    said = done.out + done.err
    assert said.count("WARNING: ") - said.count("WARNING: HINT") == said.count("The keys may not look into") == 1, said
    (made,) = Repository(storage).backups()
    assert made.has_manifest
    assert Repository(storage).manifest(made)
    checked = command_line("check", server=library, **keys)
    assert checked.status == 0, checked.out + checked.err
    assert "the keys may not" in checked.err


def test_nothing_is_deleted_where_others_do_it(
    storage: ObjectStore, library: Server, clients: dict[int, Client], command_line: Callable[..., Ended]
) -> None:
    """With `PRUNE=elsewhere` a prune says what is due, and what a rule of the bucket may break."""
    name = name_at(utc_now() - timedelta(days=30))
    take_backup(storage, library, clients[16], name=name)
    copied(storage, name_at(utc_now()), name)
    before = {found.key for found in storage.list_objects()}
    done = command_line("prune", PRUNE="elsewhere")
    said = done.out + done.err
    assert done.status == 0, said
    assert "Of these, 1 is due, and not removed here" in said
    assert {found.key for found in storage.list_objects()} == before
    store = replace(storage, terms=Terms(removes=False))
    assert not store.remove(store.key(name + OBJECT))
    assert results(check_storage(plan_of(store)))["lifecycle"] == "warning"


def test_a_rule_of_the_bucket_that_breaks_what_retention_keeps(
    server: Storage, library: Server, clients: dict[int, Client], caplog: pytest.LogCaptureFixture
) -> None:
    """The newest backup is older than the bucket's rule: the prune warns that it will be gone."""
    store = replace(server, bucket="expires").store("backups")
    store = replace(store, terms=Terms(removes=False))
    store.client.create_bucket(Bucket=store.bucket)
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "backups/"}, "Expiration": {"Days": 3}}
    store.client.put_bucket_lifecycle_configuration(Bucket=store.bucket, LifecycleConfiguration={"Rules": [rule]})
    name = name_at(utc_now() - timedelta(days=5))
    take_backup(store, library, clients[16], name=name)
    with caplog.at_level("WARNING"):
        plan_retention.fn(plan_of(store), Repository(store))
    assert f"the bucket's rule of 3 days removes what retention keeps: 1 of 1 backups, {name}" in caplog.text
    assert results(check_storage(plan_of(store)))["lifecycle"] == "warning"
    assert ask_rules(store) == Rules(False, False, None, "", 3, 0)
