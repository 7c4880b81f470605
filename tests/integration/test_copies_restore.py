"""With copies, either place may fail in a restore, at the start or in the middle, and each is drilled by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.disk.folder_store import FolderStore
from blocks.errors import BackupDamaged, FolderFailed, StorageUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.names import MANIFEST, OBJECT
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.conftest import FlowRun, NewDatabase, databases_of
from tests.integration.objects import NAME, contents, take_backup

ROWS = "CREATE TABLE t AS SELECT n, md5(n::text) AS word FROM generate_series(1, 60000) AS n"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A copy on a disk, which holds nothing yet."""
    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("COPY_PATH", str(tmp_path / "disk"))
    monkeypatch.setenv("COPY_PREFIX", "shop")
    return FolderStore(tmp_path / "disk", "shop")


@pytest.fixture
def source(new_database: NewDatabase, storage: ObjectStore, disk: FolderStore, clients: dict[int, Client]) -> Server:
    """A database with a backup in both places."""
    made = new_database(16, ROWS)
    take_backup(storage, made, clients[16])
    for kind in (OBJECT, MANIFEST):
        disk.put(disk.key(NAME + kind), storage.get(storage.key(NAME + kind)))
    return made


def breaking(
    monkeypatch: pytest.MonkeyPatch, kind: type[ObjectStore | FolderStore], error: Exception, after: int
) -> list[int]:
    """Let a kind of storage fail for good once it has read so many bytes of a backup; return where it was read from."""
    read, begun = kind.open_range, list[int]()

    def cut(self: ObjectStore, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if not key.endswith(OBJECT):
            yield from read(self, key, start, length)  # type: ignore[arg-type]
            return
        begun.append(start)
        if start < after:
            yield from read(self, key, start, after - start)  # type: ignore[arg-type]
        raise error

    monkeypatch.setattr(kind, "open_range", cut)
    return begun


def restored(flow_run: FlowRun, source: Server, client: Client) -> None:
    """Restore the newest backup, and find everything in the target."""
    target = source.on(f"{source.database}_copy")
    done = flow_run(restore, to=target, backup="latest")
    try:
        assert done.state == "Completed", done.error
        assert contents(target, client, like=source) == contents(source, client)
    finally:
        with source.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", target.database)


@pytest.mark.parametrize("after", [0, 100_000])
def test_the_disk_fails_and_the_bucket_goes_on(
    source: Server, flow_run: FlowRun, clients: dict[int, Client], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, after: int,
) -> None:  # fmt: skip
    """The folder is read first; when it fails, the bucket goes on at the same byte, and the whole is compared as ever."""
    begun = breaking(monkeypatch, FolderStore, FolderFailed("disk"), after)
    restored(flow_run, source, clients[16])
    assert begun == [0]
    assert "Reading from copy" in caplog.text
    assert f"copy failed at byte {after}" in caplog.text
    assert "primary goes on" in caplog.text


def test_the_bucket_fails_and_the_disk_goes_on(
    source: Server, disk: FolderStore, flow_run: FlowRun, clients: dict[int, Client], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It is the same the other way round: here the bucket is the copy that has to be read first, beside a second disk."""
    (tmp_path / "disk").rename(tmp_path / "moved")
    restored(flow_run, source, clients[16])
    assert "copy is left out" in caplog.text
    (tmp_path / "moved").rename(tmp_path / "disk")
    monkeypatch.setattr(ObjectStore, "list_objects", _refuse)
    restored(flow_run, source, clients[16])
    assert "primary is left out" in caplog.text
    assert disk.stat(disk.key(NAME + OBJECT))


def _refuse(*_: object, **__: object) -> None:
    raise StorageUnreachable("down")


def test_damage_in_one_place_is_no_other_place_s(
    source: Server, disk: FolderStore, storage: ObjectStore, flow_run: FlowRun, clients: dict[int, Client],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Bytes that were changed on the disk are found out, and the bucket is read instead; if all are, nothing is restored."""
    data = bytearray(storage.get(storage.key(NAME + OBJECT)))
    data[len(data) // 2] ^= 1
    (disk.root / disk.key(NAME + OBJECT)).write_bytes(data)
    restored(flow_run, source, clients[16])
    assert "What copy has is damaged" in caplog.text
    storage.put(storage.key(NAME + OBJECT), bytes(data))
    before = databases_of(source)
    done = flow_run(restore, to=source.on(f"{source.database}_copy"), backup=NAME)
    assert isinstance(done.error, BackupDamaged)
    assert databases_of(source) == before


def test_a_backup_that_only_a_copy_has(
    source: Server, storage: ObjectStore, flow_run: FlowRun, clients: dict[int, Client]
) -> None:
    """What retention removed from the bucket comes back from the disk."""
    for kind in (MANIFEST, OBJECT):
        storage.remove(storage.key(NAME + kind))
    restored(flow_run, source, clients[16])


def test_a_drill_of_one_place(
    source: Server, disk: FolderStore, storage: ObjectStore, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The report of a drill is in the place that was drilled, and says which; the other place has none."""
    monkeypatch.setenv("VERIFY_DESTINATION", "copy")
    done = flow_run(restore_drill, server=source)
    assert done.result.verdict is Verdict.PROVEN
    assert done.result.destination == done.result.summary()["destination"] == "copy"
    assert f"{NAME} in copy was restored in " in caplog.text
    (backup,) = Repository(disk).backups()
    kept = Repository(disk).report(backup)
    assert kept
    assert kept.destination == "copy"
    assert [b.has_report for b in Repository(storage).backups()] == [False]
