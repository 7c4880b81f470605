"""Of the slots that a schedule missed while nothing ran, run only the newest: a run of an older one ends as Skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import wraps
from typing import ParamSpec, TypeVar

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun, State
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.states import Completed

from tasks.clock import utc_now
from tasks.engine.wording import iso
from tasks.orchestration import get_run_logger

P = ParamSpec("P")
R = TypeVar("R")
# A run that was cancelled or killed does not replace another.
_GIVEN_UP = {StateType.CANCELLED, StateType.CANCELLING, StateType.CRASHED}


def newest_slot_only(flow: Callable[P, R]) -> Callable[P, R]:
    """Make a flow end at once if its run is late and a later slot replaces it; decorate below `@flow`.

    Skip only runs that a schedule made, and only on their first attempt: a retried run is meant to run.
    """

    @wraps(flow)
    def on_time(*args: P.args, **kwargs: P.kwargs) -> R:
        context = FlowRunContext.get()
        if context and context.flow_run and (later := _stand_in(context.flow_run)):
            return _skipped(context.flow_run, later)  # type: ignore[return-value]  # Prefect uses it as the run's final state
        return flow(*args, **kwargs)

    return on_time


def stand_in(run: FlowRun, others: Iterable[FlowRun], now: datetime) -> FlowRun | None:
    """Choose the newest run of a later slot that is already due, among the deployment's runs; None to go ahead."""
    slot = run.expected_start_time
    if not run.auto_scheduled or run.run_count > 1 or slot is None:
        return None
    due = [
        (other.expected_start_time, other) for other in others
        if other.auto_scheduled and other.state_type not in _GIVEN_UP and other.parameters == run.parameters
        and other.expected_start_time and slot < other.expected_start_time <= now
    ]  # fmt: skip
    return max(due, key=lambda pair: pair[0])[1] if due else None


def _stand_in(run: FlowRun) -> FlowRun | None:
    if not run.auto_scheduled or not run.deployment_id or not run.expected_start_time:
        return None
    now = utc_now()
    between = FlowRunFilterExpectedStartTime(after_=run.expected_start_time + timedelta(seconds=1), before_=now)
    try:
        with get_client(sync_client=True) as client:
            others = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(expected_start_time=between),
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[run.deployment_id])),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            )
    except httpx.HTTPError as error:
        # A backup too many is better than one too few.
        get_run_logger().warning("Could not see whether a later run is due: %s", type(error).__name__)
        return None
    return stand_in(run, others, now)


def _skipped(run: FlowRun, later: FlowRun) -> State[None]:
    assert run.expected_start_time
    assert later.expected_start_time
    message = f"This was due at {iso(run.expected_start_time)}; the run that was due at {iso(later.expected_start_time)} replaces it"
    get_run_logger().info("Skipped: %s", message)
    return Completed(name="Skipped", message=message)
