"""A repository keeps its promises on every storage we test, and on the in-memory one that other tests use."""

from __future__ import annotations

import hashlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from blocks.disk.folder_store import FolderStore
from blocks.errors import EmptyBackup, ObjectMissing, StorageError
from flows.demo.services import Storage
from tasks.engine.age.files import decrypt, encrypt, opens
from tasks.engine.age.identities import new_identity
from tasks.engine.deadline import within
from tasks.engine.repository import upload as upload_module
from tasks.engine.repository.facts import newest_proven
from tasks.engine.repository.manifest import DrillReport, Verdict, read_report
from tasks.engine.repository.names import GLOBALS, MANIFEST, OBJECT, REPORT, name_at, taken_at
from tasks.engine.repository.new_header import new_header, put_in_place
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.store import Store
from tests.integration.s3_servers import running_moto, running_rclone
from tests.memory_store import MemoryStore
from tests.unit.test_catalog import FIRST, SECOND, THIRD, manifest, report

_numbers = itertools.count(1)
SERVERS = ["seaweedfs", "rclone", "moto", "folder", "memory"]
# `rclone serve s3` keeps no object metadata, so half a backup looks like a foreign object and is kept longer.
KEEPS_NO_MARK = "rclone"
# moto dates each upload to the same day of 2010.
DATES_NO_UPLOAD = "moto"


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, storage_server: Storage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Storage | Path | None]:
    """Each S3 server in turn, a folder on a disk, and None for the storage in memory."""
    if request.param in ("rclone", "moto"):
        start = running_rclone if request.param == "rclone" else running_moto
        with start(tmp_path_factory.mktemp(request.param)) as running:
            yield running
    elif request.param == "folder":
        yield tmp_path_factory.mktemp("disk")
    else:
        yield storage_server if request.param == "seaweedfs" else None


@pytest.fixture
def store(server: Storage | Path | None) -> Store:
    """A folder of its own."""
    folder = f"repository/{next(_numbers)}"
    return store_in(server, folder, {})


def store_in(server: Storage | Path | None, folder: str, shared: dict[str, bytes]) -> Store:
    """A folder on a server, on a disk, or among objects in memory."""
    if isinstance(server, Path):
        return FolderStore(server, folder)
    return server.store(folder) if server else MemoryStore(folder, shared)


@pytest.fixture
def repository(store: Store) -> Repository:
    """An empty repository."""
    return Repository(store)


def moment_of(name: str) -> datetime:
    """Return the moment that a backup's name tells."""
    moment = taken_at(name)
    assert moment
    return moment


def drilled(name: str, verdict: Verdict = Verdict.PROVEN, hours: int = 0) -> DrillReport:
    """A report of a drill that started some hours after others."""
    made = report(name, verdict)
    return made.model_copy(update={"started_at": made.started_at + timedelta(hours=hours)})


def keep(repository: Repository, name: str, data: bytes = b"an object", companion: bytes = b"") -> None:
    """Make a backup of these bytes."""
    taken, upload = repository.begin(moment_of(name), len(data))
    assert taken == name
    upload.write(data)
    upload.complete()
    repository.commit(manifest(name, object_bytes=len(data)), companion)


def files(store: Store) -> list[str]:
    """Return the contents of the folder."""
    return sorted(found.key.removeprefix(store.key("")) for found in store.list_objects())


def test_a_backup_begins_with_its_manifest(
    repository: Repository, store: Store, request: pytest.FixtureRequest
) -> None:
    """Nothing is listed while the object is uploaded, a foreign object before its manifest is stored, then a backup."""
    assert repository.backups() == []
    _, upload = repository.begin(moment_of(FIRST), 100)
    upload.write(b"an object")
    assert repository.backups() == []
    upload.complete()
    (half,) = repository.looked_into(repository.backups())
    marked = KEEPS_NO_MARK not in request.node.callspec.id
    assert (half.has_manifest, half.unfinished) == (False, marked)
    made = repository.commit(manifest(FIRST, object_bytes=9))
    (listed,) = repository.backups()
    assert (listed.name, listed.key, listed.object_bytes, listed.has_manifest) == (FIRST, made.key, 9, True)
    assert repository.manifest(listed) == manifest(FIRST, object_bytes=9)
    assert files(store) == [FIRST + MANIFEST, FIRST + OBJECT]


