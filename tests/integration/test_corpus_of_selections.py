"""The corpus of bad backups, taken with a selection: every damage is found by the same checks, and a sound one is PROVEN."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tasks.engine.drill.place import Place
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import Manifest
from tasks.engine.servers.programs import Client
from tests.conftest import psql
from tests.integration.corpus import DAMAGES, DUMP_EDITS, MANIFEST_EDITS, MEDDLING, Case, Expected, meddled
from tests.integration.objects import (
    NAME,
    manifest_of,
    object_of,
    put_forged,
    put_manifest,
    put_object,
    take_backup,
    told,
)
from tests.integration.sandboxes import rehearsed
from tests.integration.test_corpus import CORPUS_SQL, MAJOR, assert_found, name_of, put

pytestmark = pytest.mark.usefixtures("unguarded")

MORE = """
CREATE SCHEMA gone; CREATE TABLE gone.t (a int);
CREATE TABLE gone_too (a serial); CREATE VIEW gone_as_well AS SELECT * FROM gone_too;
CREATE TABLE rowless (a int); INSERT INTO rowless VALUES (1), (2);
CREATE PUBLICATION all_of_it FOR ALL TABLES;
"""
SELECTION = {
    "exclude_schemas": "gone", "exclude_tables": "gone_*", "exclude_table_data": "rowless, measures",
    "pg_dump_options": "--no-publications --no-toast-compression --lock-wait-timeout=1min",
}  # fmt: skip
WITHOUT = (
    "1 schema, 2 tables, 1 view, 1 sequence, the rows of 2 tables, publications and compression methods of columns"
)
# Of each kind every fourth: test_corpus has all of them.
SOME = 4


@pytest.fixture(scope="module")
def server(server_of: Callable[[int], Server]) -> Server:
    """The server that the corpus comes from."""
    return server_of(MAJOR)


@pytest.fixture(scope="module")
def original(server: Server, clients: dict[int, Client], storage_server: Storage) -> tuple[bytes, bytes, Manifest]:
    """A sound backup with a selection: its object, SQL and manifest."""
    told(server, "DROP ROLE IF EXISTS corpus_reader", "CREATE ROLE corpus_reader", "CREATE DATABASE selections")
    psql(clients[MAJOR], server.on("selections"), CORPUS_SQL.read_text() + MORE)
    storage = storage_server.store("corpus-of-selections")
    take_backup(storage, server.on("selections"), clients[MAJOR], selection=SELECTION)
    told(server, "DROP DATABASE selections")
    data = object_of(storage)
    return data, gzip.decompress(data), manifest_of(storage)


@pytest.fixture
def place(server: Server) -> Place:
    """The place of all drills."""
    return Place("database", server=server)


def test_the_sound_one(original: tuple[bytes, bytes, Manifest], storage: ObjectStore, place: Place) -> None:
    """It is PROVEN, every check passed, and the verdict has what it is without."""
    data, _, manifest = original
    put(storage, manifest, data, "kept")
    report = rehearsed(storage, place)
    assert_found(report, {})
    assert report.without == WITHOUT
    assert {c.result for c in report.checks if c.name != checklist.GLOBALS} == {"passed"}


@pytest.mark.parametrize("case", DAMAGES[::SOME], ids=name_of)
def test_a_damaged_object(
    case: Case, original: tuple[bytes, bytes, Manifest], storage: ObjectStore, place: Place
) -> None:
    """A damaged object is FAILED by the damage itself."""
    data, _, manifest = original
    put(storage, manifest, case.damage(data), "forged")
    assert_found(rehearsed(storage, place), case.forged)


@pytest.mark.parametrize("case", DUMP_EDITS[::SOME], ids=name_of)
def test_a_changed_dump(
    case: Case, original: tuple[bytes, bytes, Manifest], storage: ObjectStore, place: Place
) -> None:
    """Every deviation from the manifest is found, part by part."""
    _, dump, manifest = original
    changed = case.damage(dump)
    assert changed != dump
    put_forged(storage, gzip.compress(changed, 1), manifest)
    assert_found(rehearsed(storage, place), case.forged)


@pytest.mark.parametrize(("edit", "expected"), MANIFEST_EDITS[::SOME], ids=lambda value: getattr(value, "__name__", ""))
def test_a_changed_manifest(
    edit: Callable[[Manifest], bytes], expected: Expected, original: tuple[bytes, bytes, Manifest], storage: ObjectStore, place: Place,
) -> None:  # fmt: skip
    """A manifest that doesn't match the object fails the backup."""
    data, _, manifest = original
    put_object(storage, data)
    storage.put(storage.key(NAME + ".manifest.json"), edit(manifest))
    assert_found(rehearsed(storage, place), expected)


@pytest.mark.parametrize("statement", [*MEDDLING][::SOME], ids=str)
def test_a_copy_that_is_not_what_was_stored(
    statement: str, original: tuple[bytes, bytes, Manifest], storage: ObjectStore, place: Place
) -> None:
    """The round trip finds and names whatever changes between the object and the copy."""
    _, dump, manifest = original
    put_forged(storage, gzip.compress(meddled(statement)(dump), 1), manifest)
    found = MEDDLING[statement]
    # One table more is in the copy than has rows in the backup.
    assert_found(rehearsed(storage, place), {name: why for name, why in found.items() if name != "query: table count"})


def test_a_manifest_that_forgot(original: tuple[bytes, bytes, Manifest], storage: ObjectStore, place: Place) -> None:
    """A manifest without what was left out doesn't make the backup whole: the tables without rows are noticed."""
    data, _, manifest = original
    put_object(storage, data)
    put_manifest(storage, manifest.model_copy(update={"left_out": None}))
    report = rehearsed(storage, place)
    assert_found(report, {"every table present": r"public\.measures_2026 is in the restored copy, not in the object"})
