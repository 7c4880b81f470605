"""What shows that runs are not recorded, and what shows that they are again: a run, or a write, but never a read."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import Artifact, FlowRun, StateType

from flows.service.history import PATIENCE_S, History
from flows.service.proof import _FROZEN, _PROBE, Proof
from flows.service.runner import ServiceRunner
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
    history.judge("", lost=True, begun=False)
    assert caplog.messages[0] == f"{WARNED}: Prefect answers, but has not begun a run that was due"
    assert (history.fails, history.doubted) == (True, True)
    full = History(clock=lambda: 0.0)
    full.judge("No space left on device", lost=True, begun=False)
    assert str(full).endswith(": No space left on device")


def test_a_write_ends_the_doubt_and_a_refused_one_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    """One warning and one end, however often the service looks."""
    caplog.set_level("INFO", "prefect.serve")
    history = History(clock=lambda: 0.0)
    for refusal, lost in [("full", True), ("full", False), ("full", True), ("full", False), ("", False), ("", False)]:
        history.judge(refusal, lost=lost, begun=False)
    assert said(caplog) == [WARNED, OVER]
    assert (str(history), history.doubted) == ("ok", False)


def test_only_a_run_ends_what_a_run_has_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A server that takes everything and begins nothing is told of once, not at each slot."""
    caplog.set_level("INFO", "prefect.serve")
    history = History(clock=lambda: 0.0)
    for _ in range(3):
        history.judge("", lost=True, begun=False)
        history.judge("", lost=False, begun=False)
    assert (said(caplog), history.fails) == ([WARNED], True)
    history.judge("", lost=False, begun=True)
    assert (said(caplog), str(history)) == ([WARNED, OVER], "ok")


def test_what_cannot_be_told_changes_nothing() -> None:
    """Where nothing may be written but runs, a hiccup is forgotten, and what was said lasts until a run begins."""
    now = [0.0]
    history = History(clock=lambda: now[0])
    for now[0] in (0, 3600):
        history.failed("it answered 503")
        history.judge(None, lost=False, begun=False)
        assert (history.fails, history.doubted) == (False, False)
    history.judge(None, lost=True, begun=False)
    history.judge(None, lost=False, begun=False)
    assert history.fails
    history.judge(None, lost=False, begun=True)
    assert str(history) == "ok"


LOOKS = st.tuples(st.sampled_from(["", "full", None]), st.booleans(), st.booleans(), st.integers(1, 90))


@given(st.lists(LOOKS))
def test_what_history_says_follows_from_the_evidence(looks: list[tuple[str | None, bool, bool, int]]) -> None:
    """It fails from a lost run, or a minute of refused writes, until a run begins; or a write works that had failed."""
    now, since, expected, stalled = 0.0, None, False, False
    history = History(clock=lambda: now)
    for refusal, lost, begun, seconds in looks:
        now += seconds
        if refusal or lost:
            since = now if since is None else since
            expected = expected or lost or now - since >= PATIENCE_S
            stalled = stalled or (lost and not refusal)
        elif begun or (refusal == "" and not stalled) or not expected:
            since, expected, stalled = None, False, False
        history.judge(refusal, lost=lost, begun=begun)
        assert (history.fails, history.doubted, str(history) == "ok") == (expected, since is not None, not expected)


class Server:
    """The part of Prefect's server that a look asks."""

    def __init__(self) -> None:
        self.runs: list[FlowRun] = []
        self.writes, self.ended = 0, 0
        self.answers = 200
        self.artifacts: list[Artifact] = []

    async def read_flow_runs(self, *, flow_run_filter: FlowRunFilter, **_: Any) -> list[FlowRun]:
        if begun := flow_run_filter.start_time:
            return [run for run in self.runs if run.start_time and begun.after_ and run.start_time >= begun.after_]
        return [run for run in self.runs if run.state_type not in (StateType.COMPLETED, StateType.FAILED)]

    async def set_flow_run_state(self, *_: Any, **__: Any) -> None:
        self.ended += 1

    async def request(self, *_: Any, **given: Any) -> httpx.Response:
        self.writes += 1
        self.check()
        self.artifacts.append(Artifact.model_validate(given["json"]))
        return httpx.Response(201, content=self.artifacts[-1].model_dump_json())

    async def read_artifacts(self, *, artifact_filter: ArtifactFilter) -> list[Artifact]:
        assert artifact_filter.type
        return [artifact for artifact in self.artifacts if artifact.type in (artifact_filter.type.any_ or [])]

    async def delete_artifact(self, artifact: UUID) -> None:
        self.check()
        self.artifacts = [kept for kept in self.artifacts if kept.id != artifact]

    def check(self) -> None:
        if self.answers != 200:
            asked = httpx.Request("POST", "http://prefect/api/artifacts/")
            raise httpx.HTTPStatusError("", request=asked, response=httpx.Response(self.answers, request=asked))


DEPLOYMENT = uuid4()


def due(state: StateType, ago_s: int = 120, **more: Any) -> FlowRun:
    """Return a scheduled run whose time has come."""
    given = {"flow_id": uuid4(), "deployment_id": DEPLOYMENT, "auto_scheduled": True, "state_type": state} | more
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
    server.runs, server.answers = [due(StateType.SCHEDULED)], 500
    assert look(standby, 2) == {"backup"}
    assert standby.history.fails
    server.runs = []
    assert look(standby, 3) == {"backup"}
    assert standby.history.fails
    server.answers = 200
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


