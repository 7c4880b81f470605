"""Rehearse restores without Prefect, and inspect what throwaway servers run and leave behind."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from blocks.s3.client import ObjectStore
from tasks.clock import utc_now
from tasks.engine.drill.place import Place
from tasks.engine.drill.query_file import Query
from tasks.engine.drill.rehearsal import DrillJob, rehearse
from tasks.engine.drill.report import report_on
from tasks.engine.drill.unusual import check_restore_time
from tasks.engine.repository import catalog
from tasks.engine.repository.manifest import Check, DrillReport
from tasks.engine.repository.repository import Repository
from tests.integration.objects import NAME
from tests.plans import plan_of
from tests.processes import command_of

FOREVER = "CREATE MATERIALIZED VIEW public.asleep AS SELECT pg_sleep(600)::text AS slept WITH NO DATA; REFRESH MATERIALIZED VIEW public.asleep;"


def rehearsed(
    storage: ObjectStore, place: Place, queries: Sequence[Query] = (), name: str = NAME, **fields: Any
) -> DrillReport:
    """Return the report of a rehearsal; raise what would be retried. `fields` set the plan's, even out of bounds."""
    plan, repository = plan_of(storage, **fields), Repository(storage)
    backup = catalog.named(repository.backups(), name)
    started, begun = utc_now(), time.monotonic()
    seen = rehearse(DrillJob(plan, repository, backup, place, queries, logging.getLogger("rehearsed"), utc_now()))
    if seen.restore_seconds:  # as the flow does, which knows earlier drills
        seen.checks.append(check_restore_time(seen.place, seen.restore_seconds, 1, [], utc_now()))
    return report_on(backup, seen, started, time.monotonic() - begun)


def results(report: DrillReport) -> dict[str, str]:
    """Return the result of each check."""
    return {check.name: check.result for check in report.checks}


def row(report: DrillReport, name: str) -> Check:
    """Return one check."""
    return next(check for check in report.checks if check.name == name)


def folders(home: Path) -> list[Path]:
    """Return the folders of the throwaway servers in a folder."""
    return sorted(home.glob("pg-roundtrip-server-*"))


def processes(home: Path, title: str = "") -> Iterator[psutil.Process]:
    """Return the processes whose working directory is in a folder, optionally only those with a matching title."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(home) and re.search(title, command_of(process)):
                yield process


def postmasters(home: Path) -> list[int]:
    """Return the process ids of the throwaway servers created in a folder, alive or not."""
    files = [folder / "data" / "postmaster.pid" for folder in folders(home)]
    return [int(file.read_text().splitlines()[0]) for file in files if file.exists()]


def restoring(home: Path, doing: str = "REFRESH MATERIALIZED VIEW") -> list[psutil.Process]:
    """Return the server processes of restores that are executing a statement."""
    return list(processes(home, rf"\[local\].*{doing}$"))


def segments_of(creators: Sequence[int]) -> list[str]:
    """Return the System V shared memory created by these processes, but not by older ones that had the same id."""
    begun = psutil.Process().create_time()
    lines = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return [" ".join(line) for line in lines if int(line[4]) in creators and int(line[13]) >= int(begun)]


def assert_nothing_is_left(home: Path, creators: Sequence[int] = ()) -> None:
    """Check that no folder, process or shared memory is left of any server created in a folder."""
    assert list(home.iterdir()) == []
    assert list(processes(home)) == []
    assert segments_of(creators) == []
