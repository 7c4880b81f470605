"""What a service holds between its runs: memory, descriptors, files, and its history."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

import psutil

# How much older the history gets each time: Prefect forgets runs after 90 days, and events after a week.
_OLDER = "-15 days"
_AGE = """
UPDATE flow_run SET end_time = strftime('%Y-%m-%d %H:%M:%f', end_time, '{older}') WHERE end_time IS NOT NULL;
UPDATE events SET occurred = strftime('%Y-%m-%d %H:%M:%f', occurred, '{older}');
UPDATE event_resources SET occurred = strftime('%Y-%m-%d %H:%M:%f', occurred, '{older}');
"""
_LOCK_S = 30


@dataclass(frozen=True)
class Vitals:
    """One look at a service."""

    at_s: float
    uss: int
    files: int
    threads: int
    children: int
    database_bytes: int
    runs: int
    late: int
    rows: int
    home_files: int


def look(process: psutil.Process, home: Path, at_s: float) -> Vitals:
    """Look at a service and its PREFECT_HOME."""
    database = home / "prefect.db"
    runs, late, *rows = (count(database, what) for what in (
        "flow_run WHERE state_type NOT IN ('SCHEDULED')", "flow_run_state WHERE name = 'Late'",
        "log", "artifact", "events", "event_resources", "task_run", "flow_run_state", "task_run_state",
    ))  # fmt: skip
    with process.oneshot():
        return Vitals(
            round(at_s), process.memory_full_info().uss, process.num_fds(), process.num_threads(), len(process.children()),
            sum(path.stat().st_size for path in home.glob("prefect.db*")), runs, late, sum(rows),
            sum(1 for path in home.rglob("*") if path.is_file()),
        )  # fmt: skip


def count(database: Path, what: str) -> int:
    """Count the rows of a table of Prefect's."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=_LOCK_S)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def make_history_older(home: Path) -> None:
    """Let what has ended be as old as if the service had run for that long."""
    with closing(sqlite3.connect(home / "prefect.db", timeout=_LOCK_S)) as connection:
        connection.executescript("BEGIN IMMEDIATE;" + _AGE.replace("{older}", _OLDER) + "COMMIT;")


def growth_an_hour(seen: Iterable[tuple[float, float]]) -> float:
    """Return how much a figure grows in an hour, as the slope of the best-fitting line through (seconds, value)."""
    moments, values = zip(*seen, strict=True)
    return linear_regression(moments, values).slope * 3600
