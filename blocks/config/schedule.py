"""Compute when something is due: at an interval, or by a cron expression in a time zone. The clock is an argument.

Cron expressions are read as Prefect's scheduler reads them, which starts the runs: by croniter, in local time without a
zone. A local time that a change of the clock skips is due as much later; one that comes twice is due the first time.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from croniter import croniter
from croniter.croniter import CroniterError

_FIELDS = 5
# What Prefect takes for a field: no `R` and no `H`, by which croniter chooses at random.
_FIELD = re.compile(r"[A-Za-z0-9*,/#-]+")
_CHANCE = {"r", "h"}
# Where to start looking for a slot: the rarest, such as 29 February on a Monday, comes once in 28 years.
_NOW_AND_THEN = datetime(2000, 1, 1)  # noqa: DTZ001  (local time)
# Clocks change by less than this, so that slots further apart in local time are in the same order in UTC.
_CLOCK_CHANGE = timedelta(hours=4)


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
        """Yield the slots after a moment, or before it, from the nearest to the farthest."""
        if self.cron:
            yield from self._cron_slots(moment, back=back)
        while not self.cron:
            moment += timedelta(seconds=-self.interval_s if back else self.interval_s)
            yield moment

    def _cron_slots(self, moment: datetime, *, back: bool) -> Iterator[datetime]:
        zone, sign = ZoneInfo(self.timezone), -1 if back else 1
        local = moment.astimezone(zone).replace(tzinfo=None)
        assert self.cron
        times = croniter(self.cron, local - sign * _CLOCK_CHANGE)
        waiting: dict[
            datetime, datetime
        ] = {}  # by slot, its local time; a change of the clock can put them in another order
        for wall in _until_none(partial(times.get_prev if back else times.get_next, datetime)):
            sure = [slot for slot, at in waiting.items() if sign * (wall - at) > _CLOCK_CHANGE]
            for slot in sorted(sure, reverse=back):
                del waiting[slot]
                yield slot
            slot = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
            if sign * (slot - moment) > timedelta():
                waiting.setdefault(slot, wall)
        yield from sorted(waiting, reverse=back)


def _until_none(turn: Callable[[], datetime]) -> Iterator[datetime]:
    """Yield local times until there is none in the years that croniter looks at."""
    with contextlib.suppress(CroniterError):
        while True:
            yield turn()


def check_cron(expression: str) -> str:
    """Return a cron expression unchanged; raises ValueError if Prefect's scheduler could not carry it out."""
    fields = expression.split()
    if len(fields) != _FIELDS or not all(map(_FIELD.fullmatch, fields)):  # Prefect interprets a sixth field differently
        raise ValueError("not a cron expression")
    try:
        if _CHANCE & {field.lower() for field in fields} or not croniter.is_valid(expression):
            raise ValueError("not a cron expression")
        croniter(expression, _NOW_AND_THEN).get_next(datetime)
    except CroniterError:
        raise ValueError("not a cron expression") from None
    return expression


def check_timezone(name: str) -> str:
    """Return a time zone's name unchanged; raises ValueError if this machine does not know it."""
    try:
        ZoneInfo(name)
    except (OSError, LookupError, ValueError):  # a folder's name, no such zone, a path
        raise ValueError("not a time zone") from None
    return name