def test_what_did_not_arrive_is_not_committed(repository: Repository, store: Store) -> None:
    """An object that is missing, empty or of another size gets no manifest."""
    with pytest.raises(EmptyBackup):
        repository.commit(manifest(FIRST))
    store.put(store.key(SECOND + OBJECT), b"")
    with pytest.raises(EmptyBackup):
        repository.commit(manifest(SECOND))
    store.put(store.key(THIRD + OBJECT), b"short")
    with pytest.raises(StorageError, match="9 bytes were sent, 5 were stored"):
        repository.commit(manifest(THIRD, object_bytes=9))
    assert not [file for file in files(store) if file.endswith(MANIFEST)]


def test_an_object_of_many_parts(repository: Repository, store: Store) -> None:
    """A large object comes back byte for byte, whole and in ranges, and is invisible until it is complete."""
    data = bytes(range(256)) * 4096 * 20
    _, upload = repository.begin(moment_of(FIRST), 0)
    for start in range(0, len(data), 1 << 20):
        upload.write(data[start : start + (1 << 20)])
    assert files(store) == []
    upload.complete()
    repository.commit(manifest(FIRST, object_bytes=len(data)))
    (backup,) = repository.backups()
    assert b"".join(repository.read(backup)) == data
    assert b"".join(repository.read(backup, 7 << 20, 300)) == data[7 << 20 :][:300]
    assert b"".join(repository.read(backup, len(data) - 5)) == data[-5:]


def test_an_upload_that_is_given_up(repository: Repository, store: Store) -> None:
    """An aborted upload leaves neither an object nor parts."""
    _, upload = repository.begin(moment_of(FIRST), 0)
    upload.write(b"x" * (20 << 20))
    upload.abort()
    assert files(store) == []
    assert list(repository.sweep(datetime.now(UTC) + timedelta(days=3))) == []


def test_stale_uploads_are_swept(repository: Repository, store: Store, request: pytest.FixtureRequest) -> None:
    """What a killed run left is removed after a day; other tools' uploads stay."""
    killed = repository.key(FIRST)
    store.begin_upload(killed)
    store.begin_upload(store.key("of another tool"))
    now = datetime.now(UTC)
    if DATES_NO_UPLOAD not in request.node.callspec.id:
        assert list(repository.sweep(now)) == []
    assert list(repository.sweep(now + timedelta(days=2))) == [killed]
    assert list(repository.sweep(now + timedelta(days=2))) == []


def test_reports(repository: Repository) -> None:
    """Every report stays; the newest conclusive one counts, whenever an INCONCLUSIVE one or 1.0's was stored."""
    keep(repository, FIRST)
    (backup,) = repository.backups()
    assert repository.report(backup) is None
    told: list[DrillReport] = []
    for verdict, counts in (("INCONCLUSIVE", 0), ("PROVEN", 1), ("FAILED", 2), ("INCONCLUSIVE", 2)):
        told.append(drilled(FIRST, Verdict(verdict), hours=len(told)))
        repository.store_report(told[-1])
        (backup,) = repository.backups()
        assert repository.report(backup) == repository.report_even_unlisted(FIRST) == told[counts]
        assert (backup.last_drill, len(backup.reports)) == (told[-1].started_at, len(told))
    assert [b.verdict for b in repository.looked_into(repository.backups())] == ["FAILED"]
    assert newest_proven(repository, repository.backups()) is None


def test_a_report_of_1_0(repository: Repository) -> None:
    """It counts as older than all with a date, but more than an INCONCLUSIVE one."""
    keep(repository, FIRST)
    repository.store_report(drilled(FIRST, Verdict.INCONCLUSIVE))
    repository.store.put(repository.store.key(FIRST + REPORT), report(FIRST).encode())
    assert [b.verdict for b in repository.looked_into(repository.backups())] == ["PROVEN"]
    repository.store_report(drilled(FIRST, Verdict.FAILED, hours=-1))
    assert [b.verdict for b in repository.looked_into(repository.backups())] == ["FAILED"]


