"""Log when a flow runs next, as its last line."""

from __future__ import annotations

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext

from tasks.clock import utc_now
from tasks.orchestration import get_run_logger


def say_when_next(what: str) -> None:
    """Log `Next backup in 3600s`; nothing for a manual run, or if no other run is scheduled."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    waiting = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[context.flow_run.deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
    )
    try:
        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(
                flow_run_filter=waiting, sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC, limit=1
            )
    except httpx.HTTPError:
        return  # the run's work is done
    for due in (run.next_scheduled_start_time for run in runs):
        if due:
            get_run_logger().info("Next %s in %ds", what, max(0.0, due.timestamp() - utc_now().timestamp()))
