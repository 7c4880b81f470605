"""What the database and the network do to a backup, a drill and a restore: real faults on real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from blocks.errors import DatabaseUnreachable, DumpFailed
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import BackupResult
from flows.backup import backup as backup_flow
from flows.demo.services import free_ports
from flows.restore import restore as restore_flow
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.engine.dump import pg_dump as dump
from tasks.engine.repository.names import name_at
from tasks.engine.repository.upload import Upload
from tasks.engine.servers.programs import Client
from tasks.engine.stream import pipeline
from tests.conftest import FlowRun, NewDatabase
from tests.faults.aftermath import Aftermath, await_that
from tests.faults.conftest import Look
from tests.faults.servers import at
from tests.integration.objects import LIBRARY, asked, new_role, take_backup, told
from tests.integration.proxy import Proxy, proxy_to

pytestmark = pytest.mark.usefixtures("hurried")

MIB = 1 << 20
FAST = {"COMPRESSION_LEVEL": "1"}
# About 41 MB that no compressor shrinks: more than a pipeline with eight threads holds, so that an event in the middle
# finds the dump unfinished.
BIG = """CREATE TABLE big AS SELECT n, md5('a' || n) || md5('b' || n) || md5('c' || n) || md5('d' || n) AS v
FROM generate_series(1, 300000) n"""
BIG_ROWS = 300_000

Clients = dict[int, Client]


def stored(storage: ObjectStore, server: Server, client: Client) -> Server:
    """Return the database, with a backup from a minute ago in the storage."""
    take_backup(storage, server, client, name_at(utc_now().replace(minute=0, second=0)))
    return server


@pytest.fixture
def big(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A database whose dump is big enough to be interrupted midway, with a backup."""
    return stored(storage, new_database(16, BIG), clients[16])


