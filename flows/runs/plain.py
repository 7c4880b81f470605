"""What wraps a flow's function where no server records its runs: it returns the facts, or raises the error."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from blocks.errors import PgRoundtripError
from flows import end_with_the_service
from flows.runs.logs import TOLD_TO_STOP
from flows.runs.telling import telling
from tasks.outcome import Outcome
from tasks.plain import get_run_logger

P = ParamSpec("P")
R = TypeVar("R")


def named(_verb: str) -> None:
    """Plain runs have no names."""


def newest_slot_only(run: Callable[P, R]) -> Callable[P, R]:
    """Return the function itself: a plain run was not scheduled by us."""
    return run


def say_when_next(_what: str) -> None:
    """Say nothing: whoever started a plain run knows when the next one is."""


def with_final_state(run: Callable[P, Outcome[R]]) -> Callable[P, R]:
    """Return the facts of the outcome, and log an error that no task has logged."""

    @wraps(run)
    def ended(*args: P.args, **kwargs: P.kwargs) -> R:
        end_with_the_service()
        with telling(run, args, kwargs) as tell:
            try:
                outcome = run(*args, **kwargs)
            except PgRoundtripError as error:
                if not error.logged:
                    get_run_logger().error("%s", error)
                raise
            except (KeyboardInterrupt, SystemExit) as stop:
                if TOLD_TO_STOP not in getattr(stop, "__notes__", ()):  # a flow within this one has logged it
                    get_run_logger().warning(TOLD_TO_STOP)
                    stop.add_note(TOLD_TO_STOP)
                raise
            tell(outcome)
        return outcome.facts  # type: ignore[return-value]  # only an outcome with an error has none

    return ended


def run(flow: Callable[P, Any], *args: P.args, **parameters: P.kwargs) -> Any:
    """Run a flow and return its result; raises what it ended with."""
    return flow(*args, **parameters)
