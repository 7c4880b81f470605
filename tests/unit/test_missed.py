"""Of the missed slots, only the newest runs, in place of the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas import FlowRun, State
from prefect.client.schemas.objects import StateType

from flows.runs.missed_slots import stand_in

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GIVEN_UP = {StateType.CANCELLED, StateType.CANCELLING, StateType.CRASHED}
MINUTES = st.integers(-600, 600)
STATES = st.sampled_from(list(StateType))


def run(minutes: int, state: StateType = StateType.SCHEDULED, **fields: Any) -> FlowRun:
    """Return a run that was due so many minutes from now."""
    given: dict[str, Any] = {"auto_scheduled": True, "parameters": {"plan": "default"}, **fields}
    slot = NOW + timedelta(minutes=minutes)
    return FlowRun(flow_id=uuid4(), expected_start_time=slot, state=State(type=state), state_type=state, **given)


def goes_ahead(one: FlowRun, runs: Sequence[FlowRun]) -> bool:
    return stand_in(one, [other for other in runs if other is not one], NOW) is None


@given(st.sets(st.integers(-600, 0), min_size=1))
def test_only_the_newest_of_the_missed_slots_runs(minutes: set[int]) -> None:
    """However many slots were missed, a single run goes ahead: the newest."""
    runs = [run(m) for m in minutes]
    (ahead,) = [one for one in runs if goes_ahead(one, runs)]
    assert ahead.expected_start_time == NOW + timedelta(minutes=max(minutes))


@given(st.sets(st.tuples(MINUTES, STATES), min_size=1))
def test_a_run_that_is_given_up_stands_for_none(slots: set[tuple[int, StateType]]) -> None:
    """When the newest was cancelled or killed, the one before it runs; a run not yet due replaces none."""
    for minutes, state in slots:
        later = stand_in(run(minutes, state), [run(*slot) for slot in slots], NOW)
        due = [m for m, other in slots if minutes < m <= 0 and other not in GIVEN_UP]
        assert (later.expected_start_time if later else None) == (run(max(due)).expected_start_time if due else None)


@given(
    st.integers(-600, 0), st.sampled_from([{"auto_scheduled": False}, {"run_count": 2}, {"expected_start_time": None}])
)
def test_who_is_asked_for_by_hand_runs(minutes: int, fields: dict[str, Any]) -> None:
    """A run started or restarted by hand is never skipped."""
    asked = run(minutes).model_copy(update=fields)
    assert stand_in(asked, [run(0), run(-1), run(minutes + 1)], NOW) is None


def test_a_run_by_hand_stands_for_none() -> None:
    """Only a scheduled run with the same parameters replaces a missed one."""
    assert goes_ahead(run(-60), [run(-10, auto_scheduled=False)])
    assert goes_ahead(run(-60), [run(-10, parameters={"plan": "default", "dry_run": True})])
    assert not goes_ahead(run(-60), [run(-10)])
