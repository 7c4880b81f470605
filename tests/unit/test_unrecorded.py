"""What shows that runs are not recorded, and what shows that they are again: a run, or a write, but never a read."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType

from flows.service.history import PATIENCE_S, History
from flows.service.proof import Proof
from flows.service.runs import ServiceRunner
from flows.service.standby import Standby
from flows.service.turns import Turns
from tasks.clock import utc_now
from tests.memory_store import MemoryStore
from tests.unit.test_notify import plan_in

WARNED, OVER = "Runs cannot be recorded", "Runs are recorded again"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message.partition(":")[0] for message in caplog.messages if not message.startswith("HINT")]


def test_a_lost_run_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """It had its minute already. The reason is that of the write, if that fails as well."""
    history = History(clock=lambda: 0.0)
    history.judge("", lost=True)
    assert caplog.messages[0] == f"{WARNED}: Prefect answers, but has not begun a run that was due"
    assert (history.fails, history.doubted) == (True, True)
    full = History(clock=lambda: 0.0)
    full.judge("No space left on device", lost=True)
    assert str(full).endswith(": No space left on device")


def test_a_write_ends_the_doubt_and_a_refused_one_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    """One warning and one end, however often the service looks."""
    caplog.set_level("INFO", "prefect.serve")
    history = History(clock=lambda: 0.0)
    for refusal, lost in [("", True), ("full", False), ("full", True), ("full", False), ("", False), ("", False)]:
        history.judge(refusal, lost=lost)
    assert said(caplog) == [WARNED, OVER]
    assert (str(history), history.doubted) == ("ok", False)


@given(st.lists(st.tuples(st.sampled_from(["", "full"]), st.booleans(), st.integers(1, 90))))
def test_what_history_says_follows_from_the_evidence(looks: list[tuple[str, bool, int]]) -> None:
    """It fails from a lost run, or a minute of refused writes, until a look with neither."""
    now, since, expected = 0.0, None, False
    history = History(clock=lambda: now)
    for refusal, lost, seconds in looks:
        now += seconds
        if not (refusal or lost):
            since, expected = None, False
        else:
            since = now if since is None else since
            expected = expected or lost or now - since >= PATIENCE_S
        history.judge(refusal, lost=lost)
        assert (history.fails, history.doubted, str(history) == "ok") == (expected, since is not None, not expected)


class Server:
    """The part of Prefect's server that a look asks."""

    def __init__(self) -> None:
        self.runs: list[FlowRun] = []
        self.writes, self.ended = 0, 0
        self.full = False

    async def read_flow_runs(self, **_: Any) -> list[FlowRun]:
        return self.runs

    async def set_flow_run_state(self, *_: Any, **__: Any) -> None:
        self.ended += 1

    async def request(self, *_: Any, **__: Any) -> httpx.Response:
        self.writes += 1
        asked = httpx.Request("POST", "http://prefect/api/artifacts/")
        if self.full:
            raise httpx.HTTPStatusError("500", request=asked, response=httpx.Response(500, request=asked))
        return httpx.Response(201, content=json.dumps({"id": str(uuid4())}), request=asked)

    async def delete_artifact(self, _: Any) -> None:
        pass


DEPLOYMENT = uuid4()


def due(state: StateType, ago_s: int = 120) -> FlowRun:
    """Return a scheduled run whose time has come."""
    given = {"flow_id": uuid4(), "deployment_id": DEPLOYMENT, "auto_scheduled": True, "state_type": state}
    return FlowRun.model_validate(given | {"expected_start_time": utc_now() - timedelta(seconds=ago_s)})


def standby_of(server: Server, proof: Proof | None = None) -> Standby:
    """Return the runs of a service that has been there for an hour."""
    history = History()
    made = Standby(plan_in(MemoryStore()), ("backup",), ServiceRunner(history, Turns(small=False)), history, proof)
    made._begun_at = made._held_until = utc_now() - timedelta(hours=1)
    made.follow(cast(PrefectClient, server), {"backup": DEPLOYMENT})
    return made


def look(standby: Standby, times: int = 1) -> set[str]:
    """Look so often; return what the last look says is to be made without Prefect."""
    return [asyncio.run(standby._abandoned()) for _ in range(times)][-1]


