"""Due times work the same for intervals and cron expressions, in any time zone."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prefect.server.schemas.schedules import CronSchedule

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


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "30", "*/7", "15,45", "10-20/3", "59"]), st.sampled_from(["*", "2", "3", "1-3", "*/5", "0", "23"]),
    st.sampled_from(["*", "1", "13", "*/2", "29", "31", "l", "28-31"]), st.sampled_from(["*", "*/2", "2", "mar", "3,10", "JAN-MAR"]),
    st.sampled_from(["*", "1", "5", "1-5", "mon", "*/2", "fri#1", "l5", "7", "sun"]),
).map(" ".join)  # fmt: skip
COUNT = 40
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])


@given(FIELDS, ZONES, st.dates(date(2026, 1, 1), date(2028, 12, 31)))
@example("0 3 */2 * 1", "UTC", date(2027, 3, 10))
@example("0 3 1 * */2", "UTC", date(2027, 3, 10))
@example("30 2 * * *", "Europe/Berlin", date(2027, 3, 20))
@example("0 2 * * *", "Australia/Lord_Howe", date(2027, 4, 1))
@example("*/7 * * * *", "America/New_York", date(2027, 11, 7))
def test_slots_are_those_that_prefect_runs(cron: str, zone: str, day: date) -> None:
    """What is due here, for health, retention and the catch-up, is what Prefect's scheduler starts."""
    begin = datetime.combine(day, time(), UTC)
    end = begin + timedelta(days=12)
    try:
        check_cron(cron)
    except ValueError:
        return
    theirs = asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(n=COUNT, start=begin, end=end))
    ours, schedule, moment = list[datetime](), Schedule(3600, cron, zone), begin - timedelta(seconds=1)
    while len(ours) < COUNT and (moment := schedule.after(moment)) <= end:
        ours.append(moment)
    assert ours == [found.astimezone(UTC) for found in theirs]
    back, moment = list[datetime](), ours[-1] + timedelta(seconds=1) if ours else begin
    while len(back) < len(ours):
        moment = schedule.before(moment)
        back.append(moment)
    assert back == ours[::-1]


@given(
    st.text(alphabet="0123456789*/,-#LlWRrHh? ABCdefmonJAN", max_size=14).map(lambda text: f"{text} * * * *") | FIELDS
)
def test_prefect_accepts_what_is_accepted_here(cron: str) -> None:
    """A schedule that `check` and the settings accept can be deployed."""
    try:
        check_cron(cron)
    except ValueError:
        return
    CronSchedule(cron=cron)


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
