"""A drill's place follows from the plan, the backup's version and the installed programs."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

import tasks.engine.drill.place
from blocks.config.plan import Plan
from blocks.errors import ClientMissing, ConfigurationError, StorageUnreachable
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from tasks.engine.drill.place import Place, choose_place, version_of
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.names import MANIFEST, OBJECT
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.plans import plan_of
from tests.unit.test_catalog import FIRST, NOW, manifest

Target = Literal["auto", "database", "sandbox"]
OWN = Server(url=SecretStr("postgresql://app@own/shop"))
OTHER = Server(url=SecretStr("postgresql://app@drills/postgres"))
MAJORS = st.integers(13, 20)


@dataclass
class OneObject(ObjectStore):
    """A bucket with one backup in it, and optionally its manifest."""

    data: bytes = b""
    document: bytes = b""

    def get(self, key: str, limit_bytes: int = 0) -> bytes:  # noqa: ARG002
        assert key.endswith(MANIFEST)
        return self.document

    def open_range(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        assert key.endswith(OBJECT)
        if self.data:
            yield self.data[start : start + (length or 1 << 30)]


def bucket(data: bytes = b"", document: bytes = b"") -> OneObject:
    at = ObjectStore.at(
        endpoint="https://s3.example.com", bucket="bucket", prefix="b", region="r", key_id="k", secret=SecretStr("s")
    )
    return OneObject(**vars(at), data=data, document=document)


def plan(target: Target = "auto", server: Server | None = OWN, verify: Server | None = None) -> Plan:
    return plan_of(bucket(), server, verify, verify_target=target)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A folder with the server's programs, and one without."""
    found = {}
    for has_server in (True, False):
        found[has_server] = tmp_path_factory.mktemp("bin")
        for name in ("initdb", "postgres", "pg_ctl")[: 3 if has_server else 2]:
            (found[has_server] / name).touch()
    return found


def clients_of(folders: dict[bool, Path], *wanted: tuple[int, int, bool]) -> list[Client]:
    return [Client(major, minor, folders[has_server]) for major, minor, has_server in wanted]


@given(
    st.lists(st.tuples(MAJORS, st.integers(0, 9), st.booleans()), max_size=6),
    st.just(0) | MAJORS,
    st.sampled_from(["auto", "database", "sandbox"]),
    st.sampled_from([None, OWN]),
    st.sampled_from([None, OTHER]),
)
def test_the_place_of_any_plan(
    folders: dict[bool, Path],
    wanted: list[tuple[int, int, bool]],
    major: int,
    target: Target,
    server: Server | None,
    verify: Server | None,
) -> None:
    """`database` is the drill server, else the source; `auto` prefers a drill server, then a sandbox, then the source."""
    enough = [(m, n) for m, n, has_server in wanted if has_server and m >= major]
    sandbox = target == "sandbox" or (target == "auto" and verify is None and enough)
    try:
        place = choose_place(plan(target, server, verify), major, clients_of(folders, *wanted))
    except ConfigurationError as error:
        assert (target, server, verify) == ("database", None, None)
        assert "DATABASE_URL" in error.lines()[1]  # noqa: PT017  (which error comes is what is tested)
        return
    except ClientMissing as error:
        assert not enough
        assert target == "sandbox" or not (server or verify)
        assert error.lines()[1].startswith("HINT: apt-get install postgresql-")  # noqa: PT017
        return
    assert place.kind == ("sandbox" if sandbox else "database")
    if not sandbox:
        assert (place.server, place.client) == (verify or server, None)
        return
    assert (place.server, place.client is not None) == (None, True)
    if place.client:
        best = max(m for m, _ in enough) if not major else min(m for m, _ in enough)
        assert (place.client.major, place.client.minor) == (best, max(n for m, n in enough if m == best))
        assert place.client.has_server


@pytest.mark.parametrize(("major", "installed", "expected"), [
    (16, [(15, 9, True), (16, 2, True), (16, 4, True), (18, 0, True)], (16, 4)),
    (16, [(15, 9, True), (17, 1, True), (17, 3, True), (18, 0, True)], (17, 3)),
    (16, [(16, 4, False), (18, 0, True)], (18, 0)), (0, [(15, 9, True), (18, 0, True), (17, 1, True)], (18, 0)),
    (0, [(15, 9, True), (18, 0, False)], (15, 9)),
])  # fmt: skip
def test_the_version_of_a_sandbox(
    folders: dict[bool, Path], major: int, installed: list[tuple[int, int, bool]], expected: tuple[int, int]
) -> None:
    """The backup's own major version or the next newer one, never an older; the newest when it isn't known."""
    client = choose_place(plan("sandbox"), major, clients_of(folders, *installed)).client
    assert client
    assert (client.major, client.minor) == expected


