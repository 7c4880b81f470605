"""End a run with a sentence that people understand in its history: what was made, or what went wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from prefect import get_run_logger
from prefect.client.schemas import State
from prefect.states import Failed

from blocks.errors import PgRoundtripError
from blocks.saved import translated
from flows import end_with_the_service

P = ParamSpec("P")
R = TypeVar("R")


def in_words(run: Callable[P, State[R]]) -> Callable[P, R]:
    """Let a flow's function return its final state, and end with our own words when it raises one of our errors.

    Prefect gives the state to the run's history, and what is in it to the caller of the flow: its result, or
    the error, which is raised there. What we did not foresee is left to Prefect.
    """

    @wraps(run)
    def told(*args: P.args, **kwargs: P.kwargs) -> State[R]:
        end_with_the_service()
        try:
            with translated():
                return run(*args, **kwargs)
        except PgRoundtripError as error:
            if not error.logged:
                get_run_logger().error("%s", error)
            return Failed(message=sentence_and_hint(error), data=error)

    return cast(Callable[P, R], told)


def sentence_and_hint(error: PgRoundtripError) -> str:
    """An error in one line: `Cannot connect to database [db:5432/app] HINT: check …`."""
    return " ".join(error.lines()).removeprefix("ERROR: ")
