"""End a run with a state that explains itself in the history: what was made, or what went wrong and what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import Flow
from prefect.client.schemas import State
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from blocks.config import DEFAULT
from blocks.errors import DOWNLOAD, REQUEST, UPLOAD, PgRoundtripError, PrefectUnreachable, code_in, family
from blocks.saved import translated
from flows import end_with_the_service
from flows.runs.telling import telling
from tasks.engine.repository.manifest import shown_verdict
from tasks.engine.wording import visible
from tasks.orchestration import get_run_logger
from tasks.outcome import Outcome, failed

P = ParamSpec("P")
R = TypeVar("R")
CAUSE_OF_CODE = {cls.code: cls.cause for cls in family()} | {op.code: op.cause for op in (UPLOAD, DOWNLOAD, REQUEST)}


class _Ends(threading.local):
    """How the newest run of each thread ended: those of several databases can end at once."""

    def __init__(self) -> None:
        self.newest: dict[UUID, tuple[str, State[Any]]] = {}


_ends = _Ends()


def with_final_state(run: Callable[P, Outcome[R]]) -> Callable[P, R]:
    """Turn the outcome that a flow's function returns, or one of our errors, into the run's state.

    Prefect stores the state in the run's history, and gives its data to the caller of the flow: the facts, or
    the error, which is raised there. Unexpected exceptions are left to Prefect.
    """

    @wraps(run)
    def ended(*args: P.args, **kwargs: P.kwargs) -> State[R]:
        end_with_the_service()
        with telling(run, args, kwargs) as tell:
            try:
                with translated():
                    outcome = run(*args, **kwargs)
            except PgRoundtripError as error:
                if not error.logged:
                    get_run_logger().error("%s", error)
                verb = run.__name__.replace("_", "-")
                outcome = failed(verb, str(kwargs.get("plan", DEFAULT)), error)
            tell(outcome)
        state = state_of(outcome)
        _keep(state)
        return state

    return cast(Callable[P, R], ended)


def state_of(outcome: Outcome[R]) -> State[R]:
    """Return the state of a run; a drill's is named after its verdict, so that the history is readable at a glance."""
    end = Completed if outcome.good else Failed
    state: State[R] = end(message=visible(outcome.message), data=outcome.error or outcome.facts)
    if outcome.verdict:
        state.name = visible(shown_verdict(outcome.verdict, outcome.without))
    return state


def _keep(state: State[Any]) -> None:
    context = FlowRunContext.get()
    if context and context.flow_run:
        _ends.newest.clear()  # one is enough: a flow's caller reads it at once
        _ends.newest[context.flow_run.id] = (context.flow.name if context.flow else "", state)


def result_of(state: State[R]) -> R | BaseException:
    """Return what a run returned, or the error that it ended with, from the state that Prefect returned.

    If the response to the final state is lost, Prefect sends it again, and the server answers with the state that it
    stored, which has no data. Then use the state that the run itself ended with.
    """
    _, own = _ends.newest.get(cast(UUID, state.state_details.flow_run_id), ("", None))
    found = own if own and own.type == state.type else state
    return cast("R | BaseException", found.result(raise_on_failure=False))


def run(flow: Flow[P, R], *args: P.args, **parameters: P.kwargs) -> R:
    """Run a flow, recorded by Prefect, and return its result; raises what it ended with.

    If the server is away when the run has ended, only the record is lost.
    """
    _ends.newest.clear()
    found: Any
    try:
        with translated():
            found = result_of(flow(*args, **parameters, return_state=True))
    except PrefectUnreachable as error:
        own = next((state for name, state in _ends.newest.values() if name == flow.name), None)
        if own is None:
            raise
        get_run_logger().warning("How the run ended is not recorded: %s", error.sentence)
        found = own.result(raise_on_failure=False)
    if isinstance(found, BaseException):
        raise found
    return cast(R, found)


def cause_of(state: State[Any]) -> str:
    """Return the label by which metrics count a failed run: its error code's cause, or `killed` if the run crashed."""
    if state.type is StateType.CRASHED:
        return "killed"
    return CAUSE_OF_CODE.get(code_in(state.message or ""), PgRoundtripError.cause)
