"""The corpus of bad backups: each is FAILED by exactly the expected checks, which name the cause."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tasks.engine.drill.place import Place
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import DrillReport, Manifest
from tasks.engine.servers.programs import Client
from tests.conftest import HARD_SQL, psql
from tests.integration.corpus import DAMAGES, DUMP_EDITS, MANIFEST_EDITS, MEDDLING, OTHER_OWNER, Case, Expected, meddled
from tests.integration.objects import (
    NAME,
    manifest_of,
    object_of,
    put_forged,
    put_manifest,
    put_object,
    take_backup,
    told,
    without_manifest,
)
from tests.integration.sandboxes import rehearsed

pytestmark = pytest.mark.usefixtures("unguarded")

MAJOR = 15
CORPUS_SQL = HARD_SQL.with_name("corpus.sql")
# Invisible without a manifest.
UNKNOWN = {checklist.MANIFEST, checklist.SIZE, checklist.COLLATIONS}


@pytest.fixture(scope="module")
def server(server_of: Callable[[int], Server]) -> Server:
    """The server that the corpus comes from."""
    return server_of(MAJOR)


@pytest.fixture(scope="module")
def original(server: Server, clients: dict[int, Client], storage_server: Storage) -> tuple[bytes, bytes, Manifest]:
    """A sound backup with one of every kind of object that the corpus damages: its object, SQL and manifest."""
    told(server, "CREATE ROLE corpus_reader", "CREATE DATABASE corpus")
    psql(clients[MAJOR], server.on("corpus"), CORPUS_SQL.read_text())
    storage = storage_server.store("corpus")
    take_backup(storage, server.on("corpus"), clients[MAJOR])
    told(server, "DROP DATABASE corpus")
    data = object_of(storage)
    return data, gzip.decompress(data), manifest_of(storage)


@pytest.fixture
def places(server: Server, clients: dict[int, Client]) -> tuple[Place, ...]:
    """Places for drills: the verdict doesn't depend on them, and a sandbox takes a second to start."""
    sandbox, database = Place("sandbox", client=clients[MAJOR]), Place("database", server=server)
    return (sandbox, database, database, database, database)


def put(storage: ObjectStore, manifest: Manifest, data: bytes, how: str) -> None:
    """Store an object with its manifest kept, with its size and checksum forged to match, or without one."""
    if how == "forged":
        put_forged(storage, data, manifest)
        return
    put_object(storage, data)
    put_manifest(storage, manifest)
    if how == "foreign":
        without_manifest(storage)


def assert_found(report: DrillReport, expected: Expected) -> None:
    """Exactly these checks failed, each with its evidence, and the report has a cause."""
    failed = {c.name: c.evidence for c in report.checks if c.result == "failed"}
    assert failed.keys() == expected.keys(), report.cause
    assert report.verdict == ("FAILED" if expected else "PROVEN")
    for name, evidence in expected.items():
        assert re.search(evidence, failed[name]), (name, failed[name])
    assert bool(report.cause) == bool(expected)
    assert [c.name for c in report.checks] == list(checklist.ALL)


def cases_of(cases: list[Case], foreign: int) -> list[tuple[int, Case, str]]:
    """Return every case with each kind of manifest; of those invisible without one, every `foreign`-th is enough."""
    return [
        (number, case, how)
        for number, case in enumerate(cases)
        for how in ("kept", "forged", "foreign")
        if how != "foreign" or case.foreign or number % foreign == 0
    ]


def name_of(value: object) -> str:
    """Return a case's id in the test's parameters."""
    return value.damage.__name__ if isinstance(value, Case) else str(value) if isinstance(value, str) else ""


@pytest.mark.parametrize(("number", "case", "how"), cases_of(DAMAGES, 1), ids=name_of)
def test_a_damaged_object(
    number: int,
    case: Case,
    how: str,
    original: tuple[bytes, bytes, Manifest],
    storage: ObjectStore,
    places: tuple[Place, ...],
) -> None:
    """A damaged object is FAILED by its size or checksum or, when those are forged, by the damage itself."""
    data, _, manifest = original
    put(storage, manifest, case.damage(data), how)
    assert_found(rehearsed(storage, places[number % 5]), case.expected(how))


