"""Start what is due for as long as the service lives: Prefect's own runner gives up when its server fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectException
from prefect.runner import Runner

from blocks.saved import translated
from flows.service.history import TROUBLE, History, said_of
from flows.service.turns import Turns

_ANSWER_S, _GRACE_S = 2, 6


class PatientObserver(FlowRunCancellingObserver):
    """Notice for as long as the service lives that a run is to be cancelled.

    Prefect's own observer gives up after three failed requests, and prints their tracebacks.
    """

    async def _check_for_cancelled_flow_runs(self) -> None:
        while True:
            try:
                await super()._check_for_cancelled_flow_runs()  # type: ignore[no-untyped-call]
            except (httpx.HTTPError, PrefectException):
                await asyncio.sleep(self.polling_interval)
            else:
                return


class ServiceRunner(Runner):
    """A runner that outlasts its Prefect server's failures, and cancels all its runs at once when the service stops."""

    def __init__(self, history: History, turns: Turns) -> None:
        # Paused schedules would stay paused after a restart.
        super().__init__(name="pg-roundtrip", pause_on_shutdown=False)
        self.turns = self._limit_manager = turns
        self._history = history
        # Whether a run without Prefect is under way: what is due may be just that.
        self.held: Callable[[], bool] = lambda: False
        # Whether the work of a run that is due was made without Prefect.
        self.made: Callable[[FlowRun], bool] = lambda _: False
        # What learns of runs whose process ended without an outcome.
        self.crashed: Callable[[FlowRun], None] = lambda _: None

    async def start(self, *_: Any, **__: Any) -> None:
        """Start what is due until the service stops.

        Prefect's own loop gives up after three failed requests, kills its runs, and handles signals itself.
        """
        async with self, self._loops_task_group:
            await self._observe_patiently()
            assert self._hook_runner is not None
            self._hook_runner.run_crashed_hooks = self._on_crash  # type: ignore[method-assign]
            self._leave_out_made()
            while True:
                try:
                    with translated():
                        if not self.held():
                            await self._get_and_submit_flow_runs()  # type: ignore[no-untyped-call]
                except TROUBLE as error:
                    self._history.failed(said_of(error))
                await asyncio.sleep(self.query_seconds)

    def _leave_out_made(self) -> None:
        """Begin no run whose work was made without Prefect: after an outage, what was due meanwhile is late."""
        poller = self._scheduled_run_poller
        usual = poller._get_scheduled_flow_runs  # noqa: SLF001  (nothing else lets a run be left to others)

        async def not_made() -> list[FlowRun]:
            return [run for run in await usual() if not self.made(run)]

        poller._get_scheduled_flow_runs = not_made  # type: ignore[method-assign]  # noqa: SLF001

    async def _on_crash(self, flow_run: FlowRun, state: State[Any]) -> None:
        """Prefect calls this once a process has ended; a run that had said how it went keeps that state."""
        if state.is_crashed():
            self.crashed(flow_run)

    async def _observe_patiently(self) -> None:
        usual = self._cancelling_observer
        assert usual is not None
        await usual.__aexit__(None, None, None)
        patient = PatientObserver(usual.on_cancelling, self.query_seconds)
        self._cancelling_observer = await self._exit_stack.enter_async_context(patient)

    def in_progress(self) -> set[UUID]:
        """Return the ids of the runs that have a process."""
        return set(self._process_manager.flow_run_ids())

    async def cancel_all(self) -> None:
        """Cancel all runs at the same time: one by one would take longer than a platform waits."""
        stopped = (self._cancel(run_id) for run_id in self._process_manager.flow_run_ids())
        await asyncio.gather(*stopped, return_exceptions=True)

    async def _cancel(self, run_id: UUID) -> None:
        """Cancel one run; if the Prefect server does not answer, stop its process anyway."""
        try:
            run = await asyncio.wait_for(self._client.read_flow_run(run_id), _ANSWER_S)
            await self._cancellation_manager.cancel(run, "The service was stopped.")
        except (httpx.HTTPError, TimeoutError):
            await self._process_manager.kill(run_id, grace_seconds=_GRACE_S)