def test_reading_that_works_is_no_proof() -> None:
    """While runs are not begun, the server answers everything that is read: the history fails, and /health says it."""
    server = Server()
    standby = standby_of(server)
    server.runs, server.full = [due(StateType.SCHEDULED)], True
    assert look(standby, 2) == {"backup"}
    assert standby.history.fails
    server.runs = []
    assert look(standby, 3) == {"backup"}
    assert standby.history.fails
    server.full = False
    assert look(standby) == set()
    assert str(standby.history) == "ok"


def test_without_a_doubt_nothing_is_written() -> None:
    """A look only reads: the service writes nothing for hours."""
    server = Server()
    look(standby_of(server, Proof()), 3)
    assert server.writes == 0


@pytest.mark.parametrize("state", [StateType.CRASHED, StateType.RUNNING])
def test_a_run_that_began_is_no_sign(state: StateType) -> None:
    """Its process was killed: the backup is made, but what Prefect knows of it is a record."""
    server = Server()
    standby = standby_of(server)
    server.runs = [due(state)]
    assert look(standby, 2) == {"backup"}
    assert (server.writes, str(standby.history)) == (1, "ok")


def test_a_run_that_waited_for_one_of_ours_is_no_sign() -> None:
    """While the service makes a run without Prefect, Prefect begins none."""
    server = Server()
    standby = standby_of(server)
    server.runs, standby._held_until = [due(StateType.SCHEDULED)], utc_now()
    look(standby, 2)
    assert str(standby.history) == "ok"


def test_a_run_that_was_made_meanwhile_is_no_sign() -> None:
    """What the service has made itself ends as skipped, and proves nothing about later runs."""
    server = Server()
    standby = standby_of(server)
    server.runs, standby._settled_at = [due(StateType.SCHEDULED)], {"backup": utc_now()}
    assert look(standby, 2) == set()
    assert (server.ended, str(standby.history)) == (1, "ok")


def nothing(_: Path) -> None:
    pass


def gone(home: Path) -> None:
    home.rmdir()


def replaced(home: Path) -> None:
    home.rename(home.parent / "before")
    home.mkdir()


@pytest.mark.parametrize(("change", "why"), [
    (nothing, ""), (gone, "PREFECT_HOME is no longer the folder"), (replaced, "PREFECT_HOME is no longer the folder"),
])  # fmt: skip
def test_a_folder_that_vanishes(change: Any, why: str, tmp_path: Path) -> None:
    """The server goes on with files that nobody else sees: suspicious at once, and not created again."""
    home = tmp_path / "home"
    home.mkdir()
    proof = Proof(home)
    change(home)
    assert asyncio.run(proof.suspects()) is bool(why)
    assert asyncio.run(proof.refusal(cast(PrefectClient, Server()))).startswith(why)
    assert home.exists() is (change is not gone)


@contextmanager
def disk(monkeypatch: pytest.MonkeyPatch, **changes: int) -> Iterator[None]:
    usual = {"f_blocks": 1 << 21, "f_bavail": 1 << 20, "f_frsize": 4096, "f_flag": 0}
    with monkeypatch.context() as patch:
        patch.setattr("flows.service.proof.os.statvfs", lambda _: SimpleNamespace(**usual | changes))
        yield


def test_a_disk_that_looks_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full or read-only disk is noticed before a run is lost to it; whether it is one, the next write shows."""
    proof = Proof(tmp_path)
    cases: list[tuple[dict[str, int], bool]] = [
        ({}, False), ({"f_bavail": 255}, True), ({"f_flag": os.ST_RDONLY}, True), ({"f_blocks": 0, "f_bavail": 0}, False),
    ]  # fmt: skip
    for changes, suspicious in cases:
        with disk(monkeypatch, **changes):
            assert asyncio.run(proof.suspects()) is suspicious


def test_a_server_that_is_no_prefect_server() -> None:
    """Whatever it answers, it is a refusal, and ends no service."""

    class Other(Server):
        async def request(self, *_: Any, **__: Any) -> httpx.Response:
            return httpx.Response(200, text="<html>")

    assert asyncio.run(Proof().refusal(cast(PrefectClient, Other()))) == "ValidationError"
