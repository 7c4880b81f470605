"""Reading a document from the bucket takes bounded memory, whatever it holds, and reports what is wrong with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from blocks.config.plan import Plan
from blocks.errors import BackupDamaged
from blocks.s3.client import StoredObject
from tasks.engine.repository.catalog import backups_in
from tasks.engine.repository.names import MANIFEST, REPORT, name_at
from tasks.engine.repository.repository import REPORT_BYTES, Repository
from tests.conftest import NewDatabase

NAME = "backup_20260101_000000"


@pytest.fixture
def plan(new_database: NewDatabase, plan_for: Callable[..., Plan]) -> Plan:
    return plan_for(new_database())


@pytest.mark.parametrize(
    "document",
    [
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"format": ' + b"9" * 1_000_000 + b"}",
        b'{"format": 1, "format": NaN}',
        b'{"name": "\\ud800"}',
        b'{"schema_parts": {"' + b"\\u001b[2J" * 1000 + b'": 1}}',
        b" " * ((64 << 20) + 1),
    ],
    ids=["deep object", "deep array", "long number", "NaN twice", "half a pair", "hostile key", "large"],
)
def test_a_document_that_is_none(plan: Plan, document: bytes) -> None:
    """An invalid manifest is damage, and an invalid report proves nothing."""
    storage = plan.storage
    storage.put(storage.key(NAME + ".sql.gz"), b"")
    storage.put(storage.key(NAME + MANIFEST), document)
    storage.put(storage.key(NAME + REPORT), document)
    backup = next(b for b in Repository(storage).backups() if b.name == NAME)
    with pytest.raises(BackupDamaged) as raised:
        Repository(storage).manifest(backup)
    assert len(raised.value.sentence) < 500
    assert "\x1b" not in raised.value.sentence
    assert Repository(storage).report_even_unlisted(NAME) is None


def test_no_more_is_read_than_may_be(plan: Plan) -> None:
    """A 64 MB object in place of a report takes no more memory than a report can."""
    storage = plan.storage
    storage.put(storage.key(NAME + REPORT), b" " * (64 << 20))
    tracemalloc.start()
    try:
        assert Repository(storage).report_even_unlisted(NAME) is None
        assert tracemalloc.get_traced_memory()[1] < 4 * REPORT_BYTES
    finally:
        tracemalloc.stop()


def test_other_objects_in_the_folder_are_not_remembered(plan: Plan) -> None:
    """However many objects there are, only those named like a backup are kept in memory."""
    storage, moment = plan.storage, datetime(2026, 1, 1, tzinfo=UTC)
    ours = storage.key(name_at(moment) + ".sql.gz")
    many = (StoredObject(storage.key(f"{n:0900d}.sql.gz"), 1, moment) for n in range(50_000))
    tracemalloc.start()
    try:
        found = backups_in(storage.key(""), (o for part in (many, [StoredObject(ours, 1, moment)]) for o in part))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert [b.key for b in found] == [ours]
