"""A run told to stop ends within ten seconds and leaves nothing, whatever hangs: after that it would be killed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows.demo.services import Storage
from tasks.engine.servers.programs import Client
from tasks.engine.servers.scratch import sweep_scratch_databases
from tests.conftest import NewDatabase, StartedCommand, databases_of
from tests.integration.children import Children
from tests.integration.objects import take_backup, until
from tests.integration.proxy import Proxy, proxy_to
from tests.integration.sandboxes import assert_nothing_is_left
from tests.processes import children_of, ended

PROMISED_S = 10
MIB = 1 << 20
# About 80 MB that no compressor shrinks, so that a dump and a restore can be interrupted midway.
SCRIPT = """CREATE TABLE big AS SELECT n, md5('a' || n) || md5('b' || n) || md5('c' || n) || md5('d' || n) AS v
FROM generate_series(1, 600000) n; ALTER TABLE big ADD PRIMARY KEY (n)"""


@pytest.fixture
def big(new_database: NewDatabase) -> Server:
    """A database whose dump is larger than the parts in flight."""
    return new_database(16, SCRIPT)


@pytest.fixture
def stored(big: Server, storage: ObjectStore, clients: dict[int, Client]) -> Server:
    """The big database, with a backup in the storage."""
    take_backup(storage, big, clients[16])
    return big


@pytest.fixture
def s3(storage_server: Storage) -> Iterator[Proxy]:
    """The network path to the storage."""
    with proxy_to(urlsplit(storage_server.endpoint).port or 0) as proxy:
        yield proxy


@pytest.fixture
def postgres(server_of: Callable[[int], Server]) -> Iterator[Proxy]:
    """The network path to the server."""
    with proxy_to(int(server_of(16).parameters()["port"])) as proxy:
        yield proxy


def through(proxy: Proxy, server: Server) -> str:
    """Return a database's URL through a proxy."""
    return conninfo_url({**server.parameters(), "port": str(proxy.port)})


def at(proxy: Proxy) -> str:
    """Return the storage's address through a proxy."""
    return f"http://127.0.0.1:{proxy.port}"


def stopped(process: subprocess.Popen[bytes]) -> None:
    """Tell a process to stop: it ends in time, doesn't report success, and its children are gone."""
    assert process.poll() is None, "it exited before it was told to"
    children = children_of(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PROMISED_S) != 0
    assert [child for child in children if not ended(child)] == []


def pending(storage: ObjectStore) -> list[tuple[str, str]]:
    return storage.list_uploads(timedelta(0), datetime.now(UTC) + timedelta(days=1))


def busy(server: Server) -> bool:
    """Return whether any session is active in a database."""
    with server.on("postgres").connect() as connection:
        return bool(connection.query("SELECT 1 FROM pg_stat_activity WHERE datname = %s", server.database))


# --- a backup ---------------------------------------------------------------------------------------------------------


def test_a_backup_whose_storage_never_answered(s3: Proxy, big: Server, started_command: StartedCommand) -> None:
    """A run stops in time even when its first request to the storage hangs."""
    s3.stall()
    command = started_command("backup", DATABASE_URL=big.url.get_secret_value(), S3_ENDPOINT=at(s3))
    until(lambda: s3.visits > 0 or command.poll() is not None)
    stopped(command)


def test_a_backup_whose_storage_hangs(
    s3: Proxy, big: Server, storage: ObjectStore, started_command: StartedCommand
) -> None:
    """Parts and the abort request hang: no object is left, and the sweep finds the upload."""
    s3.stall_after_up = MIB
    url = big.url.get_secret_value()
    command = started_command("backup", DATABASE_URL=url, S3_ENDPOINT=at(s3), COMPRESSION_LEVEL="1")
    until(lambda: s3.stalled or command.poll() is not None)
    time.sleep(3)  # so that all allowed parts are in flight, and the dump waits for them
    assert len(children_of(command.pid, "pg_dump")) == 1
    stopped(command)
    assert list(storage.list_objects()) == []
    until(lambda: not busy(big))
    for key, upload_id in pending(storage):
        storage.abort_upload(key, upload_id)


