"""Faults of the storage and of the network to it, while the real flows run."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from blocks.s3 import client as s3_client
from blocks.s3 import providers
from blocks.s3.client import ObjectStore
from blocks.s3.providers import MIB, Provider
from blocks.sql.server import Server
from flows.backup import backup as backup_flow
from flows.demo.services import Storage
from flows.prune import prune
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.engine.repository.names import MANIFEST, OBJECT, name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.upload import Upload
from tasks.engine.servers.programs import Client
from tasks.status.listing import list_catalog
from tests.conftest import FlowRun, NewDatabase, Ran, command_environment
from tests.faults.aftermath import Aftermath, pending
from tests.faults.conftest import Look
from tests.faults.http_proxy import (
    Answer,
    Deed,
    Request,
    S3Proxy,
    at_most_parts,
    by_path_only,
    error,
    flipped,
    lagging,
    lost,
    reset,
    s3_proxy,
    short,
    slow,
    without_checksums,
)
from tests.faults.servers import make_certificate, open_folder
from tests.faults.test_database_faults import retries
from tests.integration.objects import (
    LARGE_OBJECTS,
    LIBRARY,
    NAME,
    asked,
    copied,
    new_role,
    role_of,
    take_backup,
    told,
)
from tests.plans import plan_of

pytestmark = pytest.mark.usefixtures("hurried")

# About 40 MB that no compressor shrinks: three parts, and a download that can be interrupted midway.
BIG = """CREATE TABLE big AS SELECT n, md5('a' || n) || md5('b' || n) || md5('c' || n) || md5('d' || n) AS v
FROM generate_series(1, 300000) n"""
ROWS = 300_000
OBJECTS, PARTS, WHOLE_UPLOAD = r"\.sql\.gz(\?x-id=\w+)?$", r"partNumber=", r"\?uploadId="
OVERLOADED = error(503, "SlowDown")
UPLOAD_FAILED, DOWNLOAD_FAILED, DENIED = "S3 upload failed", "Failed to download backup from S3", "Access Denied"

Waits = list[float]


def some(names: Iterable[str], soon: str) -> list[Any]:
    """Return parameters of which only those that match the pattern run by default; the rest are marked `long`."""
    return [name if re.fullmatch(soon, name) else pytest.param(name, marks=pytest.mark.long) for name in names]


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Record how long the client would have waited, each time, without waiting."""
    waited = Waits()
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr(s3_client, "_wait_after", waited.append)
    return waited


@pytest.fixture
def s3(storage_server: Storage) -> Iterator[S3Proxy]:
    """The network path to the storage."""
    with s3_proxy(urlsplit(storage_server.endpoint).port or 0) as proxy:
        yield proxy


@pytest.fixture
def run(s3: S3Proxy, flow_run: FlowRun) -> Run:
    """A function that runs a flow through the proxy."""

    def call(flow: Any, server: Server | None = None, environ: dict[str, str] | None = None, **more: Any) -> Ran:
        given = {"S3_ENDPOINT": s3.url, "COMPRESSION_LEVEL": "1", "VERIFY_TARGET": "database", **(environ or {})}
        return flow_run(flow, server, environ=given, **more)

    return call


@pytest.fixture
def small(new_database: NewDatabase) -> Server:
    """A database whose backup fits into one request."""
    return new_database(16, LIBRARY)


