"""Run one step of our engine without Prefect and print its measurements as one JSON document.

The step is the product's own code. Only orchestration is left out, because the performance promise excludes
Prefect's own time. The environment configures the step, as it does for `pg-roundtrip`.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prefect.logging import disable_run_logger

import flows  # noqa: F401  (sets what Prefect reads when it is first used)
from blocks.config import DEFAULT
from blocks.config.plan import Plan
from blocks.config.resolve import resolve_plan, resolve_target
from tasks.backup import commit_backup, dump_to_storage, inspect_source, name_backup
from tasks.clock import utc_now
from tasks.destinations import destinations_of
from tasks.drill import choose_drill_place, rehearse_restore
from tasks.engine.drill.report import report_on
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.load import load
from tasks.engine.restore.reader import BackupReader

Figures = dict[str, object]


def backup(plan: Plan) -> Figures:
    """Dump to the storage, digests included; the time is that of the dump step, as in `backup --json`."""
    there = destinations_of(plan)
    source, name = inspect_source.fn(plan), name_backup.fn(there)
    begun = time.monotonic()
    manifest = dump_to_storage.fn(plan, there, source, name)
    seconds = time.monotonic() - begun
    commit_backup.fn(there, manifest)
    return {"seconds": seconds, "rows": manifest.rows, "raw_bytes": manifest.raw_bytes}


def restore(plan: Plan) -> Figures:
    """Restore the newest backup into the fresh database at RESTORE_DATABASE_URL, verifying it on the way."""
    begun = time.monotonic()
    target = resolve_target(DEFAULT)
    repository = Repository(plan.storage)
    chosen = repository.backups()[-1]
    reader = BackupReader(repository, chosen, repository.manifest(chosen))
    flow = load(reader, target)
    return {"seconds": time.monotonic() - begun, "rows": flow.summary.rows, "raw_bytes": flow.summary.raw_bytes}


def drill(plan: Plan) -> Figures:
    """Restore the newest backup to VERIFY_TARGET, dump it again, compare, and run every other check."""
    begun, started = time.monotonic(), utc_now()
    repository = Repository(plan.storage)
    chosen = repository.backups()[-1]
    place = choose_drill_place.fn(plan, repository, chosen)
    seen = rehearse_restore.fn(plan, repository, chosen, place, [])
    seconds = time.monotonic() - begun
    report = report_on(chosen, seen, started, seconds)
    if report.verdict != "PROVEN":
        sys.exit(f"ERROR: the drill says {report.verdict}: {report.cause}")
    return {"seconds": seconds, "verdict": report.verdict, "restore_seconds": report.restore_seconds,
            "compare_seconds": report.compare_seconds}  # fmt: skip


STEPS: dict[str, Callable[[Plan], Figures]] = {"backup": backup, "restore": restore, "drill": drill}


def resident_bytes(field: str) -> int:
    """Return this process's memory from the kernel: `VmRSS` is current memory, `VmHWM` the peak.

    `getrusage` would also count the peak from before this process exec'ed the program.
    """
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def main() -> None:
    """Run the step named by the only argument."""
    Path("/proc/self/clear_refs").write_text("5")  # don't count the peak from importing
    imported = resident_bytes("VmRSS")
    with disable_run_logger():
        figures = STEPS[sys.argv[1]](resolve_plan(DEFAULT, frozenset({"database", "storage"})))
    memory = {"imported_bytes": imported, "engine_bytes": max(0, resident_bytes("VmHWM") - imported)}
    print(json.dumps(figures | memory))


if __name__ == "__main__":
    main()
