"""Whatever dies in the middle of a backup, nothing that looks like one is left, and nothing keeps running."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest

from blocks.config.plan import Plan
from blocks.errors import UPLOAD, DatabaseUnreachable, DumpFailed, PgRoundtripError, StorageError, StorageUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import BackupResult
from flows.backup import backup as backup_flow
from flows.demo.services import running_storage
from tasks.engine.dump.pg_dump import running_dump
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.upload import Upload
from tasks.engine.servers.programs import Client
from tasks.engine.stream.pipeline import StreamResult, stream_dump
from tests.conftest import FlowRun, NewDatabase, StartedCommand
from tests.processes import children_of, command_of

BIG = 600_000
KEY = "backup_20240207_143022.sql.gz"


@pytest.fixture(scope="module")
def big(server_of: Callable[[int], Server]) -> Iterator[Server]:
    """A database of about 100 MB that no compressor shrinks, so that its dump can be interrupted midway."""
    server, name = server_of(16), "big for faults"
    with server.connect(own_names=True) as connection:
        connection.execute("CREATE DATABASE {}", name)
    with server.on(name).connect(own_names=True) as connection:
        connection.execute("CREATE TABLE big (id int, a text)")
        several = " || ".join(f"md5('{letter}' || n)" for letter in "abcd")
        connection.execute(f"INSERT INTO big SELECT n, {several} FROM generate_series(1, {BIG}) n")
    yield server.on(name)
    with server.connect() as connection:
        connection.execute("DROP DATABASE {} WITH (FORCE)", name)


def pending(storage: ObjectStore) -> list[tuple[str, str]]:
    """Return all multipart uploads in the test's folder, with their ids."""
    return storage.list_uploads(timedelta(0), datetime.now(UTC) + timedelta(days=1))


def assert_nothing_is_left(storage: ObjectStore, parent: int | None = None) -> None:
    """No object, multipart upload or pg_dump is left."""
    assert [found.key for found in storage.list_objects()] == []
    assert pending(storage) == []
    assert dumps_of(parent) == []


def dumps_of(parent: int | None = None) -> list[psutil.Process]:
    """Return the pg_dump processes started by a process, by default this one."""
    return children_of(parent, "pg_dump")


