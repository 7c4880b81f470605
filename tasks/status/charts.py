"""Compute the geometry of the status page's drawings: lines over time and the calendar's cells; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from tasks.engine.wording import human_bytes, human_seconds
from tasks.status.series import Day, DayState, Point

WIDTH, HEIGHT = 300.0, 80.0
_TOP, _BOTTOM = 6.0, 2.0
CELL, PITCH, LEFT, TOP = 14, 18, 30, 18


@dataclass(frozen=True)
class Chart:
    """One figure over time: a line from the oldest to the newest backup, as SVG paths, and its scale in words."""

    title: str
    line: str
    area: str
    dots: tuple[tuple[float, float], ...]
    newest: str
    highest: str
    begins: str
    ends: str

    @property
    def summary(self) -> str:
        """The chart for those who cannot see it."""
        return f"{self.title} from {self.begins} to {self.ends}: at most {self.highest}, newest {self.newest}"


@dataclass(frozen=True)
class Cell:
    """One day of the calendar: where it is drawn, and what it says."""

    x: int
    y: int
    state: DayState
    text: str


@dataclass(frozen=True)
class Grid:
    """The calendar: a column for each week, Monday first, with the months above."""

    cells: tuple[Cell, ...]
    months: tuple[tuple[int, str], ...]
    width: int
    height: int
    summary: str


def charts(points: Sequence[Point]) -> list[Chart]:
    """Return the charts of whatever is known of at least one backup."""
    figures: list[tuple[str, Callable[[Point], float | None], Callable[[float], str]]] = [
        ("Size", lambda p: p.object_bytes, human_bytes),
        ("Rows", lambda p: p.rows, lambda n: f"{n:,.0f}"),
        ("Backup time", lambda p: p.took_s, human_seconds),
        ("Restore time", lambda p: p.restore_s, human_seconds),
    ]
    found = (_chart(title, [(p, v) for p in points if (v := of(p)) is not None], say) for title, of, say in figures)
    return [chart for chart in found if chart]


def _chart(title: str, known: Sequence[tuple[Point, float]], say: Callable[[float], str]) -> Chart | None:
    if not known:
        return None
    begin, end = known[0][0].taken_at.timestamp(), known[-1][0].taken_at.timestamp()
    highest = max(value for _, value in known)
    scale = (HEIGHT - _TOP - _BOTTOM) / (highest or 1)

    def at(point: Point, value: float) -> tuple[float, float]:
        share = (point.taken_at.timestamp() - begin) / (end - begin) if end > begin else 1.0
        return round(share * WIDTH, 1), round(HEIGHT - _BOTTOM - value * scale, 1)

    dots = tuple(at(point, value) for point, value in known)
    line = "M" + "L".join(f"{x} {y}" for x, y in dots)
    area = f"{line}L{dots[-1][0]} {HEIGHT}L{dots[0][0]} {HEIGHT}Z" if len(dots) > 1 else ""
    return Chart(
        title, line, area, dots[-1:], say(known[-1][1]), say(highest),
        *_span(known[0][0].taken_at, known[-1][0].taken_at),
    )  # fmt: skip


def _span(begin: datetime, end: datetime) -> tuple[str, str]:
    """Return two dates, with their years if these differ."""
    form = "%-d %b" if begin.year == end.year else "%-d %b %Y"
    return begin.strftime(form), end.strftime(form)


def grid(days: Sequence[Day]) -> Grid:
    """Return the calendar's drawing."""
    first = days[0].date
    cells = [_cell((day.date - first).days, day) for day in days]
    months = [next(group) for _, group in groupby(enumerate(days[::7]), key=lambda each: each[1].date.month)]
    # A month that begins in the column after another's name would be written over it.
    kept = [(week, day) for n, (week, day) in enumerate(months) if n + 1 == len(months) or months[n + 1][0] - week > 1]
    counts = {state: sum(day.state is state for day in days) for state in DayState}
    said = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    weeks = len(days[::7])
    return Grid(
        tuple(cells), tuple((LEFT + PITCH * week, f"{day.date:%b}") for week, day in kept), LEFT + PITCH * weeks,
        TOP + PITCH * 7, f"Days from {first:%-d %b %Y} to {days[-1].date:%-d %b %Y}: {said}",
    )  # fmt: skip


def _cell(number: int, day: Day) -> Cell:
    several = f", {day.backups} backups" if day.backups > 1 else ""
    text = f"{day.date:%a %-d %b %Y}: {day.state.value}{several}"
    return Cell(LEFT + PITCH * (number // 7), TOP + PITCH * (number % 7), day.state, text)