@pytest.fixture(scope="module")
def big(server_of: Callable[[int], Server]) -> Iterator[Server]:
    """A database whose backup is uploaded in parts."""
    server, name = server_of(16), "big for faults of the storage"
    with server.connect() as connection:
        connection.execute("CREATE DATABASE {}", name)
    with server.on(name).connect(own_names=True) as connection:
        connection.execute(BIG)
    yield server.on(name)
    with server.connect() as connection:
        connection.execute("DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def stored(big: Server, storage: ObjectStore, clients: dict[int, Client]) -> Server:
    """The big database, with a backup in the storage."""
    take_backup(storage, big, clients[16], name_at(datetime.now(UTC) - timedelta(minutes=5)))
    return big


@pytest.fixture
def sweeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Incomplete uploads count as stale at once, not after a day; those of this very second too."""
    monkeypatch.setattr("tasks.engine.repository.repository.STALE_UPLOAD", -timedelta(minutes=1))


def assert_backup(ran: Ran, storage: ObjectStore) -> None:
    """The run made the newest backup."""
    assert ran.error is None, ran.error
    assert Repository(storage).backups()[-1].name == ran.result.name


def assert_the_next_succeeds(run: Run, s3: S3Proxy, server: Server, after: Aftermath) -> None:
    """Without the fault a backup is made and proven, and nothing is left over from before."""
    s3.heal()
    assert_backup(run(backup_flow, server), after.storage)
    drilled = run(restore_drill, server)
    assert drilled.state == "PROVEN", drilled.result.cause
    after.assert_nothing_lost()


def dumps(caplog: pytest.LogCaptureFixture) -> int:
    """Count how often a dump was started."""
    return [record.getMessage() for record in caplog.records].count("Dumping database...")


# --- transient faults: they are retried inside the run ----------------------------------------------------------------

PASSING: dict[str, Deed] = {
    "500": error(500, "InternalError"),
    "503": OVERLOADED,
    "429": error(429, "TooManyRequests"),
    "timeout": error(400, "RequestTimeout"),
    "reset": reset(),
    "reset mid-body": reset(1 << 20),
    "lost answer": lost,
}


@pytest.mark.parametrize("fault", some(PASSING, "503|reset mid-body|lost answer"))
def test_an_upload_that_stumbles(
    fault: str, s3: S3Proxy, run: Run, big: Server, look: Look, waits: Waits, caplog: pytest.LogCaptureFixture
) -> None:
    """An upload retries each part by itself, after a wait; the dump continues and does not start over."""
    after = look(big)
    first = s3.on("PUT", PARTS, PASSING[fault], times=2)
    last = s3.on("POST", WHOLE_UPLOAD, PASSING[fault], times=1)
    ran = run(backup_flow, big)
    assert_backup(ran, after.storage)
    assert (ran.result.rows, first.done, last.done, dumps(caplog)) == (ROWS, 2, 1, 1)
    assert len(waits) == 3
    after.assert_nothing_lost()


def test_an_upload_that_is_forgotten_when_its_answer_is_lost(
    s3: S3Proxy, run: Run, big: Server, look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """Some storages answer a retried completion with NoSuchUpload: the object is looked up before failing."""
    after = look(big)
    s3.on("POST", WHOLE_UPLOAD, lost, times=1)
    again = s3.on("POST", WHOLE_UPLOAD, error(404, "NoSuchUpload"), times=1)
    assert_backup(run(backup_flow, big), after.storage)
    assert (again.done, dumps(caplog)) == (1, 1)
    after.assert_nothing_lost()


def test_a_storage_that_says_when_to_come_back(s3: S3Proxy, run: Run, small: Server, look: Look, waits: Waits) -> None:
    """Retry-After is honoured, within reason, whatever the status."""
    after = look(small)
    s3.on("PUT", OBJECTS, error(429, "TooManyRequests", Retry_After="7"), times=1)
    s3.on("PUT", OBJECTS, error(503, "SlowDown", Retry_After="86400"), times=1)
    assert_backup(run(backup_flow, small), after.storage)
    assert [7 <= waits[0] <= 8, 60 <= waits[1] <= 61, len(waits)] == [True, True, 2]
    after.assert_nothing_lost()


def test_an_answer_that_is_lost_for_good(
    s3: S3Proxy, run: Run, small: Server, look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """The object was stored but no response says so: the next attempt takes another name, and becomes the backup."""
    after = look(small)
    s3.on("PUT", OBJECTS, lost, times=6)
    s3.on(
        "HEAD", OBJECTS, OVERLOADED, after=3, times=6
    )  # HEADs: to name the backup, to name the dump, to claim it, before the object; then the fault is gone
    ran = run(backup_flow, small)
    assert_backup(ran, after.storage)
    assert dumps(caplog) == 2
    after.assert_nothing_lost()


@pytest.mark.parametrize(
    "fault", some([*(f for f in PASSING if f != "lost answer"), "short", "flipped"], "429|short|flipped")
)
@pytest.mark.parametrize("what", ["drill", "restore"])
def test_a_download_that_stumbles(
    what: str, fault: str, s3: S3Proxy, run: Run, stored: Server, new_database: NewDatabase, look: Look
) -> None:
    """A download resumes where it broke off; after a flipped bit the whole object is read again."""
    target = new_database(16)
    after = look(stored)
    deeds = {**PASSING, "short": short(9_000_000), "flipped": flipped(9_000_000)}
    rule = s3.on("GET", OBJECTS, deeds[fault], times=1 if fault == "flipped" else 2)
    ran = run(restore_drill, stored) if what == "drill" else run(restore, to=target, backup="latest")
    assert rule.done == rule.times
    if what == "drill":
        assert (ran.state, ran.result.cause) == ("PROVEN", "")
    else:
        assert (ran.result, asked(target, "SELECT count(*) FROM big")) == (ROWS, [(ROWS,)]), ran.error
    after.assert_nothing_lost()


@pytest.fixture
def in_place(
    new_database: NewDatabase, storage: ObjectStore, clients: dict[int, Client]
) -> Callable[[str], tuple[Server, Server]]:
    """A function that backs up a database whose role can't create others, and adds an empty one of that role."""

    def make(script: str) -> tuple[Server, Server]:
        source, target = new_database(16), new_database(16)
        login = new_role(source)
        for database in (source, target):
            told(database, f'ALTER DATABASE "{database.database}" OWNER TO {role_of(login)}',
                 f"ALTER SCHEMA public OWNER TO {role_of(login)}")  # fmt: skip
        told(login, script)
        take_backup(storage, login, clients[16])
        return login, login.on(target.database)

    return make


@pytest.mark.parametrize("objects", ["", LARGE_OBJECTS], ids=["rows", "large objects"])
@pytest.mark.parametrize("reading", some(["first", "second"], "second"))
def test_a_restore_in_place_that_stumbles(
    reading: str,
    objects: str,
    s3: S3Proxy,
    run: Run,
    in_place: Callable[[str], tuple[Server, Server]],
    look: Look,
) -> None:
    """A restore in place starts over unless part of it may be committed: then it reports what is left and the cause."""
    source, target = in_place(LIBRARY + objects)
    after = look(source)
    s3.on("GET", OBJECTS, flipped(1000), after=0 if reading == "first" else 1, times=1)
    ran = run(restore, to=target, backup="latest")
    if objects and reading == "second":
        after.assert_said(ran, DOWNLOAD_FAILED, hint="; it left nothing in the database")
        ran = run(restore, to=target, backup="latest")
    assert ran.error is None, ran.error
    assert asked(target, "SELECT count(*) FROM books") == [(300,)]
    after.assert_nothing_lost()


@pytest.mark.parametrize("fault", some(["503", "429", "reset", "lost answer"], "503"))
def test_a_prune_that_stumbles(
    fault: str,
    s3: S3Proxy,
    run: Run,
    small: Server,
    storage: ObjectStore,
    clients: dict[int, Client],
    look: Look,
) -> None:
    """A prune retries each request, and what was already deleted stays deleted."""
    old = two_old_backups(storage, small, clients)
    after = look(small)
    listed, deleted = s3.on("GET", "list-type=2", PASSING[fault], times=1), s3.on("DELETE", "", PASSING[fault], times=2)
    ran = run(prune)
    assert (ran.state, {b.name for b in ran.result.removals}) == ("Completed", old)
    assert (listed.done, deleted.done) == (1, 2)
    after.assert_nothing_lost(removed=frozenset(old))


def two_old_backups(storage: ObjectStore, server: Server, clients: dict[int, Client]) -> set[str]:
    """Store two backups that are due for removal, and a recent one."""
    take_backup(storage, server, clients[16])
    copied(storage, "backup_20240208_143022")
    copied(storage, name_at(datetime.now(UTC) - timedelta(minutes=5)))
    return {NAME, "backup_20240208_143022"}


@pytest.mark.long
def test_a_slow_storage(s3: S3Proxy, run: Run, big: Server, look: Look) -> None:
    """A slow storage is not an error."""
    after = look(big)
    s3.on("PUT|POST|GET|HEAD", "", slow(0.002))
    assert_the_next_succeeds(run, SimpleNamespace(heal=lambda: None), big, after)  # type: ignore[arg-type]


# --- persistent faults ------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_storage_that_stays_overloaded(
    s3: S3Proxy, run: Run, big: Server, look: Look, waits: Waits, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests and dumps are each retried a few times, and then the error is reported once."""
    after = look(big)
    s3.on("PUT", PARTS, OVERLOADED)
    ran = run(backup_flow, big)
    after.assert_said(ran, UPLOAD_FAILED)
    assert dumps(caplog) == 4
    assert len(waits) >= 4 * 5
    after.assert_nothing_lost()
    assert_the_next_succeeds(run, s3, big, after)


@pytest.mark.parametrize("moment", some(["before", "in the middle"], "in the middle"))
def test_a_connection_that_is_refused(
    moment: str, s3: S3Proxy, run: Run, big: Server, look: Look, sweeping: None
) -> None:
    """The storage refuses connections, from the start or from the second part on."""
    after = look(big)
    if moment == "before":
        s3.refuse()
    else:
        s3.on("PUT", PARTS, refusing(s3), after=1, times=1)
    ran = run(backup_flow, big)
    after.assert_said(ran, UPLOAD_FAILED)
    after.assert_nothing_lost(uploads_may_stay=True)
    s3.listen()
    assert_the_next_succeeds(run, s3, big, after)


def test_a_storage_with_a_strange_certificate(
    run: Run, small: Server, look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """An unverified server never gets our keys; the error is reported without retries, which could not help."""
    after = look(small)
    with strange_storage() as port:
        ran = run(backup_flow, small, environ={"S3_ENDPOINT": f"https://localhost:{port}"})
    after.assert_said(ran, UPLOAD_FAILED)
    assert ran.error
    assert "its certificate is not accepted" in ran.error.sentence
    assert "AWS_CA_BUNDLE" in ran.error.hint
    assert retries(caplog) == 0
    after.assert_nothing_lost()


@contextmanager
def strange_storage() -> Iterator[int]:
    """Listen with TLS and a certificate that nobody has signed; yield the port."""
    with open_folder() as folder, ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        certificate, key = make_certificate(folder, "localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def refusing(s3: S3Proxy) -> Deed:
    """Refuse connections from this request on."""

    def deed(request: Request) -> Answer:
        s3.refuse()
        return reset()(request)

    return deed


def test_a_storage_that_comes_back(
    s3: S3Proxy, run: Run, big: Server, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that restarts in the middle of an upload costs a wait."""
    after, waited = look(big), Waits()

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            s3.listen()

    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=wait))
    s3.on("PUT", PARTS, refusing(s3), after=1, times=1)
    assert_backup(run(backup_flow, big), after.storage)
    assert len(waited) >= 3
    after.assert_nothing_lost()


