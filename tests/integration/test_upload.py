"""Uploads to a real S3 server are all or nothing, use equal parts, and touch nothing that isn't ours."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import UPLOAD, PgRoundtripError, StorageError, StorageUnreachable
from blocks.s3.client import ObjectStore
from blocks.s3.providers import MIB, Provider
from flows.demo.services import Storage
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.upload import Upload
from tasks.sweep import sweep_stale_uploads
from tests.plans import plan_of

PART = 5 * MIB


def pending(storage: ObjectStore) -> list[str]:
    """Return the keys of all incomplete uploads in the test's folder."""
    return [key for key, _ in storage.list_uploads(timedelta(0), datetime.now(UTC) + timedelta(days=1))]


def keys(storage: ObjectStore) -> list[str]:
    return [found.key.removeprefix(storage.key("")) for found in storage.list_objects()]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Record the size of every part sent, by part number."""
    sizes: dict[int, int] = {}
    put_part = ObjectStore.put_part

    def watched(self: ObjectStore, key: str, upload_id: str, number: int, body: Any) -> str:
        sizes[number] = len(body) if isinstance(body, bytes) else body.seek(0, os.SEEK_END) - body.seek(0)
        return put_part(self, key, upload_id, number, body)

    monkeypatch.setattr(ObjectStore, "put_part", watched)
    return sizes


def test_a_small_object_goes_in_one_request(
    storage: ObjectStore, sent: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that fits into one part starts no multipart upload, so it can't leave one behind."""
    monkeypatch.setattr(ObjectStore, "begin_upload", lambda *_: pytest.fail("a multipart upload was started"))
    upload = Upload(storage, storage.key("small"), expected_bytes=10)
    upload.write(b"a few ")
    upload.write(b"bytes")
    assert keys(storage) == []
    upload.complete()
    assert storage.get(storage.key("small")) == b"a few bytes"
    assert sent == {}


def test_an_object_without_bytes_is_stored(storage: ObjectStore) -> None:
    """A stream that ends before its first byte becomes one empty object."""
    Upload(storage, storage.key("nothing"), expected_bytes=0).complete()
    found = storage.stat(storage.key("nothing"))
    assert found is not None
    assert found.size_bytes == 0


@pytest.mark.parametrize("extra", [0, 1, 3 * MIB + 17])
def test_a_large_object_goes_in_equal_parts(storage: ObjectStore, sent: dict[int, int], extra: int) -> None:
    """Every part but the last has the same size, and the object equals what was written, however it was chunked."""
    data = secrets.token_bytes(3 * PART + extra)
    upload = Upload(storage, storage.key("large"), expected_bytes=0, part_bytes=PART)
    for start in range(0, len(data), 700_001):
        upload.write(data[start : start + 700_001])
    assert keys(storage) == []
    upload.complete()
    assert storage.get(storage.key("large")) == data
    assert [sent[n] for n in sorted(sent)] == [PART] * 3 + ([extra] if extra else [])
    assert pending(storage) == []


