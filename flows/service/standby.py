"""Make the runs that are due and that Prefect cannot start or record: the bucket says what is due, not the history."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from datetime import datetime, timedelta
from uuid import UUID

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.logging import get_logger

from blocks.config.environment import full_environment
from blocks.config.plan import Plan
from blocks.saved import translated
from flows.service.history import PATIENCE_S, TROUBLE, History, said_of
from flows.service.killed import tell_killed
from flows.service.proof import Proof
from flows.service.runner import ServiceRunner
from flows.service.runs import backup_due, begun_since, drill_due, due_runs, end_lost_run, is_slot
from tasks.clock import utc_now
from tasks.engine.process import Process, start_ours

_LOOK_S, _ANSWER_S = 20, 20
_END_S = 8
_COMMANDS = {"backup": "backup", "restore-drill": "drill"}
_logger = get_logger("serve")


class Standby:
    """The runs that one service makes without Prefect."""

    def __init__(
        self, plan: Plan, flows: tuple[str, ...], runner: ServiceRunner, history: History, proof: Proof | None = None
    ) -> None:
        self._plan, self.runner, self.history, self._proof = plan, runner, history, proof or Proof()
        self._flows = {flow for flow in flows if flow in _COMMANDS}
        self._client: PrefectClient | None = None
        self._deployments: dict[str, UUID] = {}
        self._flow_of: dict[UUID, str] = {}
        self._begun_at = self._held_until = utc_now()
        self._missing: set[UUID] = set()
        self._settled_at: dict[str, datetime] = {}
        self._started_at: dict[str, datetime] = {}
        self._running: dict[str, tuple[Process, UUID]] = {}
        self._stopped = asyncio.Event()
        runner.held = lambda: bool(self._running)
        runner.made = lambda run: is_slot(run) and self._is_settled(run)
        runner.crashed = self._tell_crash

    def follow(self, client: PrefectClient, deployments: dict[str, UUID]) -> None:
        """Look after the runs of these deployments from now on."""
        self._client, self._deployments = client, deployments

    async def watch(self) -> None:
        """Make what is due and Prefect does not, until stopped."""
        while not self.stopping:
            for flow in await self._abandoned():
                now = utc_now()
                due = await asyncio.to_thread(self._is_due, flow)
                if self.stopping:
                    return
                if not due or self._start(flow):
                    self._settled_at[flow] = now
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _LOOK_S)
            self._reap()

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop."""
        return self._stopped.is_set()

    async def stop(self) -> None:
        """Cancel what runs, and let it clean up."""
        self._stopped.set()
        for child, _ in self._running.values():
            child.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                while self._running:
                    self._reap()
                    await asyncio.sleep(0.1)

    async def _abandoned(self) -> set[str]:
        """Return the flows that may be due and have no run: Prefect fails, or the run that it started is gone."""
        if self._client is None:
            self.history.failed("Prefect's server has not answered since the start")
        else:
            try:
                lost, begun = await self._found(self._client)
            except TROUBLE as error:
                self.history.failed(said_of(error))
            else:
                lost = [run for run in lost if not self._is_settled(run)]
                await self._judge(self._client, lost, begun=begun)
                if not self.history.fails:
                    return {self._flow_of[run.id] for run in lost} & self._flows
        return self._flows - self._busy() if self.history.fails else set()

    async def _judge(self, client: PrefectClient, lost: list[FlowRun], *, begun: bool) -> None:
        """Write something if there is a doubt, and conclude whether runs are recorded."""
        if lost or self.history.doubted or await self._proof.suspects():
            refusal = await self._proof.refusal(client)
            self.history.judge(refusal, lost=any(self._is_unrecorded(run) for run in lost), begun=begun)

    def _is_unrecorded(self, run: FlowRun) -> bool:
        """Whether a lost run was never begun, although for a minute Prefect answered and no run of ours held it up."""
        begun = run.state_type not in (StateType.SCHEDULED, StateType.PENDING)
        hindered_at = max(self._held_until, self.history.failed_at or self._held_until)
        return not begun and hindered_at < utc_now() - timedelta(seconds=PATIENCE_S)

    async def _found(self, client: PrefectClient) -> tuple[list[FlowRun], bool]:
        """Return the lost runs, and whether one began since something failed; end in the history what can be ended."""
        # Prefect's client tries again for minutes.
        async with asyncio.timeout(_ANSWER_S):
            with translated():
                lost = self._lost(await due_runs(client, self._deployments))
                await self._settle(client, lost)
                failed_at = self.history.failed_at if self.history.doubted else None
                return lost, bool(failed_at and await begun_since(client, self._deployments, failed_at))

    def _lost(self, runs: list[FlowRun]) -> list[FlowRun]:
        """Return the runs that have had no process for a minute after their time, and had none at the last look."""
        self._flow_of |= {run.id: flow for run in runs if (flow := self._flow(run))}
        busy, late = self._busy(), utc_now() - timedelta(seconds=PATIENCE_S)
        missing = [
            run
            for run in runs
            if run.expected_start_time
            and self._begun_at < run.expected_start_time < late
            and self._flow_of[run.id] not in busy
            and not self.runner.turns.taken
        ]
        before, self._missing = self._missing, {run.id for run in missing}
        return [run for run in missing if run.id in before]

    async def _settle(self, client: PrefectClient, lost: list[FlowRun]) -> None:
        """End lost runs in the history: those whose process is gone, and those that were made without Prefect."""
        for run in lost:
            if run.state_type is StateType.RUNNING or (
                run.state_type is not StateType.CRASHED and self._is_settled(run)
            ):
                await end_lost_run(client, run)

    def _is_settled(self, run: FlowRun) -> bool:
        """Whether the bucket has been asked since the run's time, and what it lacked has been made."""
        settled_at = self._settled_at.get(self._flow(run))
        # What was settled in the future was settled while the clock was wrong.
        return bool(settled_at and run.expected_start_time and run.expected_start_time <= settled_at <= utc_now())

    def _flow(self, run: FlowRun) -> str:
        """Return which flow a run is of; empty if it is none of ours."""
        return next((flow for flow, deployment in self._deployments.items() if deployment == run.deployment_id), "")

    def _busy(self) -> set[str]:
        """Return the flows that are running; all of them, if it is not known which one a run is of."""
        recorded = {self._flow_of.get(run, "") for run in self.runner.in_progress()}
        return self._flows if "" in recorded else recorded | self._running.keys()

    def _is_due(self, flow: str) -> bool:
        """Whether the bucket lacks what the last slot should have brought, and no attempt has been made since."""
        schedule = self._plan.schedules.backups if flow == "backup" else self._plan.schedules.drills
        started_at = self._started_at.get(flow)
        now = utc_now()
        # An attempt from the future was made while the clock was wrong.
        if started_at and schedule.before(now) <= started_at <= now:
            return False
        return bool(backup_due(self._plan) if flow == "backup" else drill_due(self._plan))

    def _start(self, flow: str) -> bool:
        """Start a flow as a command that needs no Prefect; returns False if it is another run's turn."""
        try:
            turn = self.runner.turns.acquire()
        except anyio.WouldBlock:
            return False
        _logger.info("Starting a %s without Prefect", _COMMANDS[flow])
        command = [sys.executable, "-P", "-m", "flows.cli", _COMMANDS[flow], "--no-record"]
        self._started_at[flow] = utc_now()
        try:
            self._running[flow] = (start_ours(command, full_environment()), turn)
        except OSError as error:  # no memory or no process ids left: the next look may find some
            self.runner.turns.release(turn)
            del self._started_at[flow]
            _logger.warning("A %s without Prefect could not be started [%s]", _COMMANDS[flow], error.strerror)
            return False
        return True

    def _reap(self) -> None:
        if self._running:
            self._held_until = utc_now()
        for flow, (child, turn) in list(self._running.items()):
            if child.poll() is not None:
                self.runner.turns.release(turn)
                del self._running[flow]
                if child.returncode < 0 and not self.stopping:
                    tell_killed(flow, f"signal {-child.returncode}")

    def _tell_crash(self, run: FlowRun) -> None:
        """Tell of a run of Prefect's whose process ended without an outcome."""
        flow = self._flow(run)
        if flow and not self.stopping:
            tell_killed(flow, run.name)
