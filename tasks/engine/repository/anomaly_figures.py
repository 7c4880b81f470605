"""Judge figures of a backup by those of the backups before: rows and size that fell, durations that grew.

Of rows and sizes, steps from one backup to the next are judged: the level of a database that grows means nothing. Each
must exceed a floor, below which small databases and busy machines vary anyway. What happened before is usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from tasks.engine.repository.anomaly_comparison import Comparison
from tasks.engine.repository.manifest import Anomaly
from tasks.engine.wording import human_bytes, human_seconds

FEWER_ROWS, SMALLER, SLOWER = "fewer rows", "smaller", "slower"
ENOUGH = 7  # figures, before a median means anything
_LOST_SHARE, _LOST_ROWS = 0.3, 500
_LOW_SHARE, _LOW_ROWS, _LOW_BYTES = 0.1, 1000, 1 << 20
_TIMES, _SLOWER_S = 3, 60
# How many standard deviations are far; for normally distributed figures, that is so much more than their MAD.
_DEVIATIONS, _NORMAL = 6, 1.4826
_RECENT, _WEEK = timedelta(days=15), timedelta(days=8)
Series = Sequence[tuple[datetime, int]]


def of_totals(compared: Comparison) -> Iterator[Anomaly]:
    """Yield what is odd about a whole backup: its rows, else its size; and its duration."""
    now, last, before = compared.now, compared.last, compared.before
    rows = [(b.taken_at, b.rows) for b in before]
    if fell(rows, now.rows, _LOST_SHARE, _LOST_ROWS) or is_low(rows, now.rows, _LOW_ROWS):
        said = f"the backup has {_percent(now.rows, last.rows)} fewer rows than the one before: {now.rows:,} after {last.rows:,}"
        yield Anomaly(kind=FEWER_ROWS, sentence=said, before=last.rows, now=now.rows)
    elif is_low([(b.taken_at, b.raw_bytes) for b in before], now.raw_bytes, _LOW_BYTES):
        sizes = f"{human_bytes(now.raw_bytes)} of SQL after {human_bytes(last.raw_bytes)}"
        said = f"the backup is {_percent(now.raw_bytes, last.raw_bytes)} smaller than the one before: {sizes}"
        yield Anomaly(kind=SMALLER, sentence=said, before=last.raw_bytes, now=now.raw_bytes)
    grown = max(1.0, now.raw_bytes / max(1, last.raw_bytes))
    if is_slow([b.seconds * grown for b in before], now.seconds):
        usual = median(b.seconds for b in before)
        said = f"the dump took {human_seconds(now.seconds)}, and usually takes {human_seconds(usual)}"
        yield Anomaly(kind=SLOWER, sentence=said, before=round(usual), now=round(now.seconds))


def fell(series: Series, now: int, share: float, floor: int) -> bool:
    """Whether a figure fell by a share of the last one, as it never did before, nor after it had just risen as much."""
    (*_, (ended, last)) = series
    if last - now < max(floor, share * last):
        return False
    steps = [(at, before, after) for (_, before), (at, after) in pairwise(series)]
    usual = any(
        after <= (1 - share) * before or (before <= (1 - share) * after and at >= ended - _RECENT)
        for at, before, after in steps
    )
    return not usual or now < (1 - share) * min(value for _, value in series)


def is_low(series: Series, now: int, floor: int) -> bool:
    """Whether a figure fell by a tenth, and far more than at least seven figures before ever varied.

    Returning to a level of the last days is no fall: many databases grow all week and are cleaned up on Sundays.
    """
    if len(series) < ENOUGH or not fell(series, now, _LOW_SHARE, floor):
        return False
    last_at, last = series[-1]
    middle, deviation = _spread([(after - before) / max(1, before) for (_, before), (_, after) in pairwise(series)])
    week = [value for at, value in series if at >= last_at - _WEEK]
    return now < (1 - _LOW_SHARE) * min(week) and (now - last) / last < middle - _DEVIATIONS * deviation


def is_slow(figures: Sequence[float], now: float, enough: int = ENOUGH) -> bool:
    """Whether something took far longer than each of enough times before."""
    if len(figures) < enough:
        return False
    middle, deviation = _spread(figures)
    return now > _TIMES * max(figures) and now > middle + max(_SLOWER_S, _DEVIATIONS * deviation)


def _spread(figures: Sequence[float]) -> tuple[float, float]:
    """Return the median and an estimate of the standard deviation, neither of which a few odd figures affect."""
    middle = median(figures)
    return middle, _NORMAL * median(abs(figure - middle) for figure in figures)


def _percent(now: float, before: float) -> str:
    return f"{100 * (before - now) / before:.0f} %"