@pytest.fixture
def library(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A small database, with a backup."""
    return stored(storage, new_database(16, LIBRARY), clients[16])


@pytest.fixture
def network(server_of: Callable[[int], Server]) -> Iterator[Proxy]:
    """The network path to the server of version 16."""
    with proxy_to(int(server_of(16).parameters()["port"])) as proxy:
        yield proxy


def retries(caplog: pytest.LogCaptureFixture) -> int:
    """Count the retries in the log."""
    return sum("trying again" in r.getMessage() or " - Retry " in r.getMessage() for r in caplog.records)


def assert_backed_up(flow_run: FlowRun, server: Server, after: Aftermath, **environ: str) -> None:
    """A backup succeeds, and nothing is lost or left over."""
    ran = flow_run(backup_flow, server, environ={**FAST, **environ})
    assert isinstance(ran.result, BackupResult), ran.error
    after.assert_nothing_lost()


class Midway:
    """Inject an event in the middle of the next dumps, `times` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, happening: Callable[[], object], times: int = 1) -> None:
        self.happened = 0
        write = Upload.write

        def wrapped(upload: Upload, data: bytes) -> None:
            if self.happened < times:
                self.happened += 1
                happening()
            write(upload, data)

        monkeypatch.setattr(Upload, "write", wrapped)


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "tries"), [("backup", 2), ("drill", 3), ("restore", 2)])
def test_connection_refused(
    what: str, tries: int, library: Server, look: Look, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused connection is retried, then reported."""
    after, nowhere = look(library), at(library, free_ports(1)[0])
    if what == "backup":
        ran = flow_run(backup_flow, nowhere)
    elif what == "drill":
        ran = flow_run(restore_drill, nowhere, environ={"VERIFY_TARGET": "database"})
    else:
        ran = flow_run(restore_flow, to=nowhere, backup="latest")
    after.assert_said(ran, "Cannot connect to database", "INCONCLUSIVE" if what == "drill" else "Failed")
    assert isinstance(ran.error, DatabaseUnreachable) or what == "drill"
    assert retries(caplog) == tries
    after.assert_nothing_lost()
    assert_backed_up(flow_run, library, after)


@pytest.mark.parametrize("resets", [pytest.param(1, id="once"), pytest.param(99, id="always", marks=pytest.mark.long)])
def test_connection_reset_in_a_dump(
    resets: int, big: Server, network: Proxy, look: Look, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A dump that is cut off costs one attempt; if every attempt fails, none of them is mistaken for a backup."""
    after = look(big)
    network.reset_after_down, network.resets_left = 20 * MIB, resets  # when part of the upload is under way
    if resets == 1:
        assert_backed_up(flow_run, at(big, network.port), after)
        assert (network.resets_left, retries(caplog)) == (0, 1)
        return
    ran = flow_run(backup_flow, at(big, network.port), environ=FAST)
    after.assert_said(ran, "Cannot connect to database")
    assert (resets - network.resets_left, retries(caplog)) == (4, 3)
    after.assert_nothing_lost()
    network.resets_left = 0
    assert_backed_up(flow_run, at(big, network.port), after)


def test_connection_reset_in_a_drill(
    big: Server, network: Proxy, look: Look, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A reset says nothing about the backup: the drill starts over and proves it."""
    after = look(big)
    network.reset_after_up, network.resets_left = 10 * MIB, 1
    ran = flow_run(restore_drill, at(big, network.port), environ={"VERIFY_TARGET": "database"})
    assert (ran.state, network.resets_left, retries(caplog)) == ("PROVEN", 0, 1)
    after.assert_nothing_lost()


@pytest.mark.long
def test_connection_reset_in_a_restore(
    big: Server, new_database: NewDatabase, network: Proxy, look: Look, flow_run: FlowRun
) -> None:
    """A failed restore is not retried automatically; its target is unchanged, and the next restore succeeds."""
    target = new_database(16)
    after = look(big)
    network.reset_after_up, network.resets_left = 10 * MIB, 1
    ran = flow_run(restore_flow, to=at(target, network.port), backup="latest")
    after.assert_said(ran, "Cannot connect to database")
    assert asked(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    after.assert_nothing_lost()
    assert flow_run(restore_flow, to=at(target, network.port), backup="latest").result == BIG_ROWS
    after.assert_nothing_lost()


@pytest.mark.long
def test_slow_network(big: Server, network: Proxy, look: Look, flow_run: FlowRun) -> None:
    """A slow network is not an error."""
    after = look(big)
    network.pause_s = 0.005
    assert_backed_up(flow_run, at(big, network.port), after)


@pytest.mark.long
def test_server_that_falls_silent(
    big: Server,
    network: Proxy,
    look: Look,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A dump that falls silent is abandoned after an hour (here two seconds) and started over."""
    after = look(big)
    monkeypatch.setattr(pipeline, "_SILENCE_S", 2.0)
    network.stall_after_down = 10 * MIB

    def mend() -> None:
        await_that(lambda: retries(caplog), "a retry is logged")
        network.resume()

    mending = threading.Thread(target=mend)
    mending.start()
    assert_backed_up(flow_run, at(big, network.port), after)
    mending.join()
    assert "Connection timed out [pg_dump wrote nothing" in caplog.text
    assert retries(caplog) == 1


def test_network_that_is_gone_without_a_word(big: Server, network: Proxy, clients: Clients) -> None:
    """pg_dump sends keepalives to a silent server every minute; the system defaults would wait two hours."""
    network.stall_after_down = MIB // 4  # less than the pipe behind pg_dump holds
    with dump.running_dump(at(big, network.port), clients[16]):
        await_that(lambda: network.stalled, "the dump is under way")
        timers = [timer for timer in keepalive_timers(network.port) if timer]
    assert timers
    assert max(timers) <= 60


def keepalive_timers(port: int) -> Iterator[float]:
    """Return the keepalive timers, in seconds, of our connections to a port; 0 for a connection without keepalives."""
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        for line in list(table)[1:]:
            fields = line.split()
            if fields[2].endswith(f":{port:04X}"):
                kind, when = fields[5].split(":")
                yield int(when, 16) / 100 if kind == "02" else 0.0


# --- concurrent changes to tables -------------------------------------------------------------------------------------


def waits_for_a_lock(server: Server) -> bool:
    return bool(asked(server, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK%%'"))


def test_table_dropped_in_a_dump(
    library: Server, look: Look, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A table dropped between pg_dump's listing and its locks makes the dump start over, without the table."""
    told(library, "CREATE TABLE doomed (a int)")
    after = look(library)

    def migrate(begun: threading.Event) -> None:
        with library.connect(own_names=True) as connection, connection.transaction():
            connection.execute("DROP TABLE doomed")
            begun.set()
            await_that(lambda: waits_for_a_lock(library), "pg_dump waits for the table")

    begun = threading.Event()
    migration = threading.Thread(target=migrate, args=(begun,))
    migration.start()
    begun.wait(30)
    assert_backed_up(flow_run, library, after)
    migration.join()
    assert retries(caplog) == 1
    assert "does not exist" in caplog.text


@pytest.mark.long
def test_table_locked_by_somebody(
    library: Server,
    look: Look,
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A lock that is never released costs five minutes an attempt (here one second), and the hint names locks."""
    after = look(library)
    monkeypatch.setattr(dump, "_LOCK_WAIT_MS", 1000)
    with library.connect(own_names=True) as migration, migration.transaction():
        migration.execute("LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
        ran = flow_run(backup_flow, library)
    after.assert_said(ran, "pg_dump failed")
    assert isinstance(ran.error, DumpFailed)
    assert "holds a lock" in ran.error.hint
    assert retries(caplog) == 3
    after.assert_nothing_lost()
    assert_backed_up(flow_run, library, after)


# --- limits that a role has for its applications ----------------------------------------------------------------------

LIMITS = (
    "statement_timeout",
    "lock_timeout",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
)


@pytest.fixture
def limited(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> Server:
    """A database whose role has every timeout set to half a second, with a backup."""
    server = new_database(17)
    role = new_role(server, "CREATEDB")
    name = role.parameters()["user"]
    told(server, f'ALTER DATABASE "{server.database}" OWNER TO {name}', f"ALTER SCHEMA public OWNER TO {name}")
    told(role, BIG.replace("300000", "40000"))
    for limit in LIMITS:
        told(server, f"ALTER ROLE {name} SET {limit} = '500ms'")
    return stored(storage, role, clients[17])


@pytest.fixture
def slow_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage so slow that a restore waits longer than the role's timeouts, at its start and midway."""
    read = ObjectStore.open_range

    def slowly(self: ObjectStore, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        for chunk in read(self, key, start, length):
            time.sleep(0.8)
            yield chunk

    monkeypatch.setattr(ObjectStore, "open_range", slowly)


@pytest.mark.long
def test_limits_of_a_role_in_a_backup(limited: Server, look: Look, flow_run: FlowRun) -> None:
    """A role's timeouts are meant for applications: they don't interrupt a dump, however slow the network."""
    after = look(limited)
    with proxy_to(int(limited.parameters()["port"])) as proxy:
        proxy.pause_s = 0.02
        begun = time.monotonic()
        assert_backed_up(flow_run, at(limited, proxy.port), after)
    assert time.monotonic() - begun > 1


@pytest.mark.long
@pytest.mark.usefixtures("slow_storage")
def test_limits_of_a_role_in_a_drill(limited: Server, look: Look, flow_run: FlowRun) -> None:
    """A role's timeouts interrupt neither a drill's restore nor the connection that guards the scratch database."""
    after = look(limited)
    ran = flow_run(restore_drill, limited, environ={"VERIFY_TARGET": "database"})
    assert (ran.state, ran.result.cause) == ("PROVEN", "")
    after.assert_nothing_lost()


@pytest.mark.long
@pytest.mark.usefixtures("slow_storage")
@pytest.mark.parametrize("how", ["swap", "in place"])
def test_limits_of_a_role_in_a_restore(
    how: str, limited: Server, server_of: Callable[[int], Server], look: Look, flow_run: FlowRun
) -> None:
    """A role's timeouts don't interrupt a restore, neither into a new database nor in place in one transaction."""
    name, superuser = limited.parameters()["user"], server_of(17)
    told(superuser, f"CREATE DATABASE wanted OWNER {name}")
    if how == "in place":
        told(superuser, f"ALTER ROLE {name} NOCREATEDB")
    after = look(superuser)
    try:
        ran = flow_run(restore_flow, to=limited.on("wanted"), backup="latest")
        assert ran.result == 40_000, ran.error
        after.assert_nothing_lost()
    finally:
        told(superuser, "DROP DATABASE wanted WITH (FORCE)")
