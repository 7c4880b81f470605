"""Whatever prevents a drill makes it INCONCLUSIVE: the cause is named, and the backup isn't blamed."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

import flows.restore_drill as drill_flow
from blocks.errors import StorageUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage, free_ports
from flows.restore_drill import restore_drill
from tasks.drill import choose_backup, rehearse_restore
from tasks.engine.drill.place import Place
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.servers.programs import Client
from tasks.status.listing import list_catalog
from tests.conftest import FlowRun, NewDatabase, databases_of
from tests.integration.objects import (
    LARGE_OBJECTS,
    LIBRARY,
    new_role,
    object_of,
    put_forged,
    rewrite,
    take_backup,
    told,
    without_manifest,
)
from tests.integration.sandboxes import rehearsed
from tests.plans import plan_of

Clients = dict[int, Client]
ServerOf = Callable[[int], Server]


def assert_inconclusive(report: DrillReport, *causes: str) -> None:
    """No check failed, the cause contains all of these, and there is a hint."""
    assert report.verdict == "INCONCLUSIVE", report.cause
    assert [c for c in report.checks if c.result == "failed"] == []
    assert report.hint
    for cause in causes:
        assert cause in report.cause
    assert [c.name for c in report.checks] == list(checklist.ALL)


# --- what a server lacks ----------------------------------------------------------------------------------------------

ROLES = {
    "owner": "ALTER TABLE t OWNER TO only_here",
    "grant": "GRANT SELECT ON t TO only_here",
    "policy": "CREATE POLICY p ON t TO only_here",
    "default": "ALTER DEFAULT PRIVILEGES FOR ROLE only_here GRANT SELECT ON TABLES TO PUBLIC",
    "grantor": "GRANT SELECT ON t TO only_here WITH GRANT OPTION; SET SESSION AUTHORIZATION only_here; GRANT SELECT ON t TO PUBLIC;",
}


@pytest.fixture
def only_here(server_of: ServerOf) -> Iterator[str]:
    """A role that exists only on the server of version 16; it is dropped afterwards."""
    told(server_of(16), "CREATE ROLE only_here SUPERUSER")
    yield "only_here"
    told(server_of(16), "DROP ROLE only_here")


@pytest.mark.parametrize("named", ROLES)
def test_a_missing_role(
    named: str, only_here: str, new_database: NewDatabase, server_of: ServerOf, clients: Clients, storage: ObjectStore
) -> None:
    """Roles belong to the server, so no database backup brings them; a sandbox creates them and proves the backup."""
    script = f"CREATE TABLE t (a int); INSERT INTO t VALUES (1); SELECT lo_from_bytea(1, 'x'); {ROLES[named]}"
    source = new_database(16, script)
    take_backup(storage, source, clients[16])
    told(source.on("postgres"), f"DROP DATABASE {source.database}")
    report = rehearsed(storage, Place("database", server=server_of(17)))
    assert_inconclusive(report, 'role "only_here" does not exist', "what is missing there: role only_here")
    assert rehearsed(storage, Place("sandbox", client=clients[16])).verdict == "PROVEN"


def test_a_missing_tablespace(
    new_database: NewDatabase, server_of: ServerOf, clients: Clients, storage: ObjectStore
) -> None:
    """Tablespaces belong to the server too, and are created in a sandbox."""
    server = server_of(16)
    with server.connect(own_names=True) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        connection.execute("CREATE TABLESPACE fast_disk LOCATION ''")
    source = new_database(16, "CREATE TABLE t (a int) TABLESPACE fast_disk; INSERT INTO t VALUES (1)")
    take_backup(storage, source, clients[16])
    told(server, f"DROP DATABASE {source.database}", "DROP TABLESPACE fast_disk")
    report = rehearsed(storage, Place("database", server=server_of(18)))
    assert_inconclusive(report, "fast_disk", "what is missing there: tablespace fast_disk")
    assert rehearsed(storage, Place("sandbox", client=clients[16])).verdict == "PROVEN"


@pytest.mark.parametrize("kind", ["database", "sandbox"])
@pytest.mark.parametrize("script", [
    "CREATE EXTENSION hstore; CREATE TABLE t (h hstore); INSERT INTO t VALUES ('a=>1')",
    # With large objects the server sends other messages first.
    "CREATE EXTENSION hstore; SELECT lo_from_bytea(1, 'x'); CREATE PUBLICATION p FOR ALL TABLES",
])  # fmt: skip
def test_a_missing_extension(
    script: str, kind: str, new_database: NewDatabase, server_of: ServerOf, clients: Clients, storage: ObjectStore
) -> None:
    """An extension that isn't installed where the drill runs is named as missing there."""
    take_backup(storage, new_database(15, script), clients[15])
    place = Place("database", server=server_of(18)) if kind == "database" else Place("sandbox", client=clients[18])
    assert_inconclusive(rehearsed(storage, place), 'extension "hstore" is not available')
    assert rehearsed(storage, Place("sandbox", client=clients[15])).verdict == "PROVEN"