@pytest.mark.parametrize(("number", "case", "how"), cases_of([OTHER_OWNER, *DUMP_EDITS], 5), ids=name_of)
def test_a_changed_dump(
    number: int,
    case: Case,
    how: str,
    original: tuple[bytes, bytes, Manifest],
    storage: ObjectStore,
    places: tuple[Place, ...],
) -> None:
    """Every deviation from the manifest is found, part by part; without a manifest nothing can tell."""
    _, dump, manifest = original
    changed = case.damage(dump)
    assert changed != dump
    put(storage, manifest, gzip.compress(changed, 1), how)
    report = rehearsed(storage, places[number % 5])
    assert_found(report, case.expected(how))
    if how == "foreign" and report.verdict == "PROVEN":
        assert {c.name for c in report.checks if c.result == "not possible"} >= UNKNOWN


@pytest.mark.parametrize(("edit", "expected"), MANIFEST_EDITS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_changed_manifest(
    edit: Callable[[Manifest], bytes],
    expected: Expected,
    original: tuple[bytes, bytes, Manifest],
    storage: ObjectStore,
    places: tuple[Place, ...],
) -> None:
    """A manifest that belongs to another backup, is unreadable, or doesn't match the object fails the backup."""
    data, _, manifest = original
    put_object(storage, data)
    storage.put(storage.key(NAME + ".manifest.json"), edit(manifest))
    assert_found(rehearsed(storage, places[1]), expected)


@pytest.mark.parametrize(("number", "statement"), list(enumerate(MEDDLING)), ids=str)
def test_a_copy_that_is_not_what_was_stored(
    number: int,
    statement: str,
    original: tuple[bytes, bytes, Manifest],
    storage: ObjectStore,
    places: tuple[Place, ...],
) -> None:
    """The round trip finds and names whatever changes between the object and the copy."""
    _, dump, manifest = original
    put(storage, manifest, gzip.compress(meddled(statement)(dump), 1), "forged")
    assert_found(rehearsed(storage, places[number % 5]), MEDDLING[statement])


FOREIGN_COPIES: dict[str, Expected] = {
    "DELETE FROM public.books WHERE id = 5": {
        checklist.ROWS: r"public\.books: 300 rows in the object, 299 in the restored copy",
        checklist.ROW_QUERY: r"public\.books: 300 rows in the backup, 299 counted",
    },
    "UPDATE public.authors SET name = 'x' WHERE id = 5": {checklist.DIGESTS: r"public\.authors"},
    "DROP TABLE public.empty": {checklist.TABLES: r"public\.empty", checklist.TABLE_QUERY: "4 tables, 5 in the backup"},
    "SELECT pg_catalog.lo_unlink(4711)": {checklist.LARGE_OBJECTS: "2 in the object, 1 in the restored copy"},
    # Indistinguishable from a different way of dumping.
    "DROP INDEX public.books_by_title": {},
}


@pytest.mark.parametrize("statement", FOREIGN_COPIES)
def test_a_foreign_copy_that_is_not_what_was_stored(
    statement: str, original: tuple[bytes, bytes, Manifest], storage: ObjectStore, places: tuple[Place, ...]
) -> None:
    """Even without a manifest, every stored row must come back."""
    _, dump, manifest = original
    put(storage, manifest, gzip.compress(meddled(statement)(dump), 1), "foreign")
    assert_found(rehearsed(storage, places[1]), FOREIGN_COPIES[statement])


def test_the_sound_one(
    original: tuple[bytes, bytes, Manifest], storage: ObjectStore, places: tuple[Place, ...]
) -> None:
    """The undamaged backup is PROVEN without findings, in both places, and also when other tools compressed it."""
    data, dump, manifest = original
    for how, stored in (("kept", data), ("forged", gzip.compress(dump, 9)), ("forged", gzip.compress(dump, 0))):
        put(storage, manifest, stored, how)
        for place in places[:2]:
            report = rehearsed(storage, place)
            assert_found(report, {})
            assert {c.result for c in report.checks if c.name != checklist.GLOBALS} == {"passed"}


@pytest.mark.parametrize(
    ("at", "check"),
    [(0, checklist.GZIP), (4, checklist.SIZE), (10, checklist.GZIP), (-8, checklist.GZIP), (-4, checklist.GZIP)],
    ids=["magic number", "time", "first block", "checksum", "length"],
)
def test_wherever_a_bit_is_flipped(
    at: int, check: str, original: tuple[bytes, bytes, Manifest], storage: ObjectStore, places: tuple[Place, ...]
) -> None:
    """The SHA-256 catches flipped bits that gzip itself ignores."""
    data, _, manifest = original
    flipped = bytearray(data)
    flipped[at] ^= 0x10
    put(storage, manifest, bytes(flipped), "kept")
    assert_found(rehearsed(storage, places[1]), {check: "SHA-256" if check == checklist.SIZE else "gzip stream"})
