"""Manage the runs of the service's deployments: clean up after a hard restart, catch up, and find the next runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.states import Completed, Crashed

from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from tasks.clock import utc_now
from tasks.engine.repository.members import has_backups, last_backup_of, last_drill_of

_IN_FLIGHT = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_LOOK_AGAIN_S = 2
_NO_BACKUP_YET_S = 60
_CATCHING_UP = "catch-up"


async def crash_stale_runs(client: PrefectClient, deployments: list[UUID]) -> int:
    """Mark runs that were in flight when the service was killed as crashed, which frees their deployment's slot.

    Nothing runs yet when this is called, so any run that seems to is left over. Returns how many there were.
    """
    message = "The service was restarted while this run was in progress."
    stale = await _runs(client, deployments, _IN_FLIGHT)
    for run in stale:
        await client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return len(stale)


async def skip_missed_runs(client: PrefectClient, deployments: list[UUID]) -> int:
    """Skip runs that were due while the service was down: `catch_up` runs what is due, once. Returns how many."""
    message = "The service was not running when this was due; what it missed was caught up once at its start."
    waiting = await _runs(client, deployments, [StateType.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC)
    now = utc_now()
    missed = [run for run in waiting if is_slot(run) and run.expected_start_time and run.expected_start_time < now]
    for run in missed:
        await _skip(client, run, message)
    return len(missed)


async def _skip(client: PrefectClient, run: FlowRun, why: str) -> None:
    await client.set_flow_run_state(run.id, Completed(name="Skipped", message=why), force=True)


async def end_lost_run(client: PrefectClient, run: FlowRun) -> None:
    """End a run that has no process: its end was not recorded, or it never began, and something else did its work."""
    if run.state_type is StateType.RUNNING:
        lost: State[Any] = Crashed(message="The run ended, and Prefect could not record how; the log has it.")
        await client.set_flow_run_state(run.id, lost, force=True)
    else:
        await _skip(client, run, "Prefect could not start this when it was due; the service ran it without Prefect.")


async def due_runs(client: PrefectClient, deployments: dict[str, UUID]) -> list[FlowRun]:
    """Return the scheduled runs whose time has come and whose work is not known to be done: 200 at most, newest first."""
    states = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CRASHED]
    by = FlowRunSort.EXPECTED_START_TIME_DESC
    return [run for run in await _runs(client, list(deployments.values()), states, by, utc_now()) if is_slot(run)]


async def begun_since(client: PrefectClient, deployments: dict[str, UUID], since: datetime) -> bool:
    """Whether Prefect has recorded since then that a run began."""
    begun = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=list(deployments.values())),
        start_time=FlowRunFilterStartTime(after_=since),
    )
    # A run that never ran gets a start time, too, once it has ended.
    return any(run.run_count for run in await client.read_flow_runs(flow_run_filter=begun))


def is_slot(run: FlowRun) -> bool:
    """Whether the service itself wants the run: nobody started it by hand."""
    return run.auto_scheduled or _CATCHING_UP in run.tags


async def catch_up(
    client: PrefectClient, plan: Plan, deployments: dict[str, UUID], held: Callable[[], bool] = lambda: False
) -> None:
    """Run at once what fell due while the service was down: first a backup, then a drill, once there is a backup."""
    if "backup" in deployments:
        await _run_if(lambda: backup_due(plan), client, deployments["backup"], held)
    if "restore-drill" not in deployments:
        return
    while await asyncio.to_thread(drill_due, plan) is None:  # noqa: ASYNC110  (another process makes the backup)
        await asyncio.sleep(_NO_BACKUP_YET_S)
    await _run_if(lambda: drill_due(plan), client, deployments["restore-drill"], held)


async def _run_if(
    due: Callable[[], bool | None], client: PrefectClient, deployment: UUID, held: Callable[[], bool]
) -> None:
    """Run a deployment to its end if it is due; ask again until Prefect answers, or something else has done it."""
    key = str(uuid4())
    while True:
        if held():  # by a run without Prefect, which may bring what is due
            await asyncio.sleep(_LOOK_AGAIN_S)
            continue
        if not await asyncio.to_thread(due):
            return
        try:
            run = await client.create_flow_run_from_deployment(deployment, tags=[_CATCHING_UP], idempotency_key=key)
        except (httpx.HTTPError, PrefectException):
            await asyncio.sleep(_LOOK_AGAIN_S)
            continue
        while not (run.state and run.state.is_final()):
            await asyncio.sleep(_LOOK_AGAIN_S)
            with contextlib.suppress(httpx.HTTPError):  # it may answer next time
                run = await client.read_flow_run(run.id)
        return


def backup_due(plan: Plan) -> bool:
    """Whether a slot has passed since the newest backup; true if the storage is unreadable: the run will report it."""
    newest = last_backup(plan)
    return newest is None or newest < plan.schedules.backups.before(utc_now())


def drill_due(plan: Plan) -> bool | None:
    """Whether a slot has passed since the newest drill; None while there is no backup to drill."""
    try:
        if not has_backups(plan, utc_now()):
            return None
    except PgRoundtripError:
        return None
    newest = last_drill(plan)
    return newest is None or newest < plan.schedules.drills.before(utc_now())


def last_backup(plan: Plan) -> datetime | None:
    """When the newest backup in the bucket, or set, was taken; None if there is none, or the bucket cannot be read."""
    try:
        return last_backup_of(plan, utc_now())
    except PgRoundtripError:
        return None


def last_drill(plan: Plan) -> datetime | None:
    """When the last drill started; None if there was none, or the bucket cannot be read."""
    try:
        return last_drill_of(plan, utc_now())
    except PgRoundtripError:
        return None


async def next_runs(client: PrefectClient, deployments: dict[str, UUID]) -> dict[str, datetime]:
    """When each flow runs next."""
    names = {deployment: flow for flow, deployment in deployments.items()}
    waiting = await _runs(client, list(names), [StateType.SCHEDULED], FlowRunSort.EXPECTED_START_TIME_ASC)
    found: dict[str, datetime] = {}
    for run in waiting:
        at = run.next_scheduled_start_time or run.expected_start_time
        if at and run.deployment_id in names:
            flow = names[run.deployment_id]
            found[flow] = min(at, found.get(flow, at))
    return found


async def failed_runs(client: PrefectClient, deployments: dict[str, UUID]) -> list[FlowRun]:
    """The newest failed or crashed runs in the history: 200, as many as Prefect returns at once."""
    return await _runs(client, list(deployments.values()), [StateType.FAILED, StateType.CRASHED])


async def _runs(
    client: PrefectClient,
    deployments: list[UUID],
    states: list[StateType],
    sort: FlowRunSort = FlowRunSort.START_TIME_DESC,
    before: datetime | None = None,
) -> list[FlowRun]:
    return await client.read_flow_runs(
        sort=sort,
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=deployments),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=before) if before else None,
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
        ),
    )
