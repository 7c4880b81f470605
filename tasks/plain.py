"""Run flows and tasks in this process alone: the same functions, retries and log lines as under Prefect, and no server."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

from blocks.errors import PgRoundtripError
from tasks.retries import RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")
_logger = logging.getLogger("pg_roundtrip")
_logger.setLevel(logging.INFO)


def get_run_logger() -> logging.Logger:
    """Return the logger for a run's lines."""
    return _logger


def flow(**_options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Take what Prefect's decorator takes; a plain flow is its function."""
    return lambda function: function


class PlainTask(Generic[P, R]):
    """A function that is tried again by a policy."""

    def __init__(self, function: Callable[P, R], policy: RetryPolicy) -> None:
        self.fn = function
        self._policy = policy
        update_wrapper(self, function)

    def with_options(self, **_shown: Any) -> PlainTask[P, R]:
        """Return the task: what Prefect's options say is for its history and its limits."""
        return self

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function; log an error that may pass and try again, or log it and raise it."""
        for delay_s in self._policy.delays_s:
            try:
                return self.fn(*args, **kwargs)
            except PgRoundtripError as error:
                if not self._policy.may_pass(error):
                    _logger.error("%s", error)  # noqa: TRY400  (expected, so no traceback)
                    raise
                _logger.warning("%s; trying again", error.sentence)
            time.sleep(delay_s * random.uniform(1, 1 + self._policy.jitter))  # noqa: S311
        try:
            return self.fn(*args, **kwargs)
        except PgRoundtripError as error:
            _logger.error("%s", error)  # noqa: TRY400
            raise


def task_of(function: Callable[P, R], _name: str, policy: RetryPolicy, **_shown: Any) -> PlainTask[P, R]:
    """Return the task; names and tags are for Prefect's history."""
    return PlainTask(function, policy)
