"""Due times work the same for intervals and cron expressions, in any time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.config.schedule import Schedule, check_cron, check_timezone

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  (given a zone here)
SCHEDULES = st.builds(Schedule, st.integers(60, 10**7)) | st.builds(
    Schedule,
    st.just(60),
    st.sampled_from(["*/5 * * * *", "0 3 * * *", "30 2 * * *", "0 9 * * 1-5", "0 0 1 * *", "15 */6 * * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)


@given(SCHEDULES, MOMENTS)
def test_slots_lie_around_a_moment(schedule: Schedule, moment: datetime) -> None:
    """The next slot is later, the last one earlier, the one before that earlier still, and the gap is no shorter."""
    second, last, following = schedule.before(moment, 2), schedule.before(moment), schedule.after(moment)
    assert second < last < moment < following
    assert schedule.gap(moment) >= last - second
    assert following.tzinfo is UTC


def test_a_cron_expression_is_meant_where_the_user_lives() -> None:
    """Three o'clock in Berlin is two o'clock UTC in winter and one o'clock in summer."""
    nightly = Schedule(3600, "0 3 * * *", "Europe/Berlin")
    assert nightly.after(datetime(2026, 1, 10, tzinfo=UTC)).hour == 2
    assert nightly.after(datetime(2026, 7, 10, tzinfo=UTC)).hour == 1


def test_the_gap_of_working_days_spans_the_weekend() -> None:
    """Friday's backup isn't late on Sunday when none is due at the weekend."""
    assert Schedule(3600, "0 9 * * 1-5").gap(datetime(2026, 11, 22, tzinfo=UTC)) == timedelta(days=3)
    assert Schedule(21600).gap(datetime(2026, 11, 22, tzinfo=UTC)) == timedelta(hours=6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hourly",
        "* * * *",
        "61 * * * *",
        "0 0 31 2 *",
        "* * * * * * *",
        "0 0 3 * * *",
        "* * * * * *",
        "0 3 * * * ; rm",
    ],
)
def test_what_is_no_cron_expression_is_refused(text: str) -> None:
    """A schedule that would never fire, or that Prefect would refuse later, is refused at once."""
    with pytest.raises(ValueError, match="not a cron expression"):
        check_cron(text)


@pytest.mark.parametrize("name", ["", "Europe", "Berlin", "../etc/passwd", "UTC+1x"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    """A zone must be in this machine's time zone database."""
    with pytest.raises(ValueError, match="not a time zone"):
        check_timezone(name)
