"""What is written once replaces nothing, on three kinds of storage, and survives a lost response."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import NameTaken, StorageDenied
from blocks.s3 import conditions
from blocks.s3.client import ObjectStore
from blocks.s3.providers import MIB
from flows.demo.services import Storage
from tasks.engine.repository.upload import Upload
from tests.integration.s3_servers import running_moto, running_rclone

PART = 5 * MIB


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with running_moto(tmp_path_factory.mktemp("moto")) as storage:
        yield storage


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with running_rclone(tmp_path_factory.mktemp("rclone")) as storage:
        yield storage


@pytest.fixture(autouse=True)
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(params=["seaweedfs", "moto", "rclone"])
def store(request: pytest.FixtureRequest, storage_server: Storage) -> ObjectStore:
    """A new folder on each kind of storage; all but rclone's honour If-None-Match."""
    kind = request.param
    server = storage_server if kind == "seaweedfs" else request.getfixturevalue(kind)
    store: ObjectStore = server.store(secrets.token_hex(4))
    conditions.remember(store.endpoint, store.bucket, honoured=kind != "rclone")
    return store


def lose_first_response(store: ObjectStore, operation: str) -> list[int]:
    """Make the client retry a request that succeeded, as it does after a response that was lost."""
    attempts: list[int] = []

    store.client.meta.events.register(f"before-parse.s3.{operation}", _losing(attempts))
    return attempts


def _losing(attempts: list[int]) -> Callable[..., None]:
    def lose(response_dict: dict[str, Any], **_: Any) -> None:
        attempts.append(response_dict["status_code"])
        if len(attempts) == 1:
            response_dict["status_code"] = 503

    return lose


def test_a_document_replaces_none(store: ObjectStore) -> None:
    """The first of two documents of one name stays, and the second writer is told."""
    key = store.key("one.json")
    assert store.put_new(key, b"first")
    assert not store.put_new(key, b"second, and longer")
    assert not store.put_new(key, b"2nd")
    assert store.get(key) == b"first"


def test_the_same_document_twice_is_one(store: ObjectStore) -> None:
    """A writer that repeats itself, because it heard no answer, isn't told that another was faster."""
    key = store.key("one.json")
    assert store.put_new(key, b"first")
    assert store.put_new(key, b"first")


def test_a_lost_response_is_no_other_writer(store: ObjectStore) -> None:
    """An object whose response was lost is there when the request is repeated, and is ours."""
    lost = lose_first_response(store, "PutObject")
    assert store.put_new(store.key("one.json"), b"first")
    assert len(lost) > 1
    assert store.get(store.key("one.json")) == b"first"


@pytest.mark.parametrize("store", ["seaweedfs", "moto"], indirect=True)
def test_two_uploads_of_one_name(store: ObjectStore) -> None:
    """Of two uploads that end under one name, the second fails, though no request could see the first."""
    key = store.key("large")
    first, second = (Upload(store, key, 0, PART) for _ in range(2))
    first.write(b"1" * (PART + 1))
    second.write(b"2" * (PART + 1))
    blind = replace(store)
    blind.stat = lambda *_: None  # type: ignore[method-assign]
    second._storage = blind
    first.complete()
    with pytest.raises(NameTaken, match="another backup took this name"):
        second.complete()
    second.abort()
    assert store.get(key) == b"1" * (PART + 1)


@pytest.mark.parametrize("store", ["seaweedfs", "moto"], indirect=True)
def test_an_upload_whose_completion_was_not_heard_of(store: ObjectStore) -> None:
    """An upload that was completed, while the response was lost, is not taken for another run's."""
    lost = lose_first_response(store, "CompleteMultipartUpload")
    upload = Upload(store, store.key("large"), 0, PART)
    upload.write(b"1" * (PART + 1))
    upload.complete()
    assert len(lost) > 1
    assert len(store.get(store.key("large"))) == PART + 1


def test_a_storage_that_is_not_known_gets_no_condition(
    storage: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a check and without a word from the provider, the header isn't sent: some storages reject it."""
    assert not replace(storage).conditional
    conditions.remember(storage.endpoint, storage.bucket, honoured=True)
    assert replace(storage).conditional
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    conditions.remember(storage.endpoint, storage.bucket, honoured=False)
    assert not replace(storage).conditional


def test_keys_that_may_not_read_are_told_apart(storage: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be read, a name that is taken at the first attempt is another's."""
    conditions.remember(storage.endpoint, storage.bucket, honoured=True)
    store = replace(storage)

    def denied(*_: object) -> bytes:
        raise StorageDenied

    monkeypatch.setattr(ObjectStore, "get", denied)
    assert store.put_new(store.key("one.json"), b"first")
    assert not store.put_new(store.key("one.json"), b"second")
