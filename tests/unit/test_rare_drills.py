"""However many backups are made between two drills, the last proof is found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blocks.config.plan import Plan
from tasks.engine.notify.facts import read_facts
from tasks.engine.repository.names import name_at
from tasks.status import metrics, survey
from tasks.status.metrics import read_stock
from tests.memory_store import MemoryStore
from tests.unit.test_catalog import manifest, report

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PROVEN = name_at(NOW - timedelta(hours=130))


@pytest.fixture
def store() -> MemoryStore:
    """Hourly backups, the last drill of which was five days ago."""
    objects = {}
    for hours in range(150):
        at = NOW - timedelta(hours=hours)
        objects[f"backups/{name_at(at)}.sql.gz"] = b"12345"
        made = manifest(name_at(at), started_at=at, ended_at=at)
        objects[f"backups/{name_at(at)}.manifest.json"] = made.encode()
    proof = report(PROVEN).model_copy(update={"started_at": NOW - timedelta(hours=129)})
    objects[f"backups/{PROVEN}.drill.json"] = proof.encode()
    stored = dict.fromkeys(objects, NOW)
    return MemoryStore(objects=objects, moments=stored, seal_key=b"key", bucket="rare-drills")


def plan_in(store: MemoryStore) -> Plan:
    return Plan("default", store)  # type: ignore[arg-type]


def test_messages_and_metrics_find_it(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both name the backup and the time of its drill."""
    monkeypatch.setattr(metrics, "utc_now", lambda: NOW)
    facts, stock = read_facts(plan_in(store), NOW), read_stock(plan_in(store))
    assert facts.proven
    assert stock.proven
    assert (facts.proven.name, facts.proved_at) == (PROVEN, NOW - timedelta(hours=129))
    assert (stock.proven.name, stock.proven_at) == (PROVEN, NOW - timedelta(hours=129))


def test_the_page_finds_it(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the plan's own folder, and in one beside it."""
    empty = MemoryStore("others", bucket="rare-drills")
    for own, beside in ((store, empty), (empty, store)):
        monkeypatch.setattr(survey, "folders_beside", lambda *_, found=beside, **__: [found])
        found = [each.facts.proof(NOW) for each in survey.survey(plan_in(own), NOW).found]
        assert [proof[0].name for proof in found if proof] == [PROVEN]