def test_parts_go_in_parallel(storage: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts are uploaded in parallel, but no more than two, so memory stays bounded."""
    together, under_way, most, lock = threading.Barrier(2), 0, 0, threading.Lock()
    put_part = ObjectStore.put_part

    def watched(self: ObjectStore, key: str, upload_id: str, number: int, body: Any) -> str:
        nonlocal under_way, most
        with lock:
            under_way, most = under_way + 1, max(most, under_way + 1)
        if number <= 2:
            together.wait(60)  # breaks, and fails the upload, unless two parts arrive together
        try:
            return put_part(self, key, upload_id, number, body)
        finally:
            with lock:
                under_way -= 1

    monkeypatch.setattr(ObjectStore, "put_part", watched)
    upload = Upload(storage, storage.key("parallel"), expected_bytes=0, part_bytes=PART)
    block = secrets.token_bytes(PART)
    for _ in range(6):
        upload.write(block)
    upload.complete()
    assert most == 2
    assert storage.get(storage.key("parallel")) == 6 * block


@pytest.mark.parametrize("digests", [False, True], ids=["plain", "with digests"])
def test_a_part_that_waits_on_disk_arrives(
    storage: ObjectStore, monkeypatch: pytest.MonkeyPatch, digests: bool
) -> None:
    """Parts too large for memory are buffered in a file and arrive unchanged, even when read for a digest first."""
    monkeypatch.setattr(storage, "provider", Provider("any", content_md5=digests))
    data = secrets.token_bytes(18 * MIB + 5)
    upload = Upload(storage, storage.key("disk"), expected_bytes=0, part_bytes=17 * MIB)
    upload.write(data)
    upload.complete()
    assert storage.get(storage.key("disk")) == data


def test_a_folder_for_parts_that_is_not_there(
    storage: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A missing folder for parts raises one of our errors with a hint, not a bare OSError."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(PgRoundtripError, match=r"A temporary file could not be written \[No such file") as raised:
        Upload(storage, storage.key("disk"), expected_bytes=0, part_bytes=17 * MIB)
    assert "TMPDIR" in raised.value.hint


def test_more_than_was_expected_still_fits(
    storage: ObjectStore, sent: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump that outgrows its estimate is stored: later parts grow to stay within the provider's limit."""
    few = Provider("a provider of few parts", max_parts=4, min_part_bytes=PART)
    monkeypatch.setattr(storage, "provider", few)
    upload = Upload(storage, storage.key("grown"), expected_bytes=MIB, part_bytes=PART)
    data = secrets.token_bytes(5 * PART)
    for start in range(0, len(data), MIB):
        upload.write(data[start : start + MIB])
    upload.complete()
    assert storage.get(storage.key("grown")) == data
    assert len(sent) <= 4


def test_parts_that_must_be_equal_do_not_grow(
    storage: ObjectStore, sent: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a later part of another size would be refused, running out of parts is an error that leaves nothing."""
    equal = Provider("a provider of equal parts", max_parts=4, equal_parts=True)
    monkeypatch.setattr(storage, "provider", equal)
    upload = Upload(storage, storage.key("equal"), expected_bytes=MIB, part_bytes=PART)
    with pytest.raises(StorageError, match="more than 4 parts"):
        upload.write(secrets.token_bytes(5 * PART))
    upload.abort()
    assert sent == dict.fromkeys(range(1, 5), PART)
    assert (keys(storage), pending(storage)) == ([], [])


def test_more_than_the_provider_can_hold_is_an_error(storage: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream too large for any number of parts ends in an error that says so, and leaves nothing."""
    monkeypatch.setattr(storage, "provider", Provider("tiny", max_parts=2, max_part_bytes=PART))
    upload = Upload(storage, storage.key("too much"), expected_bytes=0, part_bytes=PART)
    with pytest.raises(StorageError, match="more than 2 parts"):
        upload.write(secrets.token_bytes(3 * PART))
    upload.abort()
    assert (keys(storage), pending(storage)) == ([], [])


def test_abort_leaves_nothing(storage: ObjectStore) -> None:
    """An upload aborted midway leaves no object and no multipart upload; a second abort is harmless."""
    upload = Upload(storage, storage.key("given up"), expected_bytes=0, part_bytes=PART)
    upload.write(secrets.token_bytes(2 * PART + 100))
    upload.abort()
    assert (keys(storage), pending(storage)) == ([], [])
    upload.abort()


def test_a_failing_part_surfaces(storage: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of one part is raised by the next write or the completion, and the abort after it leaves nothing."""
    put_part = ObjectStore.put_part

    def failing(self: ObjectStore, key: str, upload_id: str, number: int, body: Any) -> str:
        if number == 2:
            raise StorageUnreachable(f"{key}: SlowDown", during=UPLOAD)
        return put_part(self, key, upload_id, number, body)

    monkeypatch.setattr(ObjectStore, "put_part", failing)
    upload = Upload(storage, storage.key("failing"), expected_bytes=0, part_bytes=PART)
    block = secrets.token_bytes(PART)

    def send_all() -> None:
        for _ in range(4):
            upload.write(block)
        upload.complete()

    with pytest.raises(StorageUnreachable, match="S3 upload failed"):
        send_all()
    upload.abort()
    assert (keys(storage), pending(storage)) == ([], [])


def test_stale_uploads_of_ours_are_swept(
    storage: ObjectStore, storage_server: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed run left is aborted after a day; recent uploads, other names and other folders are left alone."""
    other = storage_server.store(f"{storage.folder}-other")
    ours, foreign = storage.key("backup_20260101_000000.sql.gz"), storage.key("video.mp4")
    neighbour = other.key("backup_20260101_000000.sql.gz")
    deeper = storage.key("deeper/backup_20260101_000000.sql.gz")
    begun = {key: storage.begin_upload(key) for key in (ours, foreign, neighbour, deeper)}
    for key, upload_id in begun.items():
        storage.put_part(key, upload_id, 1, b"x" * 1000)
    plan = plan_of(storage)
    monkeypatch.setattr("tasks.sweep.get_run_logger", lambda: logging.getLogger("test"))
    assert sweep_stale_uploads.fn(Repository(plan.storage)) == []
    tomorrow = datetime.now(UTC) + timedelta(days=1, minutes=5)
    assert {key for key, _ in storage.list_uploads(timedelta(days=1), tomorrow)} == {ours, foreign, deeper}
    monkeypatch.setattr("tasks.sweep.utc_now", lambda: tomorrow)
    assert len(sweep_stale_uploads.fn(Repository(plan.storage))) == 1
    assert sorted(pending(storage)) == sorted([foreign, deeper])
    assert pending(other) == [neighbour]
    for key in (foreign, deeper, neighbour):
        storage.abort_upload(key, begun[key])
    storage.abort_upload(ours, begun[ours])  # already gone, which is not an error
