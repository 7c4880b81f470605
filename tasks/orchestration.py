"""Define flows and tasks once: as Prefect's where runs are recorded, as plain functions with the same retries elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tasks.recording import recorded
from tasks.retries import RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")
RECORDED = recorded()

if TYPE_CHECKING:
    from prefect import Task
if TYPE_CHECKING or RECORDED:
    from prefect import flow

    from tasks.recorded import get_run_logger, task_of
else:
    from tasks.plain import flow, get_run_logger, task_of

__all__ = ["RECORDED", "flow", "get_run_logger", "task"]


def task(
    name: str, policy: RetryPolicy, *, run_name: str = "", tags: Iterable[str] = ()
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a task of this name. `run_name` can contain parameters; Prefect's own would have random letters."""

    def made(function: Callable[P, R]) -> Task[P, R]:
        made_of: Any = task_of
        found: Task[P, R] = made_of(function, name, policy, run_name=run_name or name, tags=set(tags))
        return found

    return made
