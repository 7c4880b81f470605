"""Make a function Prefect's task, and log where its run is recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError

from tasks import plain
from tasks.retries import RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")


Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


def get_run_logger() -> Logger:
    """Return the logger of the run that Prefect records; outside of one, that of plain runs."""
    try:
        return prefect.get_run_logger()
    except MissingContextError:
        return plain.get_run_logger()


def task_of(function: Callable[P, R], name: str, policy: RetryPolicy, *, run_name: str, tags: set[str]) -> Task[P, R]:
    """Return the task; Prefect carries out the policy."""
    return task(
        name=name,
        task_run_name=run_name,
        tags=tags,
        retries=len(policy.delays_s),
        retry_delay_seconds=list(policy.delays_s) or None,
        retry_jitter_factor=policy.jitter,
        retry_condition_fn=partial(_may_pass, policy),
        cache_policy=NO_CACHE,
    )(function)


def _may_pass(policy: RetryPolicy, _task: Any, _run: Any, state: Any) -> bool:
    """Answer Prefect's question whether to try again."""
    return policy.may_pass(state.result(raise_on_failure=False))
