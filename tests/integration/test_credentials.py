"""Keys that nobody gave are those that the AWS SDK finds, if that is asked for; and the storage encrypts as it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blocks.config.load import Need, load_settings
from blocks.config.plan import Plan
from blocks.config.secrets import mask_of
from blocks.errors import ConfigurationError, StorageDenied
from blocks.plan import BackupPlan
from blocks.s3 import session
from flows.demo.services import Storage
from tests.plans import plan_of

NEEDS: frozenset[Need] = frozenset({"storage"})


@pytest.fixture
def keyless(storage_server: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment without keys, on a machine whose profile `backups` has them."""
    profile = f"aws_access_key_id = {storage_server.key_id}\naws_secret_access_key = {storage_server.secret}\n"
    (tmp_path / "credentials").write_text(f"[backups]\n{profile}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(session, "_found", [])
    return {"S3_ENDPOINT": storage_server.endpoint, "S3_BUCKET": storage_server.bucket, "BACKUP_PREFIX": tmp_path.name}


def plan_in(given: dict[str, str], **more: str) -> Plan:
    return Plan.from_settings(load_settings(NEEDS, {**given, **more}))


def test_keys_of_a_profile_are_used_and_masked(
    keyless: dict[str, str], storage_server: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `S3_CREDENTIALS=sdk`, AWS_PROFILE is enough, and its secret is as secret as one that was given."""
    monkeypatch.setenv("AWS_PROFILE", "backups")
    plan = plan_in(keyless, S3_CREDENTIALS="sdk")
    assert plan.storage.put_new(plan.storage.key("a"), b"a")
    assert plan.storage.get(plan.storage.key("a")) == b"a"
    assert mask_of(plan)(f"the key is {storage_server.secret}") == "the key is ***"


def test_nothing_is_looked_for_unasked(keyless: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that setting, keys are required as before, whatever this machine's files have."""
    monkeypatch.setenv("AWS_PROFILE", "backups")
    with pytest.raises(ConfigurationError, match="S3_ACCESS_KEY_ID is not set"):
        plan_in(keyless)


def test_where_no_keys_are_found(keyless: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without keys is one sentence with a hint, and so is a profile that isn't there."""
    for profile in ("", "missing"):
        if profile:
            monkeypatch.setenv("AWS_PROFILE", profile)
        with pytest.raises(StorageDenied, match="S3 request failed") as raised:
            list(plan_in(keyless, S3_CREDENTIALS="sdk").storage.list_objects())
        assert "AWS_PROFILE" in raised.value.hint


def test_a_saved_plan_without_keys(keyless: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of such a plan says so, holds no keys, and finds them where it is used."""
    monkeypatch.setenv("AWS_PROFILE", "backups")
    given = {**keyless, "S3_CREDENTIALS": "sdk", "S3_OBJECT_LOCK_DAYS": "14", "S3_SSE": "AES256", "PRUNE": "elsewhere"}
    block = BackupPlan.from_settings(load_settings(NEEDS, given))
    assert {name: block.described().get(name) for name in given} == given
    storage: Any = block.plan("shop").storage
    assert list(storage.list_objects()) == []
    assert (storage.terms.lock_days, storage.terms.encryption, storage.terms.removes) == (14, "AES256", False)


def test_the_storage_encrypts(storage_server: Storage, tmp_path: Path) -> None:
    """`S3_SSE` is asked for each object, in one request or in parts."""
    given = {**storage_server.environment(), "BACKUP_PREFIX": tmp_path.name, "S3_SSE": "AES256"}
    storage: Any = plan_of(plan_in(given).storage).storage
    storage.put_new(storage.key("a"), b"a")
    storage.put(storage.key("b"), b"b")
    upload = storage.begin_upload(storage.key("c"))
    storage.complete_upload(storage.key("c"), upload, [storage.put_part(storage.key("c"), upload, 1, b"c")])
    for name in "abc":
        found = storage.client.head_object(Bucket=storage.bucket, Key=storage.key(name))
        assert found["ServerSideEncryption"] == "AES256"
        assert storage.get(storage.key(name)) == name.encode()


def test_a_copy_without_keys(keyless: dict[str, str], storage_server: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """`COPY_S3_CREDENTIALS=sdk` is for that place alone, also in a saved plan; without it, its keys are required."""
    monkeypatch.setenv("AWS_PROFILE", "backups")
    copied = {f"COPY_{name}": value for name, value in keyless.items() if name.startswith("S3_")}
    given = {**keyless, **copied, "COPY_PREFIX": "keyless-copy"}
    keys = {"S3_ACCESS_KEY_ID": storage_server.key_id, "S3_SECRET_ACCESS_KEY": "wrong"}
    with pytest.raises(ConfigurationError, match="COPY_S3_ACCESS_KEY_ID is not set"):
        plan_in({**given, **keys})
    settings = load_settings(NEEDS, {**given, **keys, "COPY_S3_CREDENTIALS": "sdk"})
    for plan in (Plan.from_settings(settings), BackupPlan.from_settings(settings).plan("default")):
        there: Any = plan.copies[0].storage
        there.put(there.key("a"), b"a")
        assert there.get(there.key("a")) == b"a"
        with pytest.raises(StorageDenied):
            list(plan.storage.list_objects())