def test_drills_that_started_in_the_same_second(repository: Repository, store: Store) -> None:
    """Neither report takes the other's name, and storing one again, after a lost response, adds none."""
    keep(repository, FIRST)
    one, other = report(FIRST), report(FIRST, Verdict.FAILED)
    stored = [repository.store_report(each) for each in (one, other, one, other)]
    assert (len({*stored}), stored[:2]) == (2, stored[2:])
    assert [read_report(store.get(store.key(file))) for file in stored[:2]] == [one, other]


def test_what_is_removed(repository: Repository, store: Store) -> None:
    """All files of this backup, and only this one, are removed, with every report; missing ones are not an error."""
    for name in (FIRST, SECOND):
        keep(repository, name, companion=b"roles and settings")
        store.put(store.key(name + REPORT), report(name).encode())
        for hours in range(2):
            repository.store_report(drilled(name, hours=hours))
    first, second = repository.looked_into(repository.backups())
    repository.remove(first)
    repository.remove(first)
    assert files(store) == sorted([*second.reports, *(second.name + kind for kind in (MANIFEST, GLOBALS, OBJECT))])
    assert repository.companion(second.name + GLOBALS) == b"roles and settings"
    assert len(second.reports) == 3
    with pytest.raises(ObjectMissing):
        repository.manifest(first)


def test_names_that_are_taken(repository: Repository) -> None:
    """A backup never takes the name of another one."""
    moment = datetime(2026, 11, 21, 2, 7, 13, tzinfo=UTC)
    assert repository.free_name(moment) == name_at(moment)
    keep(repository, name_at(moment))
    assert repository.free_name(moment) == name_at(moment + timedelta(seconds=1))
    name, upload = repository.begin(moment, 10)
    assert name == name_at(moment + timedelta(seconds=1))
    repository.store.put(repository.key(name), b"an object of a run that claims nothing")
    upload.write(b"another object")
    with pytest.raises(StorageError, match="another backup took this name"):
        upload.complete()


def test_names_that_are_about_to_be_taken(repository: Repository, request: pytest.FixtureRequest) -> None:
    """Backups that begin in the same second get different names, and none of them overwrites another."""
    moment = datetime(2026, 11, 21, 2, 7, 13, tzinfo=UTC)
    first, held = repository.begin(moment, 10)
    if "rclone" in request.node.callspec.id:  # it lists no uploads
        held.abort()
        return
    second, other = repository.begin(moment, 10)
    assert (first, second != first) == (name_at(moment), True)
    for upload in (held, other):
        upload.write(b"an object")
        upload.complete()
    assert sorted(b.name for b in repository.backups()) == sorted([first, second])
    assert list(repository.sweep(datetime.now(UTC) + timedelta(days=3))) == []


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def test_a_stop_while_the_storage_answers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload leaves nothing if its run is told to stop before the run knows the upload's id, or soon after."""
    begin, stopped = type(store).begin_upload, threading.Event()

    def slow(self: Store, key: str) -> str:
        upload_id = begin(self, key)
        signal.raise_signal(signal.SIGUSR2)  # in the main thread, which waits
        stopped.wait(10)
        return upload_id

    monkeypatch.setattr(type(store), "begin_upload", slow)

    def told(limit_s: float, do: Callable[[], None]) -> bool:
        stopped.set()
        return within(limit_s, do)

    monkeypatch.setattr(upload_module, "within", told)
    moment, before = datetime(2026, 11, 21, 2, 7, 13, tzinfo=UTC), signal.signal(signal.SIGUSR2, _stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            Repository(store).begin(moment, 10)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert list(store.list_uploads(timedelta(0), datetime.now(UTC) + timedelta(hours=1))) == []
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt), Repository(store).begun(moment, 10):
        raise KeyboardInterrupt
    assert list(store.list_uploads(timedelta(0), datetime.now(UTC) + timedelta(hours=1))) == []
    assert files(store) == []


