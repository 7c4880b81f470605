"""Rehearse restores without Prefect around them, and look at what throwaway servers run and leave."""

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
    """The report of a rehearsal; raises what would be tried again. `fields` are the plan's, also beyond their bounds."""
    plan, repository = plan_of(storage, **fields), Repository(storage)
    backup = catalog.named(repository.backups(), name)
    started, begun = utc_now(), time.monotonic()
    seen = rehearse(DrillJob(plan, repository, backup, place, queries, logging.getLogger("rehearsed"), utc_now()))
    return report_on(backup, seen, started, time.monotonic() - begun)


def results(report: DrillReport) -> dict[str, str]:
    """The result of each check."""
    return {check.name: check.result for check in report.checks}


def row(report: DrillReport, name: str) -> Check:
    """The row of one check."""
    return next(check for check in report.checks if check.name == name)


def folders(home: Path) -> list[Path]:
    """The folders of the throwaway servers in a folder."""
    return sorted(home.glob("pg-roundtrip-server-*"))


def processes(home: Path, title: str = "") -> Iterator[psutil.Process]:
    """The programs that work in a folder, those whose title matches alone when an expression is given."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(home) and re.search(title, command_of(process)):
                yield process


def postmasters(home: Path) -> list[int]:
    """The process ids of the throwaway servers that were made in a folder, whether they live or not."""
    files = [folder / "data" / "postmaster.pid" for folder in folders(home)]
    return [int(file.read_text().splitlines()[0]) for file in files if file.exists()]


def restoring(home: Path, doing: str = "REFRESH MATERIALIZED VIEW") -> list[psutil.Process]:
    """The server's side of restores that are busy with a statement."""
    return list(processes(home, rf"\[local\].*{doing}$"))


def segments_of(creators: Sequence[int]) -> list[str]:
    """The System V shared memory that a process made; not that of an older one which had the same number."""
    begun = psutil.Process().create_time()
    lines = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return [" ".join(line) for line in lines if int(line[4]) in creators and int(line[13]) >= int(begun)]


def assert_nothing_is_left(home: Path, creators: Sequence[int] = ()) -> None:
    """No folder, no process, no shared memory of a server that was made in a folder."""
    assert list(home.iterdir()) == []
    assert list(processes(home)) == []
    assert segments_of(creators) == []