@pytest.mark.parametrize("installed", [[], [(15, 9, True)], [(16, 4, False), (18, 0, False)]])
def test_where_no_sandbox_can_be_made(folders: dict[bool, Path], installed: list[tuple[int, int, bool]]) -> None:
    """`sandbox` says what is missing and how to get it, whatever servers there are; `auto` uses the source's server."""
    clients = clients_of(folders, *installed)
    with pytest.raises(ClientMissing) as raised:
        choose_place(plan("sandbox", OWN, OTHER), 16, clients)
    assert raised.value.lines() == [
        "ERROR: The throwaway server could not be created [no server programs of PostgreSQL 16 or newer are installed] (PGR-SANDBOX-PROGRAMS)",
        "HINT: apt-get install postgresql-16, or set VERIFY_DATABASE_URL to a server for drills",
    ]
    assert choose_place(plan("auto"), 16, clients) == Place("database", server=OWN)
    with pytest.raises(ClientMissing, match="no server programs of PostgreSQL 16 or newer"):
        choose_place(plan("auto", None), 16, clients)


def test_nothing_at_all_is_installed() -> None:
    """Even when the version isn't known the message is a sentence."""
    with pytest.raises(ClientMissing, match="no server programs of PostgreSQL are installed"):
        choose_place(plan("sandbox"), 0, [])


def test_a_place_says_itself(folders: dict[bool, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A place's description has no user and password; the programs used are the installed ones."""
    monkeypatch.setattr(tasks.engine.drill.place, "installed_clients", lambda: clients_of(folders, (17, 2, True)))
    assert str(choose_place(plan(), 0)) == "a throwaway server, PostgreSQL 17.2"
    assert str(choose_place(plan("auto", OWN, OTHER), 0)) == "drills:5432/postgres"
    assert str(choose_place(plan(), 18)) == "own:5432/shop"


# --- the version ------------------------------------------------------------------------------------------------------


def backup(*, foreign: bool) -> Backup:
    return Backup(FIRST, NOW, f"b/{FIRST}{OBJECT}", 1, has_manifest=not foreign, has_report=False)


@pytest.mark.parametrize(("server", "client", "expected"), [
    ("16.4", "16.6", 16), ("15.3 (Debian 15.3-1)", "17.0", 17), ("17beta1", "17.0", 17), ("16", "16", 16), ("", "16.6", 0),
    ("sixteen", "16.6", 0),
])  # fmt: skip
def test_the_version_of_our_own_backups(server: str, client: str, expected: int) -> None:
    """The manifest says the version; a pg_dump newer than its server may need a server as new as pg_dump."""
    document = manifest(server_version=server, client_version=client).encode()
    assert version_of(Repository(bucket(document=document)), backup(foreign=False)) == expected


HEADER = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version {}\n-- Dumped by pg_dump version {}\n\nSET x;\n"


@pytest.mark.parametrize(("server", "client", "expected"), [
    ("16.4", "16.6", 16), ("9.6.24", "18.1 (Ubuntu 18.1-1)", 18), ("15.3 (Debian)", "14.1", 15), ("18beta1", "18beta1", 18),
])  # fmt: skip
@pytest.mark.parametrize("members", [1, 3])
def test_the_version_of_foreign_backups(server: str, client: str, expected: int, members: int) -> None:
    """The first lines of a dump say its version, in one gzip member or several."""
    rest = b"".join(gzip.compress(b"-- Dumped by pg_dump version 99\n") for _ in range(members - 1))
    data = gzip.compress(HEADER.format(server, client).encode()) + rest
    assert version_of(Repository(bucket(data)), backup(foreign=True)) == expected


def test_the_version_stands_in_the_part_that_is_read() -> None:
    """Only the beginning of a large object is fetched, and it ends in the middle of a gzip member."""
    rows = "".join(f"{n * 7919 % 1_000_003}\t{n * 104_729 % 999_983}\n" for n in range(60_000))
    data = gzip.compress(HEADER.format("16.4", "17.1").encode() + rows.encode())
    assert len(data) > 1 << 17
    assert version_of(Repository(bucket(data)), backup(foreign=True)) == 17


@given(st.binary(max_size=200) | st.binary(max_size=200).map(gzip.compress))
def test_rubbish_has_no_version(data: bytes) -> None:
    """A damaged object has an unknown version; the damage is reported when it is read."""
    assert version_of(Repository(bucket(data)), backup(foreign=True)) == 0
    assert version_of(Repository(bucket(document=data)), backup(foreign=False)) == 0


@pytest.mark.parametrize("foreign", [False, True])
def test_a_storage_that_does_not_answer_is_no_unknown_version(foreign: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network error is not mistaken for a backup without a version."""

    def broken(*_: object) -> bytes:
        raise StorageUnreachable

    monkeypatch.setattr(OneObject, "get", broken)
    monkeypatch.setattr(OneObject, "open_range", broken)
    with pytest.raises(StorageUnreachable):
        version_of(Repository(bucket()), backup(foreign=foreign))
