"""A backup, a drill and a restore on a server that restarts, is behind a pooler or requires TLS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest

from blocks.errors import DatabaseRefused, PooledSessions
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import BackupResult
from flows.backup import backup as backup_flow
from flows.demo.services import free_ports
from flows.restore import restore as restore_flow
from flows.restore_drill import restore_drill
from tasks import backup as backup_tasks
from tasks.engine.drill.place import Place, ProvisionedPlace, provision
from tasks.engine.dump import pg_dump as dump
from tasks.engine.repository.manifest import Manifest
from tests.conftest import FlowRun, NewDatabase
from tests.faults.conftest import Look
from tests.faults.servers import (
    Restartable,
    at,
    make_certificate,
    open_folder,
    pooler,
    restartable_server,
    tls_server,
)
from tests.faults.test_database_faults import BIG, BIG_ROWS, Clients, Midway, assert_backed_up, retries, stored
from tests.integration.objects import LIBRARY, asked, told

pytestmark = pytest.mark.usefixtures("hurried")

# --- restarted --------------------------------------------------------------------------------------------------------


@pytest.fixture
def restartable(clients: Clients, storage: ObjectStore) -> Iterator[Restartable]:
    """A dedicated server with a database that has a backup."""
    with restartable_server(clients[15], free_ports(1)[0]) as made:
        told(made.server, BIG)
        stored(storage, made.server, clients[15])
        yield made


@pytest.mark.parametrize("mode", ["fast", pytest.param("immediate", marks=pytest.mark.long)])
def test_server_restarted_in_a_dump(
    mode: str,
    restartable: Restartable,
    look: Look,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server is down for the first retry of the dump and back for the next: the run succeeds."""
    after = look(restartable.server)
    midway = Midway(monkeypatch, lambda: restartable.stop(mode))
    attempts = [0]

    def second_is_late(*arguments: object, **options: object) -> object:
        attempts[0] += 1
        if attempts[0] == 3:
            restartable.start()
        return dump.running_dump(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(backup_tasks, "running_dump", second_is_late)
    ran = flow_run(backup_flow, restartable.server, environ={"COMPRESSION_LEVEL": "1"})
    assert ran.result.rows == BIG_ROWS, ran.error
    assert (midway.happened, attempts[0], retries(caplog)) == (1, 3, 2)
    after.assert_nothing_lost()


@pytest.mark.long
def test_server_restarted_in_a_restore(
    restartable: Restartable, look: Look, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore that lost its server leaves its database marked as ours; the next one drops it and succeeds."""
    told(restartable.server, "CREATE DATABASE wanted")
    target, after = restartable.server.on("wanted"), look(restartable.server)
    read = ObjectStore.open_range

    def cut(self: ObjectStore, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        for number, chunk in enumerate(read(self, key, start, length)):
            if number == 5:
                restartable.stop("immediate")
            yield chunk

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "open_range", cut)
        ran = flow_run(restore_flow, to=target, backup="latest")
    after.assert_said(ran, "Cannot connect to database")
    restartable.start()
    assert asked(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    assert flow_run(restore_flow, to=target, backup="latest").result == BIG_ROWS
    after.assert_nothing_lost()


@pytest.mark.long
def test_server_restarted_in_a_drill(
    restartable: Restartable, look: Look, flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drill starts over when the server is back, and proves the backup; the next one drops the leftovers."""
    after, read, attempts = look(restartable.server), ObjectStore.open_range, [0]

    def cut(self: ObjectStore, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        attempts[0] += 1
        for number, chunk in enumerate(read(self, key, start, length)):
            if (number, attempts[0]) == (5, 1):
                restartable.stop("immediate")
            yield chunk

    def second_is_late(
        place: Place, manifest: Manifest | None, database: str
    ) -> AbstractContextManager[ProvisionedPlace]:
        if attempts[0] == 1:
            restartable.start()
        return provision(place, manifest, database)

    monkeypatch.setattr(ObjectStore, "open_range", cut)
    monkeypatch.setattr("tasks.engine.drill.rehearsal.provision", second_is_late)
    drilled = flow_run(restore_drill, restartable.server, environ={"VERIFY_TARGET": "database"})
    assert (drilled.state, attempts[0]) == ("PROVEN", 2)
    assert flow_run(restore_drill, restartable.server, environ={"VERIFY_TARGET": "database"}).state == "PROVEN"
    after.assert_nothing_lost()


# --- behind a pooler --------------------------------------------------------------------------------------------------


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A small database, with a backup."""
    return stored(storage, new_database(16, LIBRARY), clients[16])


@pytest.mark.parametrize("mode", ["transaction", pytest.param("statement", marks=pytest.mark.long)])
def test_pooler_that_shares_sessions(
    mode: str, library: Server, look: Look, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """pg_dump's session settings would be lost or leak to other clients: the pooler is reported, without retries."""
    after, sentence, port = look(library), "The database is behind a pooler in transaction mode", free_ports(1)[0]
    with pooler(library, port, mode):
        through = at(library, port)
        ran = flow_run(backup_flow, through)
        after.assert_said(ran, sentence)
        assert isinstance(ran.error, PooledSessions)
        ran = flow_run(restore_drill, through, environ={"VERIFY_TARGET": "database"})
        after.assert_said(ran, sentence, state="INCONCLUSIVE")
        after.assert_said(flow_run(restore_flow, to=through, backup="latest", replace=True), sentence)
    assert retries(caplog) == 0
    after.assert_nothing_lost()
    assert_backed_up(flow_run, library, after)


def test_pooler_that_is_busy(library: Server) -> None:
    """Transaction pooling is detected even when other clients keep taking the session we just used."""
    port, over = free_ports(1)[0], threading.Event()

    def work() -> None:
        with psycopg.connect(through.url.get_secret_value(), autocommit=True, prepare_threshold=None) as connection:
            while not over.is_set():
                connection.execute("SELECT pg_sleep(0.002)")

    with pooler(library, port, "transaction"), ThreadPoolExecutor(12) as others:
        through = at(library, port)
        working = [others.submit(work) for _ in range(12)]
        try:
            for _ in range(20):
                with pytest.raises(PooledSessions):
                    through.refuse_pooled_sessions()
        finally:
            over.set()
    assert [each.result() for each in working] == [None] * len(working)


@pytest.mark.long
def test_pooler_that_keeps_sessions(library: Server, look: Look, flow_run: FlowRun) -> None:
    """In session mode nothing is shared, and backups work as usual."""
    after, port = look(library), free_ports(1)[0]
    with pooler(library, port, "session"):
        ran = flow_run(backup_flow, at(library, port))
    assert isinstance(ran.result, BackupResult), ran.error
    after.assert_nothing_lost()


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificates() -> Iterator[Path]:
    """A folder for certificates."""
    with open_folder() as folder:
        make_certificate(folder, "stranger")
        yield folder


@pytest.fixture
def tls(certificates: Path, clients: Clients, storage: ObjectStore) -> Iterator[Server]:
    """A server that requires TLS, with a database that has a backup."""
    with tls_server(clients[15], free_ports(1)[0], certificates) as server:
        told(server, LIBRARY)
        yield stored(storage, server, clients[15])


# The connection's parameters, and what the server or libpq says about them; None if they are accepted.
WISHES: dict[str, tuple[dict[str, str], str | None]] = {
    "encrypted": ({"sslmode": "require"}, None),
    "the right authority": ({"sslmode": "verify-full", "sslrootcert": "localhost.crt", "host": "localhost"}, None),
    "another authority": ({"sslmode": "verify-full", "sslrootcert": "stranger.crt"}, "certificate verify failed"),
    "another name": ({"sslmode": "verify-full", "sslrootcert": "localhost.crt"}, "does not match host name"),
    "no certificate": ({"sslmode": "verify-ca", "sslrootcert": "missing.crt"}, "missing.crt"),
    "not encrypted": ({"sslmode": "disable"}, "no encryption"),
}


@pytest.mark.parametrize(
    "wish", [pytest.param(w, marks=[] if w == "another authority" else pytest.mark.long) for w in WISHES]
)
def test_tls(
    wish: str,
    tls: Server,
    certificates: Path,
    look: Look,
    flow_run: FlowRun,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wrong certificate, or TLS that only one side wants, is reported without retries."""
    given, said = WISHES[wish]
    if "sslrootcert" in given:
        given = {**given, "sslrootcert": str(certificates / given["sslrootcert"])}
    after = look(tls)
    if said:
        ran = flow_run(backup_flow, at(tls, "", **given))
        after.assert_said(ran, "Cannot connect to database")
        assert isinstance(ran.error, DatabaseRefused)
        assert said in ran.error.context
        assert "sslmode" in ran.error.hint
        assert retries(caplog) == 0
        after.assert_nothing_lost()
        given = {"sslmode": "require"}
    assert_backed_up(flow_run, at(tls, "", **given), after)


@pytest.mark.long
def test_tls_that_the_server_has_not(
    library: Server, look: Look, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A server without TLS is reported without retries."""
    after = look(library)
    ran = flow_run(backup_flow, at(library, sslmode="require"))
    after.assert_said(ran, "Cannot connect to database")
    assert isinstance(ran.error, DatabaseRefused)
    assert "sslmode" in ran.error.hint
    assert retries(caplog) == 0
    after.assert_nothing_lost()
    assert_backed_up(flow_run, library, after)
