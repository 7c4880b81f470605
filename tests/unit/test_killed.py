"""A run whose process is killed tells nobody anything, so the service that started it does."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Crashed

from blocks.config.environment import full_environment
from flows.service.history import History
from flows.service.runner import ServiceRunner
from flows.service.standby import Standby
from flows.service.turns import Turns
from tasks.engine.process import start_ours
from tests.memory_store import MemoryStore
from tests.receivers import Receiver, receiving
from tests.unit.test_notify import plan_in


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A webhook that is told of one plan."""
    plan = plan_in(MemoryStore())
    monkeypatch.setattr("flows.runs.telling.resolve_plan", lambda *_: plan)
    with receiving() as made:
        monkeypatch.setenv("WEBHOOK_URL", made.url)
        yield made


@pytest.fixture
def standby() -> Standby:
    """A service's runs, of which none is due."""
    history = History()
    return Standby(
        plan_in(MemoryStore()), ("backup", "restore-drill"), ServiceRunner(history, Turns(small=False)), history
    )


def until_told() -> None:
    """Wait until the service has told what it tells."""
    for thread in threading.enumerate():
        if thread.name == "killed":
            thread.join(30)


@pytest.mark.parametrize(("code", "told"), [
    ("import os; os.kill(os.getpid(), 9)", [("backup", "failed")]), ("raise SystemExit(1)", []), ("", []),
])  # fmt: skip
def test_a_run_without_prefect(code: str, told: list[tuple[str, str]], standby: Standby, receiver: Receiver) -> None:
    """It is told if a signal ended it; whatever else ends a run, the run itself has told."""
    child = start_ours([sys.executable, "-c", code], full_environment())
    standby._running["backup"] = (child, standby.runner.turns.acquire())
    child.wait()
    standby._reap()
    until_told()
    assert receiver.kinds() == told
    assert all(got.json()["code"] == "PGR-RUN-KILLED" for got in receiver.got)


def test_a_run_of_prefect(standby: Standby, receiver: Receiver) -> None:
    """Prefect says which runs crashed: one that was cancelled, or whose end is recorded, did not."""
    drill = uuid4()
    standby._deployments = {"restore-drill": drill}
    run = FlowRun(flow_id=uuid4(), deployment_id=drill, name="odd-crow")
    states: list[State[Any]] = [Cancelled(), Crashed()]
    for state in states:
        asyncio.run(standby.runner._on_crash(run, state))
        until_told()
    assert [(g.json()["subject"], g.json()["what"]) for g in receiver.got] == [
        ("restore-drill", "The run's process was killed [odd-crow]")
    ]


def test_runs_that_end_with_the_service(standby: Standby, receiver: Receiver) -> None:
    """Whoever stops the service knows it."""
    asyncio.run(standby.stop())
    standby._deployments = {"backup": uuid4()}
    standby._tell_crash(FlowRun(flow_id=uuid4(), deployment_id=standby._deployments["backup"]))
    until_told()
    assert receiver.got == []
