"""A service's start-up message and what its ports serve depend only on its settings."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.config.load import load_service_settings
from blocks.config.plan import Plan
from blocks.config.settings import Settings
from flows.serve import _ports
from flows.service.announce import announce
from flows.service.history import History
from flows.service.status_pages import StatusPages
from tests.unit.test_settings import COMPLETE


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """A function that returns the settings of a complete environment plus some variables."""

    def load(**more: str) -> Settings:
        for name, value in {**COMPLETE, **more}.items():
            monkeypatch.setenv(name, value)
        return load_service_settings()

    return load


def said_at_the_start(settings: Settings, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the start-up block for a Prefect server that runs elsewhere."""
    caplog.clear()
    announce(settings, Plan.from_settings(settings), None, History())
    return caplog.messages


def test_a_schedule_is_said_in_place_of_an_interval(
    configured: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """A schedule is shown with its time zone: three o'clock isn't the same everywhere."""
    usual = said_at_the_start(configured(), caplog)
    assert {"Backup interval: 3600s", "Verify interval: 86400s", "Backup retention: 7 days"} <= {*usual}
    chosen = said_at_the_start(configured(BACKUP_SCHEDULE="0 3 * * *", TZ="Europe/Berlin"), caplog)
    assert "Backup schedule: 0 3 * * * (Europe/Berlin)" in chosen
    assert "Verify interval: 86400s" in chosen
    assert not [line for line in chosen if line.startswith("Backup interval")]


def test_what_is_set_in_vain_is_said(
    configured: Callable[..., Settings], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service runs for months: warn about a misspelled rule or a missing folder when it starts."""
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # noqa: S108
    settings = configured(BACKUP_RETENTION_DAY="90", TMPDIR="/nowhere")
    said_at_the_start(settings, caplog)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "BACKUP_RETENTION_DAY is set, but nothing reads it; did you mean BACKUP_RETENTION_DAYS?",
        "TMPDIR is /nowhere, but temporary files go to /tmp; create that folder, and let this user write to it",
    ]


def pages(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[str]]:
    """Return what is served without a login, by port."""
    found: dict[int, list[str]] = {}

    @asynccontextmanager
    async def listening(make_app: Callable[[], Any], port: int) -> AsyncIterator[None]:
        found[port] = [route.path for route in make_app().routes]
        yield

    async def come_and_go() -> None:
        async with _ports(
            settings, None, StatusPages(Plan.from_settings(settings), settings.enabled_flows, datetime.now(UTC))
        ):
            pass

    monkeypatch.setattr("flows.service.asgi.listening", listening)
    asyncio.run(come_and_go())
    return found


def test_metrics_are_there_when_they_are_asked_for(
    configured: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics are off by default; when enabled, they are on the service's port, or alone on a separate one."""
    assert pages(configured(), monkeypatch) == {8080: ["/health"]}
    wanted = {"METRICS_ENABLED": "true"}
    assert pages(configured(**wanted), monkeypatch) == {8080: ["/health", "/metrics"], 9090: ["/metrics"]}
    assert pages(configured(**wanted, METRICS_PORT="9091"), monkeypatch).keys() == {8080, 9091}
    assert pages(configured(**wanted, METRICS_PORT="8080"), monkeypatch) == {8080: ["/health", "/metrics"]}
