"""End a run with a state that people understand in its history: what was made, or what went wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.client.schemas import State
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from blocks.config import DEFAULT
from blocks.errors import DOWNLOAD, REQUEST, UPLOAD, PgRoundtripError, code_in, family
from blocks.saved import translated
from flows import end_with_the_service
from tasks.engine.wording import visible
from tasks.outcome import Outcome, failed

P = ParamSpec("P")
R = TypeVar("R")
CAUSE_OF_CODE = {cls.code: cls.cause for cls in family()} | {op.code: op.cause for op in (UPLOAD, DOWNLOAD, REQUEST)}
_newest_end: dict[UUID, State[Any]] = {}


def with_final_state(run: Callable[P, Outcome[R]]) -> Callable[P, R]:
    """Let a flow's function return its outcome, and make the run's state of that, or of one of our errors.

    Prefect gives the state to the run's history, and what is in it to the caller of the flow: its facts, or
    the error, which is raised there. What we did not foresee is left to Prefect.
    """

    @wraps(run)
    def ended(*args: P.args, **kwargs: P.kwargs) -> State[R]:
        end_with_the_service()
        try:
            with translated():
                outcome = run(*args, **kwargs)
        except PgRoundtripError as error:
            if not error.logged:
                get_run_logger().error("%s", error)
            verb = run.__name__.replace("_", "-")
            outcome = failed(verb, str(kwargs.get("plan", DEFAULT)), error)
        state = state_of(outcome)
        _keep(state)
        return state

    return cast(Callable[P, R], ended)


def state_of(outcome: Outcome[R]) -> State[R]:
    """The state of a run; a drill's is named for its verdict, so that the history reads at a glance."""
    end = Completed if outcome.good else Failed
    state: State[R] = end(message=visible(outcome.message), data=outcome.error or outcome.facts)
    if outcome.verdict:
        state.name = outcome.verdict.value
    return state


def _keep(state: State[Any]) -> None:
    context = FlowRunContext.get()
    if context and context.flow_run:
        _newest_end.clear()  # one is enough: who runs a flow looks at once
        _newest_end[context.flow_run.id] = state


def result_of(state: State[R]) -> R | BaseException:
    """What a run returned, or the error that it ended with, of the state that Prefect returned.

    When the answer to a run's end is lost, Prefect tells its server again, and is answered with what the server has: a state with
    nothing in it. What the run itself ended with holds then.
    """
    own = _newest_end.get(cast(UUID, state.state_details.flow_run_id))
    found = own if own and own.type == state.type else state
    return cast("R | BaseException", found.result(raise_on_failure=False))


def cause_of(state: State[Any]) -> str:
    """The label that metrics count a failed run by: that of its error's code; `killed` for one that did not end by itself."""
    if state.type is StateType.CRASHED:
        return "killed"
    return CAUSE_OF_CODE.get(code_in(state.message or ""), PgRoundtripError.cause)
