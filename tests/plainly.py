"""Run Prefect's flows and tasks in this process without Prefect, by the code that does so in a process without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prefect import Flow, Task

from tasks.plain import PlainTask


def run_plainly(patched: pytest.MonkeyPatch) -> None:
    """Make calls of flows and tasks plain ones, for as long as the patch lasts."""

    def call_task(task: Any, *arguments: Any, **parameters: Any) -> Any:
        (policy,) = task.retry_condition_fn.args
        delays = task.retry_delay_seconds or 0
        delays_s = tuple(delays) if isinstance(delays, list) else (delays,) * task.retries
        return PlainTask(task.fn, replace(policy, delays_s=delays_s))(*arguments, **parameters)

    def call_flow(flow: Any, *arguments: Any, return_state: bool = False, **parameters: Any) -> Any:
        state = flow.fn(*arguments, **parameters)
        return state if return_state else state.result()

    patched.setattr("tasks.reports.publish.RECORDED", False)
    patched.setattr(Task, "__call__", call_task)
    patched.setattr(Flow, "__call__", call_flow)