NOT_BUILT_IN = {
    "collation": ("""CREATE TABLE t (a text COLLATE "de-x-icu"); INSERT INTO t VALUES ('ä')""", 'collation "pg_catalog.de-x-icu"'),
    "provider": ("CREATE COLLATION german (provider = icu, locale = 'de')", "ICU is not supported in this build"),
    "library": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE c AS '$libdir/refint', 'check_primary_key'",
        'could not access file "$libdir/refint"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_BUILT_IN)
def test_what_a_server_was_built_without(
    what: str, new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """Features of the programs or the operating system are in no backup."""
    script, cause = NOT_BUILT_IN[what]
    take_backup(storage, new_database(15, script), clients[15])
    assert_inconclusive(rehearsed(storage, Place("sandbox", client=clients[16])), cause)
    assert rehearsed(storage, Place("sandbox", client=clients[15])).verdict == "PROVEN"


@pytest.mark.parametrize("kind", ["database", "sandbox"])
def test_an_older_server(
    kind: str, new_database: NewDatabase, server_of: ServerOf, clients: Clients, storage: ObjectStore
) -> None:
    """An older server that doesn't understand a dump doesn't make the backup bad; the versions are named."""
    take_backup(storage, new_database(18, LIBRARY + LARGE_OBJECTS), clients[18])
    place = Place("database", server=server_of(15)) if kind == "database" else Place("sandbox", client=clients[15])
    assert_inconclusive(rehearsed(storage, place), "pg_dump 18 wrote it, the server is 15", "transaction_timeout")


def test_a_role_that_may_not_create_databases(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """A drill without CREATEDB doesn't even start, and the server is unchanged."""
    source = new_database(16, LIBRARY)
    take_backup(storage, source, clients[16])
    before = databases_of(source)
    report = rehearsed(storage, Place("database", server=new_role(source)))
    assert_inconclusive(report, "permission denied to create database")
    assert databases_of(source) == before


def test_a_role_that_may_not_restore(new_database: NewDatabase, clients: Clients, storage: ObjectStore) -> None:
    """A role that can create a database but not the backup's contents gives no verdict either."""
    source = new_database(16, LIBRARY)
    take_backup(storage, source, clients[16])
    before = databases_of(source)
    report = rehearsed(storage, Place("database", server=new_role(source, "CREATEDB")))
    assert_inconclusive(report, 'must be able to SET ROLE "postgres"')
    assert databases_of(source) == before


def test_a_missing_role_hides_no_damage(
    only_here: str, new_database: NewDatabase, server_of: ServerOf, clients: Clients, storage: ObjectStore
) -> None:
    """A server that refuses the beginning doesn't end the checks: a damaged backup is FAILED."""
    script = "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 9) FROM generate_series(1, 12000) n; ALTER TABLE t OWNER TO only_here"
    source = new_database(16, script)
    take_backup(storage, source, clients[16])
    told(source.on("postgres"), f"DROP DATABASE {source.database}")
    rewrite(storage, lambda dump: dump[: dump.index(b"\n11000\t") + 1], forge=True)
    for _ in range(2):
        report = rehearsed(storage, Place("database", server=server_of(17)))
        assert report.verdict == "FAILED"
        assert {c.name for c in report.checks if c.result == "failed"} == {checklist.COMPLETE}
        assert "it ends inside the rows of table public.t" in report.cause
        without_manifest(storage)


# --- the bucket -------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transient errors are retried as often as in production, but without waiting."""
    for task in (choose_backup, rehearse_restore):
        monkeypatch.setattr(drill_flow, task.fn.__name__, task.with_options(retry_delay_seconds=0))


@pytest.mark.usefixtures("impatient")
def test_a_bucket_that_cannot_be_reached(flow_run: FlowRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the storage is unreachable nothing is known, not even which backups exist."""
    # The client makes five attempts with growing delays; one is enough to see the outcome.
    at = ObjectStore.at

    def once(**fields: object) -> ObjectStore:
        storage = at(**fields)  # type: ignore[arg-type]
        retries = {"mode": "standard", "max_attempts": 1}
        storage.config = {"retries": retries}
        return storage

    monkeypatch.setattr(ObjectStore, "at", once)
    ran = flow_run(restore_drill, environ={"S3_ENDPOINT": f"http://127.0.0.1:{free_ports(1)[0]}"})
    assert ran.state == "INCONCLUSIVE"
    assert_inconclusive(ran.result, "Failed to download backup from S3")


def test_keys_that_are_wrong(
    flow_run: FlowRun, new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """A storage that refuses our keys says nothing about what it keeps."""
    take_backup(storage, new_database(16, LIBRARY), clients[16])
    ran = flow_run(restore_drill, environ={"S3_SECRET_ACCESS_KEY": "not the secret"})
    assert ran.state == "INCONCLUSIVE"
    assert_inconclusive(ran.result, "Access Denied")
    assert [b["verdict"] for b in list_catalog(plan_of(storage))] == [None]


def test_keys_that_stop_being_right(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, storage_server: Storage
) -> None:
    """Keys that are revoked in the middle of a drill say nothing about the backup either."""
    take_backup(storage, new_database(16, LIBRARY), clients[16])
    place = Place("sandbox", client=clients[16])
    with pytest.MonkeyPatch.context() as patched:
        get = ObjectStore.get
        wrong = ObjectStore.at(
            endpoint=storage.endpoint, bucket=storage.bucket, prefix=storage.folder,
            region="us-east-1", key_id=storage_server.key_id, secret=SecretStr("not the secret"),
        )  # fmt: skip
        patched.setattr(ObjectStore, "get", lambda _, key: get(wrong, key))
        assert_inconclusive(rehearsed(storage, place), "Access Denied")


# --- damage in transit ------------------------------------------------------------------------------------------------

Flip = Callable[[int], int]  # the byte to change in a reading, numbered from 0


@pytest.fixture
def flipping(monkeypatch: pytest.MonkeyPatch) -> Callable[[Flip], list[int]]:
    """A function that flips a bit in what is read from objects, not in the object; a negative position flips none."""
    read, readings = ObjectStore.open_range, list[int]()

    def start(which: Flip) -> list[int]:
        def open_range(self: ObjectStore, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
            if length is not None:
                yield from read(self, key, start, length)
                return
            at = which(len(readings))
            readings.append(at)
            for chunk in read(self, key):
                changed = bytearray(chunk)
                if 0 <= at < len(chunk):
                    changed[at] ^= 0x10
                at -= len(chunk)
                yield bytes(changed)

        monkeypatch.setattr(ObjectStore, "open_range", open_range)
        return readings

    return start


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("manifest", [True, False], ids=["ours", "foreign"])
def test_what_comes_damaged_once_is_read_again(
    manifest: bool,
    new_database: NewDatabase,
    clients: Clients,
    storage: ObjectStore,
    flow_run: FlowRun,
    flipping: Callable[[Flip], list[int]],
) -> None:
    """A bit flipped in transit isn't held against the backup: the drill starts over and proves it."""
    take_backup(storage, new_database(16, LIBRARY), clients[16])
    if not manifest:
        without_manifest(storage)
    readings = flipping(lambda number: 1000 if number == 0 else -1)
    ran = flow_run(restore_drill)
    assert (ran.state, ran.result.cause) == ("PROVEN", "")
    assert len(readings) == 3


@pytest.fixture
def refused_at(new_database: NewDatabase, clients: Clients, storage: ObjectStore) -> int:
    """The position where psql fails on a flipped bit, in an uncompressed backup large enough that it does at once."""
    script = "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 9) AS v FROM generate_series(1, 12000) n"
    manifest = take_backup(storage, new_database(16, script), clients[16])
    data = gzip.compress(gzip.decompress(object_of(storage)), 0)
    put_forged(storage, data, manifest)
    return data.index(b"CREATE TABLE")


# Which readings have a flipped bit, and whether the error is transient.
NETWORKS: dict[str, tuple[Callable[[int, int], int], bool]] = {
    "the first reading": (lambda number, at: at if number == 0 else -1, True),
    "every reading elsewhere": (lambda number, at: at + 100_000 * number, True),
    "every reading in the same place": (lambda _, at: at, False),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_server_that_refuses_what_came_damaged(
    network: str,
    refused_at: int,
    clients: Clients,
    storage: ObjectStore,
    flipping: Callable[[Flip], list[int]],
) -> None:
    """Only damage that two readings agree on is held against a backup, whoever noticed it first."""
    which, transient = NETWORKS[network]
    flipping(lambda number: which(number, refused_at))
    place = Place("sandbox", client=clients[16])
    if transient:
        with pytest.raises(StorageUnreachable, match="Failed to download backup from S3"):
            rehearsed(storage, place)
        return
    report = rehearsed(storage, place)
    assert {c.name for c in report.checks if c.result == "failed"} == {checklist.GZIP}
