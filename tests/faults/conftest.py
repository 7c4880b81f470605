"""Shared by the fault tests: a snapshot taken before a fault, and short waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import Task

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from tasks import backup, drill, prune, restore, sweep
from tests.faults.aftermath import Aftermath
from tests.integration.conftest import disk, home, places

__all__ = ["disk", "home", "places"]

Look = Callable[..., Aftermath]


@pytest.fixture
def look(storage: ObjectStore, home: Path, caplog: pytest.LogCaptureFixture) -> Look:
    """A function that takes a snapshot before a fault: call it with the servers that the test uses."""

    def before(*servers: Server) -> Aftermath:
        return Aftermath(storage, home, caplog, *servers)

    return before


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks retry as often as in production, but without waiting."""
    for room in (backup, drill, prune, restore, sweep):
        for task in vars(room).values():
            if isinstance(task, Task):
                monkeypatch.setattr(task, "retry_delay_seconds", 0)
