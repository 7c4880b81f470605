"""Backups made by version 1.0 can be listed, drilled, restored and pruned by this one.

Version 1.0 made the objects in tests/data/of_1_0 from a database on PostgreSQL 15, and drilled the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.s3.client import ObjectStore
from tasks.engine.repository.names import OBJECT, name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.retention import Policy, decide
from tests.conftest import Ended, NewDatabase
from tests.integration.objects import asked

OBJECTS = sorted((Path(__file__).parents[1] / "data" / "of_1_0").iterdir())
FIRST, SECOND = (path.name.removesuffix(OBJECT) for path in OBJECTS if path.name.endswith(OBJECT))
CONTENTS = (
    "SELECT count(*), sum(price), (SELECT count(*) FROM titles), (SELECT count(*) FROM dear), lo_get(4711) FROM books"
)


@pytest.fixture
def kept(storage: ObjectStore) -> Repository:
    """A bucket as 1.0 left it."""
    for path in OBJECTS:
        storage.put(storage.key(path.name), path.read_bytes())
    return Repository(storage)


def test_they_are_read_as_they_were_meant(kept: Repository) -> None:
    """Names, rows and verdict are those that 1.0 recorded."""
    first, second = kept.looked_into(kept.backups())
    assert [(b.name, b.verdict) for b in (first, second)] == [(FIRST, "PROVEN"), (SECOND, None)]
    manifest = kept.manifest(second)
    assert manifest
    assert (manifest.schema_rules, manifest.database, manifest.rows, manifest.large_objects) == (1, "shop", 320, 1)


def test_they_are_proven_and_restored(
    kept: Repository, new_database: NewDatabase, command_line: Callable[..., Ended]
) -> None:
    """A sandbox drill proves them, and a restore brings back every row and large object."""
    target = new_database(15)
    listed = command_line("list", server=target)
    assert FIRST in listed.out
    assert SECOND in listed.out
    drilled = command_line("drill", SECOND, server=target, VERIFY_TARGET="sandbox")
    assert drilled.status == 0, drilled.err
    done = command_line("restore", SECOND, "--to", target.url.get_secret_value(), server=target)
    assert done.status == 0, done.err
    ((rows, total, titles, dear, large),) = asked(target, CONTENTS)
    assert (rows, titles, dear, large) == (300, 300, 167, b"\x00\xff")
    assert round(total, 2) == total


def test_they_are_pruned(kept: Repository) -> None:
    """By today's rules, a year later, prune keeps the one that 1.0 proved, and the newest."""
    backups = kept.looked_into(kept.backups())
    later = backups[-1].taken_at + timedelta(days=365)
    newest = replace(backups[-1], name=name_at(later), taken_at=later, stored_at=later, manifest_version="")
    decided = decide([*backups, newest], Policy(retention_days=7, interval_s=3600), later)
    assert [b.name for b in decided.removals] == [SECOND]
    kept.remove(decided.removals[0])
    assert [b.name for b in kept.backups()] == [FIRST]
    assert {file.key.rpartition("/")[2] for file in kept.store.list_objects()} == {
        path.name for path in OBJECTS if path.name.startswith(FIRST)
    }
