"""Compute when something is due: at an interval, or by a cron expression in a time zone. The clock is an argument."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_FIELDS = 5
# Where to start looking for a slot: the rarest, such as 29 February on a Monday, comes once in 28 years.
_NOW_AND_THEN = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Schedule:
    """The slots at which a flow is due; an interval's slots are counted from the moment that the caller passes."""

    interval_s: int
    cron: str | None = None
    timezone: str = "UTC"

    def __str__(self) -> str:
        return f"{self.cron} ({self.timezone})" if self.cron else f"{self.interval_s}s"

    def after(self, moment: datetime) -> datetime:
        """The first slot later than a moment."""
        return next(self._slots(moment, back=False))

    def before(self, moment: datetime, count: int = 1) -> datetime:
        """The slot before a moment, or the one `count` slots before it."""
        return next(islice(self._slots(moment, back=True), count - 1, None))

    def gap(self, moment: datetime) -> timedelta:
        """The longest time between two slots around a moment: for an interval, that interval."""
        if not self.cron:
            return timedelta(seconds=self.interval_s)
        slots = [self.before(moment, 2), self.before(moment), self.after(moment)]
        return max(later - earlier for earlier, later in pairwise(slots))

    def _slots(self, moment: datetime, *, back: bool) -> Iterator[datetime]:
        if self.cron:
            for slot in CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone)), reverse=back):
                yield slot.astimezone(UTC)
        while not self.cron:
            moment += timedelta(seconds=-self.interval_s if back else self.interval_s)
            yield moment


def check_cron(expression: str) -> str:
    """Return a cron expression unchanged; raises ValueError if we or Prefect cannot parse it."""
    if len(expression.split()) != _FIELDS:  # Prefect interprets a sixth field differently
        raise ValueError("not a cron expression")
    from prefect.client.schemas.schedules import CronSchedule  # noqa: PLC0415  (slow)

    try:
        CronSchedule(cron=expression)
        next(CronSim(expression, _NOW_AND_THEN))
    except (CronSimError, StopIteration, ValueError):
        raise ValueError("not a cron expression") from None
    return expression


def check_timezone(name: str) -> str:
    """Return a time zone's name unchanged; raises ValueError if this machine does not know it."""
    try:
        ZoneInfo(name)
    except (OSError, LookupError, ValueError):  # a folder's name, no such zone, a path
        raise ValueError("not a time zone") from None
    return name