def test_a_backup_whose_database_hangs(
    postgres: Proxy, big: Server, storage: ObjectStore, started_command: StartedCommand
) -> None:
    """When no more rows arrive, the upload is aborted."""
    postgres.stall_after_down = 25 * MIB
    command = started_command("backup", DATABASE_URL=through(postgres, big), COMPRESSION_LEVEL="1")
    until(lambda: (postgres.stalled and bool(pending(storage))) or command.poll() is not None)
    stopped(command)
    assert (list(storage.list_objects()), pending(storage)) == ([], [])


def test_a_run_of_a_runner(s3: Proxy, big: Server, storage: ObjectStore, children: Children) -> None:
    """A run started by a worker or the service stops too, and one sentence in the log says what became of it."""
    s3.stall_after_up = MIB
    url = big.url.get_secret_value()
    child = children.start("backup", DATABASE_URL=url, S3_ENDPOINT=at(s3), COMPRESSION_LEVEL="1")
    until(lambda: s3.stalled or child.poll() is not None)
    time.sleep(3)
    stopped(child)
    lines = children.lines(child)
    assert [line.partition("Z ")[2] for line in lines if " INFO: " not in line] == [
        "WARNING: The run was told to stop, and ended before it was done"
    ]
    assert list(storage.list_objects()) == []
    for key, upload_id in pending(storage):
        storage.abort_upload(key, upload_id)


# --- a drill ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [False, True], ids=["storage answers", "storage hangs"])
def test_a_drill_in_a_sandbox(
    hangs: bool, s3: Proxy, stored: Server, home: Path, started_command: StartedCommand
) -> None:
    """The throwaway server is gone, and its folder."""
    s3.stall_after_down = 10 * MIB
    command = started_command("drill", VERIFY_TARGET="sandbox", TMPDIR=str(home), S3_ENDPOINT=at(s3))
    until(lambda: s3.stalled or command.poll() is not None)
    assert children_of(command.pid, "postgres")
    if not hangs:
        s3.resume()
    stopped(command)
    assert_nothing_is_left(home)


def test_a_drill_on_a_server(s3: Proxy, stored: Server, started_command: StartedCommand) -> None:
    """The scratch database is dropped, even though the storage hangs."""
    before = databases_of(stored)
    s3.stall_after_down = 10 * MIB
    url = stored.url.get_secret_value()
    command = started_command("drill", VERIFY_TARGET="database", DATABASE_URL=url, S3_ENDPOINT=at(s3))
    until(lambda: s3.stalled or command.poll() is not None)
    assert databases_of(stored) != before
    stopped(command)
    assert databases_of(stored) == before


def test_a_drill_on_a_server_that_hangs(postgres: Proxy, stored: Server, started_command: StartedCommand) -> None:
    """The scratch database can't be dropped now: it keeps its mark, so that the next drill drops it."""
    before = databases_of(stored)
    postgres.stall_after_up = 10 * MIB
    command = started_command("drill", VERIFY_TARGET="database", DATABASE_URL=through(postgres, stored))
    until(lambda: postgres.stalled or command.poll() is not None)
    stopped(command)
    postgres.close()
    (left,) = databases_of(stored) - before
    until(lambda: not busy(stored.on(left)))
    assert sweep_scratch_databases(stored) == [left]
    assert databases_of(stored) == before


# --- a restore --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [False, True], ids=["storage answers", "storage hangs"])
def test_a_restore(
    hangs: bool, s3: Proxy, stored: Server, new_database: NewDatabase, started_command: StartedCommand
) -> None:
    """The target is unchanged, and nothing else is left on its server."""
    target = new_database(16)
    before = databases_of(stored)
    s3.stall_after_down = 10 * MIB
    url = target.url.get_secret_value()
    command = started_command("restore", "latest", RESTORE_DATABASE_URL=url, S3_ENDPOINT=at(s3))
    until(lambda: s3.stalled or command.poll() is not None)
    if not hangs:
        s3.resume()
    stopped(command)
    assert databases_of(stored) == before
    with target.connect(own_names=True) as connection:
        assert connection.query("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