def test_neighbours_are_left_alone(server: Storage | Path | None) -> None:
    """A folder's name is matched in full, and the contents of its subfolders are not listed."""
    number = next(_numbers)
    shared: dict[str, bytes] = {}
    stores = [store_in(server, f, shared) for f in (f"near/{number}", f"near/{number}0", f"near/{number}/below")]
    for store, name in zip(stores, (FIRST, SECOND, THIRD), strict=True):
        keep(Repository(store), name)
    assert [b.name for b in Repository(stores[0]).backups()] == [FIRST]


@pytest.mark.parametrize("verdict", [Verdict.PROVEN, Verdict.FAILED, Verdict.INCONCLUSIVE])
def test_the_order_of_writing_and_removing(verdict: Verdict) -> None:
    """An interrupted removal never makes a backup look better than it is, nor a listed one incomplete.

    The report that counts goes last of all reports, and a FAILED one after the manifest. The companion is there as long
    as the manifest is, and never without the object.
    """
    store = MemoryStore()
    repository = Repository(store)
    keep(repository, FIRST, companion=b"roles and settings")
    reports = [
        repository.store_report(drilled(FIRST, each, hours=n)) for n, each in enumerate((Verdict.INCONCLUSIVE, verdict))
    ]
    written = [key.removeprefix(store.key("")) for call, key in store.calls if call == "put"]
    assert written == [FIRST + OBJECT, FIRST + GLOBALS, FIRST + MANIFEST, *reports]
    (backup,) = repository.looked_into(repository.backups())
    store.calls.clear()
    repository.remove(backup)
    removed = [key.removeprefix(store.key("")) for call, key in store.calls if call == "remove"]
    first = [FIRST + MANIFEST] if verdict is Verdict.FAILED else []
    assert removed == [*first, *reports, *([] if first else [FIRST + MANIFEST]), FIRST + GLOBALS, FIRST + OBJECT]


def test_an_interrupted_backup_takes_its_companion_along() -> None:
    """A run that died before the manifest left an unfinished object, which is removed with what lies beside it."""
    store = MemoryStore()
    repository = Repository(store)
    keep(repository, FIRST, companion=b"roles and settings")
    store.remove(store.key(FIRST + MANIFEST))
    (half,) = repository.looked_into(repository.backups())
    assert (half.unfinished, half.globals_bytes) == (True, 18)
    repository.remove(half)
    assert files(store) == []


@pytest.mark.parametrize("size", [0, 100_000, 20 << 20])
def test_a_backup_gets_a_header_for_other_keys(store: Store, size: int) -> None:
    """What was encrypted stays as it is, byte for byte; the old key opens the object no more, and nothing else is left."""
    old, new = new_identity()[1], new_identity()[1]
    key, data = store.key("backup_20261121_030000.sql.gz.age"), bytes(range(256)) * (size // 256)
    before = encrypt(data, [old.recipient])
    store.put(key, before, "application/gzip")
    made = new_header(store, key, [old], [new.recipient])
    put_in_place(store, key, made)
    after = b"".join(store.open_range(key))
    assert after[len(made.ahead) :] == before[made.goes_on :]
    assert (len(after), hashlib.sha256(after).hexdigest()) == (made.size_bytes, made.sha256)
    assert (made.old_bytes, made.old_sha256) == (len(before), hashlib.sha256(before).hexdigest())
    assert decrypt(after, [new], size) == data
    assert not opens(after[:4096], [old])
    assert store.uploads_of(key) == set()


def test_an_object_that_changed_meanwhile_is_not_replaced(store: Store) -> None:
    """What was read for the new header must be what it is put before."""
    old, new = new_identity()[1], new_identity()[1]
    key = store.key("backup_20261121_040000.sql.gz.age")
    store.put(key, encrypt(b"x" * 100, [old.recipient]), "application/gzip")
    made = new_header(store, key, [old], [new.recipient])
    other = encrypt(b"y" * 100, [old.recipient])
    store.put(key, other, "application/gzip")
    with pytest.raises(StorageError, match="not what was read"):
        put_in_place(store, key, made)
    assert b"".join(store.open_range(key)) == other
    assert store.uploads_of(key) == set()
