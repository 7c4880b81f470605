"""The corpus of bad backups, taken with a selection: every damage is found by the same checks, and a sound one is PROVEN."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tasks.engine.drill.place import Place
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import DrillReport, Manifest
from tasks.engine.servers.programs import Client
from tests.conftest import MAJORS, psql
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
from tests.integration.test_corpus import CORPUS_SQL, assert_found, name_of, put

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
# Not every version here has hstore, which the corpus uses.
EXTENSIONS = {15: "hstore", 16: "vector", 17: "hstore", 18: "vector"}
# Of each kind every fourth, in turn on each version: test_corpus has all of them.
SOME = 4


def id_of(value: object) -> str:
    """Return a version's or a case's id in a test's parameters."""
    if isinstance(value, tuple):
        return str(value[0].__name__)
    return str(value) if isinstance(value, int) else name_of(value)


class Original(NamedTuple):
    """A sound backup with a selection: its object, SQL and manifest, and the place of all drills of it."""

    data: bytes
    dump: bytes
    manifest: Manifest
    place: Place


OriginalOf = Callable[[int], Original]


def spread(cases: Sequence[Any]) -> list[Any]:
    """Return some of the cases, each with the version that it is tried on."""
    return [pytest.param(MAJORS[n % len(MAJORS)], case) for n, case in enumerate(cases[::SOME])]


def here(major: int, text: str) -> str:
    """Return a text of the corpus with the extension that this version has."""
    if EXTENSIONS[major] == "hstore":
        return text
    return text.replace("hstore('n', n::text)", "('[' || n || ']')::vector").replace("hstore", EXTENSIONS[major])


def found_here(major: int, report: DrillReport, expected: Expected) -> None:
    """Exactly these checks failed, each with its evidence."""
    assert_found(report, {name: here(major, why) for name, why in expected.items()})


@pytest.fixture(scope="module")
def original_of(server_of: Callable[[int], Server], clients: dict[int, Client], storage_server: Storage) -> OriginalOf:
    """A function that backs up the corpus on a version, once."""

    @cache
    def take(major: int) -> Original:
        server, storage = server_of(major), storage_server.store(f"corpus-of-selections-{major}")
        told(server, "DROP ROLE IF EXISTS corpus_reader", "CREATE ROLE corpus_reader", "CREATE DATABASE selections")
        psql(clients[major], server.on("selections"), here(major, CORPUS_SQL.read_text()) + MORE)
        take_backup(storage, server.on("selections"), clients[major], selection=SELECTION)
        told(server, "DROP DATABASE selections")
        data = object_of(storage)
        return Original(data, gzip.decompress(data), manifest_of(storage), Place("database", server=server))

    return take


@pytest.mark.parametrize("major", MAJORS)
def test_the_sound_one(major: int, original_of: OriginalOf, storage: ObjectStore) -> None:
    """It is PROVEN, every check passed, and the verdict has what it is without."""
    original = original_of(major)
    put(storage, original.manifest, original.data, "kept")
    report = rehearsed(storage, original.place)
    assert_found(report, {})
    assert report.without == WITHOUT
    assert {c.result for c in report.checks if c.name != checklist.GLOBALS} == {"passed"}


@pytest.mark.parametrize(("major", "case"), spread(DAMAGES), ids=id_of)
def test_a_damaged_object(major: int, case: Case, original_of: OriginalOf, storage: ObjectStore) -> None:
    """A damaged object is FAILED by the damage itself."""
    original = original_of(major)
    put(storage, original.manifest, case.damage(original.data), "forged")
    found_here(major, rehearsed(storage, original.place), case.forged)


@pytest.mark.parametrize(("major", "case"), spread(DUMP_EDITS), ids=id_of)
def test_a_changed_dump(major: int, case: Case, original_of: OriginalOf, storage: ObjectStore) -> None:
    """Every deviation from the manifest is found, part by part."""
    original = original_of(major)
    changed = case.damage(original.dump)
    assert changed != original.dump
    put_forged(storage, gzip.compress(changed, 1), original.manifest)
    found_here(major, rehearsed(storage, original.place), case.forged)


@pytest.mark.parametrize(("major", "edited"), spread(MANIFEST_EDITS), ids=id_of)
def test_a_changed_manifest(
    major: int, edited: tuple[Callable[[Manifest], bytes], Expected], original_of: OriginalOf, storage: ObjectStore
) -> None:
    """A manifest that doesn't match the object fails the backup."""
    original, (edit, expected) = original_of(major), edited
    put_object(storage, original.data)
    storage.put(storage.key(NAME + ".manifest.json"), edit(original.manifest))
    found_here(major, rehearsed(storage, original.place), expected)


@pytest.mark.parametrize(("major", "statement"), spread([*MEDDLING]), ids=id_of)
def test_a_copy_that_is_not_what_was_stored(
    major: int, statement: str, original_of: OriginalOf, storage: ObjectStore
) -> None:
    """The round trip finds and names whatever changes between the object and the copy."""
    original = original_of(major)
    put_forged(storage, gzip.compress(meddled(here(major, statement))(original.dump), 1), original.manifest)
    found = MEDDLING[statement]
    # One table more is in the copy than has rows in the backup.
    expected = {name: why for name, why in found.items() if name != "query: table count"}
    found_here(major, rehearsed(storage, original.place), expected)


@pytest.mark.parametrize("major", MAJORS[-1:])
def test_a_manifest_that_forgot(major: int, original_of: OriginalOf, storage: ObjectStore) -> None:
    """A manifest without what was left out doesn't make the backup whole: the tables without rows are noticed."""
    original = original_of(major)
    put_object(storage, original.data)
    put_manifest(storage, original.manifest.model_copy(update={"left_out": None}))
    report = rehearsed(storage, original.place)
    assert_found(report, {"every table present": r"public\.measures_2026 is in the restored copy, not in the object"})