@pytest.mark.parametrize("answers", [200, 401, 403, 404, 405])
def test_a_server_that_begins_no_runs(answers: int) -> None:
    """Whether it takes other things or not: only a run that it begins shows that it works again, not one it ends."""
    server = Server()
    standby = standby_of(server)
    server.runs, server.answers = [due(StateType.SCHEDULED)], answers
    assert look(standby, 2) == {"backup"}
    for run_count, fails in [(0, True), (1, False)]:
        server.runs = [due(StateType.COMPLETED, run_count=run_count, start_time=utc_now() + timedelta(seconds=1))]
        look(standby, 2)
        assert standby.history.fails is fails


def test_a_run_that_began_before_the_failure_is_no_proof() -> None:
    """It shows how things were."""
    server = Server()
    standby = standby_of(server)
    server.runs = [due(StateType.SCHEDULED)]
    look(standby, 2)
    server.runs = [due(StateType.RUNNING, run_count=1, start_time=utc_now() - timedelta(seconds=90))]
    look(standby)
    assert standby.history.fails


def test_a_run_is_late_after_an_outage() -> None:
    """Prefect has a minute from when it answers again; the backup does not wait for that."""
    server = Server()
    standby = standby_of(server)
    server.runs = [due(StateType.SCHEDULED)]
    standby.history.failed("Prefect's server does not answer")
    assert look(standby, 2) == {"backup"}
    assert str(standby.history) == "ok"


@pytest.mark.parametrize("answers", [401, 403, 404, 405])
def test_a_server_that_lets_nobody_try(answers: int) -> None:
    """One hiccup is not "not recorded" for ever, only because its users may not create artifacts."""
    server = Server()
    standby = standby_of(server)
    standby.history.failed("it answered 503")
    server.answers = answers
    look(standby, 2)
    assert (server.writes, standby.history.doubted) == (1, False)


def test_what_a_slow_server_writes_late_is_removed() -> None:
    """Ours only, and nothing of a user's; a server on which nothing can be removed gets no second one."""
    server = Server()
    server.artifacts = [Artifact(type="markdown", data="somebody's"), *(Artifact(**_PROBE) for _ in range(3))]
    assert asyncio.run(Proof().refusal(cast(PrefectClient, server))) == ""
    assert [artifact.data for artifact in server.artifacts] == ["somebody's"]
    server.artifacts, server.answers, server.writes = [Artifact(**_PROBE)], 403, 0
    assert asyncio.run(Proof().refusal(cast(PrefectClient, server))) is None
    assert server.writes == 0


def test_what_was_made_without_prefect_is_not_begun_by_it() -> None:
    """After an outage the runner's first poll finds the slot late; a run that somebody started by hand is another."""
    standby = standby_of(Server())
    standby._settled_at = {"backup": utc_now() - timedelta(seconds=60)}
    slots = [due(StateType.SCHEDULED, ago_s=120), due(StateType.SCHEDULED, ago_s=-5)]
    by_hand = due(StateType.SCHEDULED, ago_s=120, auto_scheduled=False)

    async def late() -> list[FlowRun]:
        return [*slots, by_hand]

    runner = standby.runner
    runner._scheduled_run_poller = poller = cast(Any, SimpleNamespace(_get_scheduled_flow_runs=late))
    runner._leave_out_made()
    assert asyncio.run(poller._get_scheduled_flow_runs()) == [slots[1], by_hand]
    # The clock was ahead when something was made, and has jumped back.
    standby._settled_at = {"backup": utc_now() + timedelta(hours=1)}
    assert asyncio.run(poller._get_scheduled_flow_runs()) == [*slots, by_hand]


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
    assert (asyncio.run(proof.refusal(cast(PrefectClient, Server()))) or "").startswith(why)
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


FROZEN = """
import asyncio, os, sys, time
from pathlib import Path
from flows.service import proof

async def ask():
    asked = proof.Proof(Path(sys.argv[1]))
    return [await asked.refusal(None), await asked.suspects(), await asked.refusal(None)]

proof._ANSWER_S = 0.2
os.fsync = lambda _: time.sleep(3600)
print(asyncio.run(ask()))
"""


def test_a_disk_that_is_frozen(tmp_path: Path) -> None:
    """It is asked once and has its time; then the service goes on, and nothing waits for the disk at the end either."""
    command = [sys.executable, "-c", FROZEN, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == f"{[_FROZEN, True, _FROZEN]}\n"


def test_a_disk_that_thaws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its answer has come, the next one counts."""
    thawed, again = threading.Event(), threading.Event()

    def fsync(_: int) -> None:
        thawed.wait(30)
        again.set()

    async def ask() -> list[str | None]:
        first = await proof.refusal(server)
        thawed.set()
        await asyncio.to_thread(again.wait, 30)
        asked = proof._disk._asked
        assert asked
        await asyncio.wrap_future(asked)
        return [first, await proof.refusal(server)]

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("flows.service.proof._ANSWER_S", 0.5)
    proof, server = Proof(tmp_path), cast(PrefectClient, Server())
    assert asyncio.run(ask()) == [_FROZEN, ""]


def test_a_server_that_is_no_prefect_server() -> None:
    """Whatever it answers, it is a refusal, and ends no service."""

    class Other(Server):
        async def request(self, *_: Any, **__: Any) -> httpx.Response:
            return httpx.Response(200, text="<html>")

    assert asyncio.run(Proof().refusal(cast(PrefectClient, Other()))) == "ValidationError"
