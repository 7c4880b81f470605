"""Turn the runs into one table, and into JSON with the same figures."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.contenders import AWS, FLOOR, USUAL_RESTORE, Contender
from tests.bench.stage import Stage

_MB = 1_000_000
_HEADINGS = (
    "what",
    "wall s",
    "min to max",
    "x floor",
    "speed-up",
    "object bytes",
    "size",
    "peak MB",
    "engine MB",
    "storage CPU s",
)
_NOTES = f"""\
wall s     the median; for ours only the step, without starting Python and Prefect (with it: process_seconds in --json)
x floor    the time as a multiple of `{FLOOR}`
speed-up   how many times as fast as `{AWS}`; for restores, as the usual way
size       the object's size relative to the one that `{AWS}` stores
peak MB    the largest sum of proportional set sizes of all its processes, the interpreter and Prefect's modules included
engine MB  our process's peak beyond what it held after its imports
storage CPU s  what the storage servers computed meanwhile, on the same cores"""


@dataclass(frozen=True)
class Run:
    """One run of one contender."""

    seconds: float
    process_seconds: float
    peak_bytes: int
    object_bytes: int
    storage_seconds: float
    figures: Mapping[str, Any] = field(default_factory=dict)  # what our own engine reports


def facts_of(stage: Stage, size_mb: int, runs: int) -> dict[str, Any]:
    """Return the facts about the machine and the database that were measured."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model[1] if model else os.uname().machine,
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "postgresql": stage.facts.version,
        "client": stage.client.version,
        "size_mb": size_mb,
        "database_bytes": stage.facts.size_bytes,
        "rows": stage.rows,
        "runs": runs,
    }


def results_of(contenders: Sequence[Contender], runs: Mapping[str, list[Run]]) -> list[dict[str, Any]]:
    """Return one row for each contender: median times, maximum memory, and ratios."""
    wall = {name: median(run.seconds for run in made) for name, made in runs.items()}
    size = {name: made[-1].object_bytes for name, made in runs.items()}
    return [
        {
            "name": c.name,
            "seconds": round(wall[c.name], 3),
            "all_seconds": [round(run.seconds, 3) for run in runs[c.name]],
            "process_seconds": round(median(run.process_seconds for run in runs[c.name]), 3),
            "times_floor": round(wall[c.name] / wall[FLOOR], 2) if c.reference != USUAL_RESTORE else None,
            "compared_with": c.reference,
            "speed_up": round(wall[c.reference] / wall[c.name], 2) if c.reference in wall else None,
            "object_bytes": size[c.name] or None,
            "size_ratio": round(size[c.name] / size[AWS], 3) if size[c.name] and size.get(AWS) else None,
            "peak_bytes": max(run.peak_bytes for run in runs[c.name]),
            "storage_seconds": round(median(run.storage_seconds for run in runs[c.name]), 2),
            "engine_bytes": max(run.figures["engine_bytes"] for run in runs[c.name]) if c.ours else None,
        }
        for c in contenders
    ]


def sql_bytes(runs: Mapping[str, list[Run]]) -> int:
    """Return the size of the dump before compression, as counted by our scanner."""
    return max(int(run.figures.get("raw_bytes", 0)) for made in runs.values() for run in made)


def table(facts: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as a Markdown table that is also readable as plain text."""
    rows = [_HEADINGS, *map(_cells, results)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_HEADINGS))]
    lines = ["| " + " | ".join(_pad(row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if n == 0 else ":") for n, w in enumerate(widths)) + "|"
    return "\n".join((_headline(facts), "", lines[0], rule, *lines[1:], "", _NOTES))


def _headline(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['cores']} cores ({facts['processor']}), {facts['memory_bytes'] / 1e9:.0f} GB of memory;"
        f" PostgreSQL {facts['postgresql']}, pg_dump {facts['client']}; SeaweedFS on the same machine\n"
        f"database {facts['database_bytes'] / _MB:,.0f} MB, SQL {facts['sql_bytes'] / _MB:,.0f} MB,"
        f" {facts['rows']:,} rows; median of {facts['runs']}, everyone in turn"
    )


def _cells(result: Mapping[str, Any]) -> tuple[str, ...]:
    stored, engine, floor = result["object_bytes"], result["engine_bytes"], result["times_floor"]
    faster, size = result["speed_up"], result["size_ratio"]
    return (
        f"`{result['name']}`".replace("|", r"\|"),
        f"{result['seconds']:.2f}",
        f"{min(result['all_seconds']):.2f} to {max(result['all_seconds']):.2f}",
        "" if floor is None else f"{floor:.2f}",
        "" if faster is None else f"{faster:.2f}",
        f"{stored:,}" if stored else "",
        "" if size is None else f"{size:.3f}",
        f"{result['peak_bytes'] / _MB:.0f}",
        "" if engine is None else f"{engine / _MB:.0f}",
        f"{result['storage_seconds']:.1f}",
    )


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if n == 0 else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
