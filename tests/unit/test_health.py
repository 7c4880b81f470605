"""Backups are overdue once two slots have passed without one, but never right after a service has started."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.config.schedule import Schedule
from flows.service.status_pages import StatusPages
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.newest import newest_whole
from tasks.status.health import Health, overdue

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOURLY = Schedule(3600)
LONG_AGO = NOW - timedelta(days=30)
AGES = st.integers(0, 10**6).map(lambda s: timedelta(seconds=s))
SCHEDULES = st.builds(Schedule, st.integers(60, 10**6)) | st.builds(
    Schedule, st.just(60), st.sampled_from(["*/5 * * * *", "0 3 * * *", "0 9 * * 1-5", "0 0 1 * *"])
)


@given(SCHEDULES, AGES, AGES)
def test_more_age_never_heals(due: Schedule, age: timedelta, more: timedelta) -> None:
    """Overdue backups stay overdue until one is made; a backup younger than one gap is never overdue."""
    if overdue(NOW - age, due, LONG_AGO, NOW):
        assert overdue(NOW - age - more, due, LONG_AGO, NOW)
        assert overdue(None, due, LONG_AGO, NOW) or due.gap(NOW) > NOW - LONG_AGO
        assert age > due.gap(NOW) or NOW - due.before(NOW, 2) < due.gap(NOW)


@given(SCHEDULES, AGES)
def test_a_start_has_grace(due: Schedule, age: timedelta) -> None:
    """A deploy passes its health check before its first backup ends, whatever the bucket held."""
    assert overdue(NOW - age, due, NOW, NOW) == ""
    assert overdue(None, due, NOW - due.gap(NOW) + timedelta(seconds=1), NOW) == ""


def test_what_is_overdue() -> None:
    """Backups are overdue after two intervals; the sentence says how old the newest is, and how often they run."""
    assert overdue(NOW - timedelta(hours=2), HOURLY, LONG_AGO, NOW) == ""
    late = overdue(NOW - timedelta(hours=2, seconds=1), HOURLY, LONG_AGO, NOW)
    assert late == "the newest backup is 2 h old, and one is due every 60 min"
    assert overdue(None, HOURLY, NOW - timedelta(hours=1), NOW) == "there is no backup, 60 min after the start"


def test_half_a_backup_is_no_backup() -> None:
    """An object without a manifest counts only where no backup has one, because then another tool makes them."""
    old, half = _backup(2, manifest=True), _backup(1, manifest=False)
    assert newest_whole([old, half], NOW) == old
    assert newest_whole([half], NOW) == half
    assert newest_whole([], NOW) is None


def test_the_document_says_what_is_wrong() -> None:
    """The health document has all reasons at once, and each part by itself."""
    sick = Health({"database": "Cannot connect to database", "storage": "ok", "backups": "late"}, None)
    assert not sick.good
    assert sick.document() == {
        "status": "unhealthy", "reason": "database: Cannot connect to database; backups: late",
        "database": "Cannot connect to database", "storage": "ok", "backups": "late", "newest_backup": None,
        "history": "ok", "notifications": "ok",
    }  # fmt: skip
    assert Health({"storage": "ok"}, NOW).document()["newest_backup"] == "2026-11-21T12:00:00Z"


def _backup(hours: int, *, manifest: bool) -> Backup:
    taken = NOW - timedelta(hours=hours)
    return Backup(f"backup_{hours}", taken, "", 1, has_manifest=manifest, has_report=False)


def answer(found: Health, monkeypatch: pytest.MonkeyPatch, seconds: float = 0) -> tuple[int, dict[str, object]]:
    """Return the `/health` response when the examination returns this after so many seconds."""

    def examined(*_: object, **__: object) -> Health:
        time.sleep(seconds)
        return found

    monkeypatch.setattr("flows.service.status_pages.examine", examined)
    nothing: Any = None  # replaced by the examination above
    response = asyncio.run(StatusPages(nothing, ("backup",), NOW).health())
    return response.status_code, json.loads(bytes(response.body))


def test_the_answer_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 while all is well; 503 with the reason when something isn't, or when the examination times out."""
    well = {"database": "ok", "storage": "ok", "backups": "ok"}
    status, said = answer(Health(well, NOW), monkeypatch)
    assert (status, said["status"], said["reason"]) == (200, "healthy", "")
    for part, fault in (("database", "Cannot connect to database"), ("storage", "Access Denied"), ("backups", "late")):
        status, said = answer(Health({**well, part: fault}, NOW), monkeypatch)
        assert (status, said["status"], said["reason"]) == (503, "unhealthy", f"{part}: {fault}")
    monkeypatch.setattr("flows.service.status_pages._PATIENCE_S", 0.05)
    status, said = answer(Health(well, NOW), monkeypatch, seconds=0.5)
    assert (status, said["status"]) == (503, "unhealthy")
    assert "did not answer within" in str(said["reason"])