def test_keys_that_are_rotated_in_the_middle_of_an_upload(
    s3: S3Proxy,
    run: Run,
    big: Server,
    look: Look,
    sweeping: None,
    waits: Waits,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is retried, and the upload can't be aborted with the old keys; the next run sweeps it."""
    after = look(big)
    part = s3.on("PUT", PARTS, error(403, "AccessDenied"), after=1)
    s3.on("DELETE", "", error(403, "AccessDenied"))
    ran = run(backup_flow, big)
    after.assert_said(ran, DENIED)
    assert (dumps(caplog), part.done <= 2, waits) == (1, True, [])
    assert len(pending(after.storage)) == 1
    after.assert_nothing_lost(uploads_may_stay=True)
    assert_the_next_succeeds(run, s3, big, after)


def test_keys_that_are_rotated_before_the_manifest(s3: S3Proxy, run: Run, small: Server, look: Look) -> None:
    """An object stored without its manifest is not one of our backups, and the run reports failure."""
    after = look(small)
    rule = s3.on("PUT", re.escape(MANIFEST), error(403, "AccessDenied"))
    after.assert_said(run(backup_flow, small), DENIED)
    assert rule.done == 1
    assert [b.has_manifest for b in Repository(after.storage).backups()] == [False]
    after.assert_nothing_lost()
    assert_the_next_succeeds(run, s3, small, after)


@pytest.mark.parametrize("what", ["drill", "restore"])
@pytest.mark.parametrize("fault", some(["403", "503", "refused", "short", "bucket gone"], "403"))
def test_a_download_that_cannot_be_ended(
    fault: str, what: str, s3: S3Proxy, run: Run, stored: Server, new_database: NewDatabase, look: Look
) -> None:
    """The drill gives no verdict on the backup, and the restore's target is unchanged."""
    target = new_database(16)
    after = look(stored)
    deeds = {"403": error(403, "AccessDenied"), "503": OVERLOADED, "refused": refusing(s3), "short": short(0),
             "bucket gone": error(404, "NoSuchBucket")}  # fmt: skip
    s3.on("GET", OBJECTS, short(9_000_000), times=1)
    rule = s3.on("GET", OBJECTS, deeds[fault])
    ran = run(restore_drill, stored) if what == "drill" else run(restore, to=target, backup="latest")
    after.assert_said(
        ran, DENIED if fault == "403" else DOWNLOAD_FAILED, "INCONCLUSIVE" if what == "drill" else "Failed"
    )
    if fault in ("403", "bucket gone"):
        assert rule.done == 1, "a permanent error was retried"
    assert asked(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    if fault == "refused":
        s3.listen()
    after.assert_nothing_lost()
    assert_the_next_succeeds(run, s3, stored, after)


@pytest.mark.parametrize("what", ["drill", "restore"])
def test_a_bit_that_is_always_changed(
    what: str, s3: S3Proxy, run: Run, stored: Server, new_database: NewDatabase, look: Look
) -> None:
    """Two readings agree that the object isn't what was stored: it is never PROVEN and never restored."""
    target = new_database(16)
    after = look(stored)
    rule = s3.on("GET", OBJECTS, flipped(9_000_000))
    ran = run(restore_drill, stored) if what == "drill" else run(restore, to=target, backup="latest")
    after.assert_said(ran, "Restore failed", "FAILED" if what == "drill" else "Failed")
    assert rule.done == 2
    assert asked(target, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    after.assert_nothing_lost()
    assert_the_next_succeeds(run, s3, stored, after)


@pytest.mark.parametrize("fault", some(["503", "refused", "bucket gone"], "refused"))
def test_a_prune_that_cannot_be_ended(
    fault: str,
    s3: S3Proxy,
    run: Run,
    small: Server,
    storage: ObjectStore,
    clients: dict[int, Client],
    look: Look,
) -> None:
    """Backups that were not reached stay intact and are counted as failed; the next prune finishes the work."""
    first, second = sorted(two_old_backups(storage, small, clients))
    after = look(small)
    deeds = {"503": OVERLOADED, "refused": refusing(s3), "bucket gone": error(404, "NoSuchBucket")}
    rule = s3.on("DELETE", "", deeds[fault], after=3)  # of the manifest, of roles and settings, of the object
    ran = run(prune)
    assert (ran.state, [b.name for b in ran.result.removals], ran.result.failed) == ("Completed", [first], 1)
    assert rule.done == {"503": 18, "refused": 1, "bucket gone": 1}[fault]
    after.assert_nothing_lost(removed=frozenset({first}))
    s3.heal()
    if fault == "refused":
        s3.listen()
    assert [b.name for b in run(prune).result.removals] == [second]
    after.assert_nothing_lost(removed=frozenset({first, second}))


@pytest.mark.parametrize("fault", some(["501", "503", "403"], "501"))
def test_a_storage_that_lists_no_uploads(
    fault: str, s3: S3Proxy, run: Run, small: Server, look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    """Unswept uploads cost money but no backup: the run warns and continues."""
    after = look(small)
    deeds = {"501": error(501, "NotImplemented"), "503": OVERLOADED, "403": error(403, "AccessDenied")}
    rule = s3.on("GET", r"[?&]uploads", deeds[fault])
    assert_backup(run(backup_flow, small), after.storage)
    assert rule.done
    assert "Could not look for stale uploads: " in caplog.text
    after.assert_nothing_lost()


def test_deleting_that_is_denied(
    s3: S3Proxy, run: Run, small: Server, storage: ObjectStore, clients: dict[int, Client], look: Look
) -> None:
    """Keys without delete permission keep everything: a warning, no retries, and the run completes."""
    old = two_old_backups(storage, small, clients)
    after = look(small)
    rule = s3.on("DELETE", "", error(403, "AccessDenied"))
    ran = run(prune)
    assert (ran.state, ran.result.removals, rule.done) == ("Completed", [], len(old))
    after.assert_nothing_lost()


# --- providers with their own quirks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["no checksums", "by path"])
def test_a_provider_with_ways_of_its_own(
    way: str, s3: S3Proxy, run: Run, big: Server, storage: ObjectStore, new_database: NewDatabase, look: Look
) -> None:
    """Providers that reject newer SDKs' checksum headers or allow only path-style addressing work without notice."""
    target = new_database(16)
    after = look(big)
    s3.on(
        "PUT|POST|GET|HEAD|DELETE",
        "",
        without_checksums if way == "no checksums" else by_path_only(storage.bucket),
    )
    environ = {"S3_ENDPOINT": f"http://localhost:{s3.port}"}
    assert_backup(run(backup_flow, big, environ), storage)
    assert run(restore_drill, big, environ).state == "PROVEN"
    assert run(prune, environ=environ).state == "Completed"
    assert run(restore, environ=environ, to=target, backup="latest").result == ROWS
    after.assert_nothing_lost()


def test_a_provider_of_few_parts(
    s3: S3Proxy, storage_server: Storage, storage: ObjectStore, monkeypatch: pytest.MonkeyPatch, look: Look
) -> None:
    """When the limit is known, a stream far larger than expected still becomes one object: later parts are larger.

    Some providers allow 1,000 parts; here it is eight, because a part has at least 5 MiB.
    """
    after = look()
    monkeypatch.setattr(providers, "OTHER", Provider("few parts", max_parts=8))
    by_proxy = replace(storage_server, endpoint=s3.url).store(storage.folder)
    rule = s3.on("PUT", PARTS, at_most_parts(8))
    upload = Upload(by_proxy, by_proxy.key("large" + OBJECT), expected_bytes=0, part_bytes=5 * MIB)
    for _ in range(60):
        upload.write(bytes(MIB))
    upload.complete()
    found = storage.stat(storage.key("large" + OBJECT))
    assert found is not None
    assert (found.size_bytes, 4 < rule.seen <= 8) == (60 * MIB, True)
    after.assert_nothing_lost()


@pytest.mark.long
def test_a_provider_of_few_parts_that_nobody_knows(s3: S3Proxy, run: Run, big: Server, look: Look) -> None:
    """A refused part number ends the backup with the storage's own error code; nothing of it stays."""
    after = look(big)
    rule = s3.on("PUT", PARTS, at_most_parts(1))
    ran = run(backup_flow, big)
    after.assert_said(ran, UPLOAD_FAILED, hint="refused the request")
    assert "InvalidArgument" in ran.error.sentence if ran.error else False
    assert rule.seen <= 4
    after.assert_nothing_lost()
    assert_the_next_succeeds(run, s3, big, after)


# --- a listing that lags ----------------------------------------------------------------------------------------------


def test_a_listing_that_does_not_show_the_first_backup(s3: S3Proxy, run: Run, small: Server, look: Look) -> None:
    """Another backup doesn't collide with the unlisted one, a drill reports no backups, and nothing is pruned."""
    after = look(small)
    s3.on("GET", "list-type=2", lagging(datetime.now(UTC) - timedelta(hours=1)))
    names = {run(backup_flow, small).result.name for _ in range(2)}
    assert len(names) == 2
    after.assert_said(run(restore_drill, small), "No backups found in S3")
    assert run(prune).result.decisions == ()
    s3.heal()
    assert {b.name for b in Repository(after.storage).backups()} == names
    after.assert_nothing_lost()
    assert run(restore_drill, small).state == "PROVEN"


def test_a_listing_that_shows_old_backups_alone(
    s3: S3Proxy, run: Run, small: Server, storage: ObjectStore, clients: dict[int, Client], look: Look,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Old backups are taken for the newest: they are kept and drilled, and none is removed."""
    take_backup(storage, small, clients[16])
    copied(storage, "backup_20240208_143022")
    after = look(small)
    time.sleep(1.1)  # listings have a resolution of one second
    s3.on("GET", "list-type=2", lagging(datetime.now(UTC) - timedelta(seconds=0.5)))
    with monkeypatch.context() as patient:
        patient.setenv("BACKUP_RETENTION_DAYS", "36500")  # a backup's own prune counts it even when it isn't listed
        made = run(backup_flow, small)
    assert made.error is None
    drilled = run(restore_drill, small)
    assert (drilled.state, drilled.result.backup) == ("PROVEN", "backup_20240208_143022")
    assert [d.keep for d in run(prune).result.decisions] == [True, True]
    s3.heal()
    assert Repository(storage).backups()[-1].name == made.result.name
    after.assert_nothing_lost()


def test_a_listing_that_shows_what_is_gone(
    s3: S3Proxy, run: Run, small: Server, storage: ObjectStore, storage_server: Storage,
    clients: dict[int, Client], look: Look,
) -> None:  # fmt: skip
    """A backup pruned a moment ago is still listed, with its rows only if they were read before, and nothing fails."""
    old = two_old_backups(storage, small, clients)
    gone, after = min(old), look(small)
    s3.on("GET", "list-type=2", remembering())
    through = plan_of(replace(storage_server, endpoint=s3.url).store(storage.folder))
    assert len(Repository(through.storage).backups()) == 3
    for kind in (MANIFEST, OBJECT):
        storage.remove(storage.key(gone + kind))
    assert [entry["rows"] for entry in list_catalog(through)] == [None, 320, 320]
    assert run(restore_drill, small).state == "PROVEN"
    assert_backup(run(backup_flow, small), storage)
    after.assert_nothing_lost(removed=frozenset(old))


def remembering() -> Deed:
    """Respond to every listing with the first one."""
    answers: list[Answer] = []

    def deed(request: Request) -> Answer:
        answers.append(request.forward())
        return answers[0]

    return deed


@pytest.mark.parametrize("what", ["drill", "restore"])
def test_a_listing_that_does_not_show_the_manifest_yet(
    what: str, s3: S3Proxy, run: Run, stored: Server, new_database: NewDatabase, look: Look
) -> None:
    """The manifest is requested by name, so that no proof or restore lacks something to compare with."""
    target, after = new_database(16), look(stored)
    asked_for = s3.on("GET", re.escape(MANIFEST), Request.forward)
    s3.on("GET", "list-type=2", without(r"\.manifest\.json"))
    ran = run(restore_drill, stored) if what == "drill" else run(restore, to=target, backup="latest")
    if what == "drill":
        assert ran.state == "PROVEN"
        assert [c.result for c in ran.result.checks if "manifest" in c.name] == ["passed"]
    assert ran.error is None
    assert asked_for.seen > 0
    after.assert_nothing_lost()


def test_a_listing_that_does_not_show_the_report_yet(
    s3: S3Proxy, run: Run, small: Server, storage: ObjectStore, clients: dict[int, Client], look: Look
) -> None:
    """Reports are listed again before a removal, so that the newest PROVEN backup is not taken for one never drilled."""
    two_old_backups(storage, small, clients)
    assert run(restore_drill, small, backup=NAME).state == "PROVEN"
    after = look(small)
    s3.on("GET", "list-type=2", without(r"\.drill_[0-9_]+\.json"), times=1)
    assert {b.name for b in run(prune).result.removals} == {"backup_20240208_143022"}
    s3.heal()
    assert NAME in {b.name for b in Repository(storage).backups() if b.has_manifest}
    after.assert_nothing_lost(removed=frozenset({"backup_20240208_143022"}))


def test_a_provider_that_lists_no_uploads(s3: S3Proxy, run: Run, small: Server, look: Look) -> None:
    """An unsupported listing costs no backup: stale uploads are left to the provider."""
    after = look(small)
    asked_for = s3.on("GET", r"\?(.*&)?uploads", error(501, "NotImplemented"))
    assert run(backup_flow, small).error is None
    assert asked_for.done == 2  # by the sweep and to claim a name; the prune after a backup does not sweep again
    s3.heal()
    after.assert_nothing_lost()


def without(end: str) -> Deed:
    """Omit keys with this ending from a listing."""

    def deed(request: Request) -> Answer:
        answer = request.forward()
        text = re.sub(rf"<Contents><Key>[^<]*{end}</Key>.*?</Contents>", "", answer.body.decode(), flags=re.DOTALL)
        assert not re.search(end, text)
        answer.body, answer.headers = text.encode(), []
        return answer

    return deed


# --- a bucket that is gone --------------------------------------------------------------------------------------------


def test_a_bucket_that_is_not_there(run: Run, small: Server, look: Look, new_database: NewDatabase) -> None:
    """Every flow reports the missing bucket, and how to fix it."""
    target, gone = new_database(16), {"S3_BUCKET": "nobody-made-it"}
    after = look(small)
    after.assert_said(run(backup_flow, small, gone), UPLOAD_FAILED)
    after.assert_said(run(restore_drill, small, gone), DOWNLOAD_FAILED, "INCONCLUSIVE")
    after.assert_said(run(restore, environ=gone, to=target, backup="latest"), DOWNLOAD_FAILED)
    pruned = run(prune, environ=gone)
    after.assert_said(pruned, "S3 request failed")
    assert pruned.error
    assert "create the bucket" in pruned.error.hint
    after.assert_nothing_lost()


@pytest.mark.parametrize("moment", some(["parts", "manifest"], "manifest"))
def test_a_bucket_that_vanishes(
    moment: str,
    s3: S3Proxy,
    run: Run,
    big: Server,
    look: Look,
    sweeping: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bucket that vanishes during or after the upload is reported as missing, without retries."""
    after, gone = look(big), error(404, "NoSuchBucket")

    def vanish(request: Request) -> Answer:
        answer = request.forward() if moment == "manifest" else gone(request)
        s3.on(".*", "", gone)
        return answer

    s3.on("PUT" if moment == "parts" else "POST", PARTS if moment == "parts" else WHOLE_UPLOAD, vanish, times=1)
    ran = run(backup_flow, big)
    after.assert_said(ran, UPLOAD_FAILED)
    assert ran.error
    assert "the bucket does not exist" in ran.error.sentence
    assert (dumps(caplog), "trying again" in caplog.text) == (1, False)
    s3.heal()
    after.assert_nothing_lost(uploads_may_stay=True)
    assert_the_next_succeeds(run, s3, big, after)


# --- the command ------------------------------------------------------------------------------------------------------

COMMANDS = {"backup": (["backup"], DENIED, 1), "drill": (["drill"], DENIED, 3), "restore": (["restore", "latest"], DENIED, 1),
            "prune": (["prune"], DENIED, 1)}  # fmt: skip


@pytest.fixture
def environ(storage_server: Storage, storage: ObjectStore, prefect_api: str, tmp_path: Path) -> dict[str, str]:
    """The environment of commands."""
    return command_environment(storage_server, storage, prefect_api, tmp_path)


@pytest.mark.long
def test_the_exit_status_after_a_fault(
    s3: S3Proxy, environ: dict[str, str], stored: Server, new_database: NewDatabase, look: Look
) -> None:
    """Exit with 1 for a failure and 3 for a drill without a verdict, with the sentence and its hint in the log."""
    target, after = new_database(16), look(stored)
    s3.on(".*", "", error(403, "AccessDenied"))
    places = {
        "S3_ENDPOINT": s3.url,
        "DATABASE_URL": stored.url.get_secret_value(),
        "RESTORE_DATABASE_URL": target.url.get_secret_value(),
    }
    started = {
        name: subprocess.Popen([str(Path(sys.prefix) / "bin" / "pg-roundtrip"), *arguments], env={**environ, **places}, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
        for name, (arguments, _, _) in COMMANDS.items()
    }  # fmt: skip
    for name, process in started.items():
        said = process.communicate(timeout=240)[0]
        assert process.returncode == COMMANDS[name][2], said
        assert f"ERROR: {COMMANDS[name][1]}" in said
        assert "HINT: check S3_ACCESS_KEY_ID" in said
    after.assert_nothing_lost()
