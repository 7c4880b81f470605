"""Databases are drilled in turn: none is left out, whatever becomes of the reports."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.config.schedule import Schedule
from tasks.engine.repository.drill_turns import whose_turn

DAY = timedelta(days=1)
DAILY = Schedule(24 * 3600)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MANY = st.integers(1, 9)


def drilled(
    last: list[datetime | None],
    slots: int,
    *,
    silent: Collection[int] = (),
    every: timedelta = DAY,
    due: Schedule = DAILY,
) -> list[int]:
    """Return which are drilled, one after the other; those that are silent never leave a report."""
    last, found, now = list(last), list[int](), NOON
    for _ in range(slots):
        found.append(whose_turn(last, due, now))
        last[found[-1]] = last[found[-1]] if found[-1] in silent else now + timedelta(minutes=5)
        now += every
    return found


@given(MANY, st.data())
def test_each_has_its_turn(many: int, data: st.DataObject) -> None:
    """With reports, all have had theirs after as many slots as there are databases; then they go round."""
    found = drilled([None] * many, 4 * many)
    for begin in range(2 * many, 3 * many):
        assert set(found[begin : begin + many]) == set(range(many))
    ago = data.draw(st.lists(st.none() | st.integers(1, 40), min_size=many, max_size=many))
    since = drilled([None if days is None else NOON - days * DAY for days in ago], 3 * many)
    assert set(since) == set(range(many))


@given(MANY, st.integers(1, 7), st.data())
def test_a_key_that_can_only_read(many: int, days: int, data: st.DataObject) -> None:
    """Without any report, or with old ones that nothing replaces, the slots decide; also if only some of them are used."""
    ago = data.draw(st.lists(st.none() | st.integers(1, 40), min_size=many, max_size=many))
    last = [None if old is None else NOON - old * DAY for old in ago]
    found = drilled(last, 60 + 8 * many * many, silent=range(many), every=days * DAY)
    assert set(found) == set(range(many))
    assert days > 1 or set(found[60 : 60 + 2 * many]) == set(range(many))


@given(st.integers(2, 9), st.data())
def test_one_that_never_leaves_a_report(many: int, data: st.DataObject) -> None:
    """A drill that dies each time takes its own slot, and not those of the others."""
    bad = data.draw(st.integers(0, many - 1))
    found = drilled([None] * many, 12 * many, silent={bad})
    assert found.count(bad) <= 14
    for begin in range(0, 8 * many, many):
        assert set(found[begin : begin + 4 * many]) == set(range(many))


@pytest.mark.parametrize("cron", ["30 3 * * *", "0 3 * * 1,4", "0 3 1 * *"])
def test_by_cron(cron: str) -> None:
    """The slots of a cron expression count like those of an interval."""
    last: list[datetime | None] = [None] * 3
    due, now, found = Schedule(0, cron), NOON, set[int]()
    for _ in range(9):
        now = due.after(now)
        found.add(whose_turn(last, due, now + timedelta(minutes=1)))
    assert found == {0, 1, 2}


def test_twice_in_a_slot() -> None:
    """A drill that somebody starts by hand takes another one than that of just now."""
    assert sorted(drilled([None] * 4, 4, every=timedelta(seconds=600))) == [0, 1, 2, 3]
