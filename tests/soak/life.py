"""Take backups and drill them in one process, and record round by round what resources the process holds."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from blocks.config.resolve import resolve_plan
from flows.backup import backup
from flows.restore_drill import restore_drill
from tasks.engine.repository.names import name_at
from tests.integration.objects import copied

BACKUPS_A_ROUND = 5  # plus one drill
_SANDBOX_EVERY = 10  # the other drills use the database's own server
_EXPIRED_EVERY = 5


@dataclass(frozen=True)
class Round:
    """The results of a round of backups with a drill, their durations, and what the process held afterwards."""

    backups: list[str]
    verdict: str
    place: str
    seconds: list[float]
    uss: int
    rss: int
    objects: int
    files: int
    threads: list[str]
    children: list[str]


def live(rounds: int, record: Path) -> None:
    """Run the flows again and again in one process that is never restarted."""
    before: Counter[str] = Counter()
    with record.open("w", buffering=1) as lines:
        for number in range(rounds):
            lines.write(json.dumps(asdict(_round(number))) + "\n")
            if number == rounds // 3:
                before = _kinds()
        # For the failure message: the kinds of objects that became more numerous since a third of the way through.
        lines.write(json.dumps({"grown": (_kinds() - before).most_common(20)}) + "\n")


def _round(number: int) -> Round:
    if number % _EXPIRED_EVERY == 1:
        _add_expired(number)
    os.environ["VERIFY_TARGET"] = "sandbox" if number % _SANDBOX_EVERY == _SANDBOX_EVERY - 1 else "database"
    taken, seconds, began = [], [], time.monotonic()
    for _ in range(BACKUPS_A_ROUND):
        taken.append(backup().name)
        seconds.append(round(time.monotonic() - began, 2))
        began = time.monotonic()
    report = restore_drill()
    seconds.append(round(time.monotonic() - began, 2))
    gc.collect()
    us = psutil.Process()
    held = us.memory_full_info()
    return Round(
        taken, report.verdict.value, report.place, seconds, held.uss, held.rss, len(gc.get_objects()), us.num_fds(),
        sorted(thread.name for thread in threading.enumerate()), [child.name() for child in us.children(recursive=True)],
    )  # fmt: skip


def _add_expired(number: int) -> None:
    """Add a backup that the retention policy must remove."""
    storage = resolve_plan("default", frozenset({"storage"})).storage
    newest = max(found.key for found in storage.list_objects() if found.key.endswith(".sql.gz"))
    copied(
        storage,
        name_at(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=number)),
        Path(newest).name.removesuffix(".sql.gz"),
    )


def _kinds() -> Counter[str]:
    return Counter(f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.get_objects())


if __name__ == "__main__":
    live(int(sys.argv[1]), Path(sys.argv[2]))