def await_that(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition that must become true; fail the test when it never does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


def dumping(server: Server) -> int:
    """Count a pg_dump's connections to a database."""
    with server.on("postgres").connect(own_names=True) as connection:
        return int(connection.query("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", server.database)[0][0])


def terminate_backends(server: Server) -> None:
    with server.on("postgres").connect() as connection:
        connection.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", server.database)


def kill_pg_dump(_: Server) -> None:
    for process in dumps_of():
        process.kill()


class Faulty(Upload):
    """The real sink, with an event injected once, after the first part was uploaded."""

    def __init__(self, storage: ObjectStore, happening: Callable[[], object]) -> None:
        super().__init__(storage, storage.key(KEY), expected_bytes=0)
        self._happening, self._happened = happening, False

    def write(self, data: bytes) -> None:
        super().write(data)
        if self._sent and not self._happened:
            self._happened = True
            self._sent[0].result()
            self._happening()


def dump_and(happening: Callable[[], object], server: Server, storage: ObjectStore, client: Client) -> StreamResult:
    """Stream a dump into the storage using the engine only, while something happens."""
    with running_dump(server, client) as dump:
        return stream_dump(dump, Faulty(storage, happening), 1)


@pytest.mark.parametrize(
    ("murder", "expected", "text"),
    [
        (terminate_backends, DatabaseUnreachable, 'pg_dump: error: .*table "big"'),
        (kill_pg_dump, DumpFailed, "killed by SIGKILL"),
    ],
)
def test_a_dump_that_dies_in_the_middle_leaves_nothing(
    murder: Callable[[Server], None],
    expected: type[PgRoundtripError],
    text: str,
    big: Server,
    storage: ObjectStore,
    clients: dict[int, Client],
) -> None:
    """A dump that dies midway raises a retryable error, and never leaves a smaller object that looks good."""
    with pytest.raises(expected, match=text) as raised:
        dump_and(lambda: murder(big), big, storage, clients[16])
    assert raised.value.transient
    assert_nothing_is_left(storage)
    await_that(lambda: not dumping(big), "the server has ended the dump's sessions")


def test_a_dump_that_dies_once_is_tried_again(
    big: Server, storage: ObjectStore, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection lost midway costs one attempt; the next starts over and makes the whole backup."""
    put_part, attempts = ObjectStore.put_part, list[str]()

    def once(self: ObjectStore, key: str, upload_id: str, number: int, body: Any) -> str:
        if upload_id not in attempts:
            attempts.append(upload_id)
            if len(attempts) == 1:
                terminate_backends(big)
        return put_part(self, key, upload_id, number, body)

    monkeypatch.setattr(ObjectStore, "put_part", once)
    ran = flow_run(backup_flow, big, environ={"COMPRESSION_LEVEL": "1"})
    assert isinstance(ran.result, BackupResult), ran.error
    assert (ran.result.rows, len(attempts)) == (BIG, 2)
    assert [b.name for b in Repository(storage).backups() if b.has_manifest] == [ran.result.name]
    assert (len(list(storage.list_objects())), pending(storage), dumps_of()) == (3, [], [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_stop_leaves_nothing(
    number: signal.Signals, big: Server, storage: ObjectStore, started_command: StartedCommand
) -> None:
    """After SIGTERM or Ctrl-C during a dump the upload is aborted, pg_dump is gone, and the status is not 0."""
    url = big.url.get_secret_value()
    command = started_command("backup", DATABASE_URL=url, COMPRESSION_LEVEL="9")
    await_that(lambda: pending(storage) or command.poll() is not None, "the upload begins")
    children = dumps_of(command.pid)
    assert len(children) == 1
    command.send_signal(number)
    assert command.wait(10) != 0
    assert [child for child in children if child.is_running()] == []
    assert_nothing_is_left(storage, command.pid)
    await_that(lambda: not dumping(big), "the server has ended the dump's sessions")


@pytest.mark.long
def test_ctrl_c_in_a_terminal_ends_a_run_with_a_server_of_its_own(
    big: Server, storage: ObjectStore, started_command: StartedCommand
) -> None:
    """A terminal sends SIGINT to all processes; Prefect's temporary server must not keep the run waiting."""
    url = big.url.get_secret_value()
    command = started_command("backup", DATABASE_URL=url, COMPRESSION_LEVEL="9", PREFECT_API_URL="")
    await_that(lambda: pending(storage) or command.poll() is not None, "the upload begins")
    processes = psutil.Process(command.pid).children(recursive=True)
    os.killpg(command.pid, signal.SIGINT)
    assert command.wait(10) == 130
    assert_nothing_is_left(storage, command.pid)
    await_that(lambda: not any(process.is_running() for process in processes), "the temporary server is gone")


def test_a_command_that_is_killed_leaves_no_backup(
    big: Server,
    storage: ObjectStore,
    started_command: StartedCommand,
    flow_run: FlowRun,
    new_database: NewDatabase,
) -> None:
    """After kill -9 pg_dump dies too, no backup is listed, and the next backup works as usual."""
    command = started_command("backup", DATABASE_URL=big.url.get_secret_value(), COMPRESSION_LEVEL="9")
    await_that(lambda: pending(storage) or command.poll() is not None, "the upload begins")
    children = dumps_of(command.pid)
    assert len(children) == 1
    os.kill(command.pid, signal.SIGKILL)
    command.wait(60)
    await_that(lambda: not any(child.is_running() for child in children), "pg_dump dies")
    await_that(lambda: not dumping(big), "the server has ended the dump's sessions")
    assert list(storage.list_objects()) == []
    ran = flow_run(backup_flow, new_database(16, "CREATE TABLE t AS SELECT 1 AS a"))
    assert isinstance(ran.result, BackupResult), ran.error
    assert [b.name for b in Repository(storage).backups()] == [ran.result.name]
    for key, upload_id in pending(storage):
        storage.abort_upload(key, upload_id)


class Full:
    """A sink that accepts some bytes and then no more."""

    def __init__(self, limit: int, error: Exception) -> None:
        self.left, self.error, self.aborted, self.completed = limit, error, False, False

    def write(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise self.error

    def complete(self) -> None:
        self.completed = True

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("limit", [0, 20_000_000])
def test_a_sink_that_fails_stops_the_dump(limit: int, big: Server, clients: dict[int, Client]) -> None:
    """When the storage accepts no more, its error is raised, the sink is aborted and pg_dump is killed."""
    sink = Full(limit, StorageUnreachable("SlowDown", during=UPLOAD))
    with running_dump(big, clients[16]) as dump, pytest.raises(StorageUnreachable) as raised:
        stream_dump(dump, sink, 1)
    assert raised.value is sink.error
    assert (sink.aborted, sink.completed) == (True, False)
    assert dumps_of() == []
    await_that(lambda: not dumping(big), "the server has ended the dump's sessions")


def test_a_storage_that_goes_away_in_the_middle_surfaces(big: Server, clients: dict[int, Client]) -> None:
    """A storage server that dies during the upload ends the backup with the specified sentence, and pg_dump too."""
    with running_storage() as mine:
        storage = mine.store("going")
        # The client makes five attempts with growing delays; two are enough to see the outcome.
        retries = {"mode": "standard", "max_attempts": 2}
        storage.config = {"retries": retries}
        port = mine.endpoint.rpartition(":")[2]
        weed = [child for child in children_of() if f"-s3.port={port}" in command_of(child)]
        assert len(weed) == 1
        with pytest.raises(StorageError, match="S3 upload failed") as raised:
            dump_and(weed[0].kill, big, storage, clients[16])
    assert raised.value.transient
    assert dumps_of() == []
    await_that(lambda: not dumping(big), "the server has ended the dump's sessions")


def test_an_object_that_lost_bytes_is_not_committed(
    new_database: NewDatabase, storage: ObjectStore, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that acknowledges more than it keeps gets no manifest, so nothing claims to be a backup."""
    put_new = ObjectStore.put_new

    def lossy(self: ObjectStore, key: str, data: bytes, content_type: str = "application/json") -> bool:
        return put_new(self, key, data[:-1], content_type)

    monkeypatch.setattr(ObjectStore, "put_new", lossy)
    ran = flow_run(backup_flow, new_database(16, "CREATE TABLE t AS SELECT 1 AS a"))
    assert isinstance(ran.error, StorageError)
    assert "S3 upload failed" in ran.error.sentence
    assert [found.key for found in storage.list_objects() if not found.key.endswith(".sql.gz")] == []


def test_a_manifest_that_cannot_be_written_fails_the_backup(
    new_database: NewDatabase,
    storage: ObjectStore,
    plan_for: Callable[..., Plan],
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dump without its manifest is not a finished backup of ours, and the run reports failure."""
    put_new = ObjectStore.put_new

    def refusing(self: ObjectStore, key: str, data: bytes, content_type: str = "application/json") -> bool:
        if key.endswith(".manifest.json"):
            raise StorageError(key, during=UPLOAD)
        return put_new(self, key, data, content_type)

    monkeypatch.setattr(ObjectStore, "put_new", refusing)
    ran = flow_run(backup_flow, new_database(16))
    assert isinstance(ran.error, StorageError)
    assert not any(b.has_manifest for b in Repository(storage).backups())
