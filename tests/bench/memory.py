"""Measure what the whole container needs: `python -m tests.bench.memory [--size-mb N] [--major N]`.

One `pg-roundtrip serve` backs up the sample and drills the backup in a sandbox; the sum of the proportional set
sizes of all its processes is sampled, and the CPU time that it uses when it has nothing to do. Then single commands
run against the same database and storage.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from blocks.config.environment import child_environment
from flows.demo.services import free_ports
from tasks.engine.process import Child
from tests.bench.commands import measure_commands, rows_of
from tests.bench.measure import BenchFailed, MemoryWatch, tree
from tests.bench.stage import Stage, running_stage

_STEP_S, _STEP_LIMIT_S = 0.5, 900
_SETTLE_S, _IDLE_S = 20, 60


def main() -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--major", type=int)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running_stage(options.major, options.size_mb, _say) as stage:
        try:
            measured = {**_measure(stage), **rows_of(measure_commands(_environment(stage), stage.home))}
        except BenchFailed as error:
            print(f"ERROR: {error}", file=sys.stderr)
            return 1
    print(f"| `pg-roundtrip serve`, {options.size_mb:,} MB database, PostgreSQL {stage.client.version} | |\n|---|---:|")
    for what, value in measured.items():
        print(f"| {what} | {value} |")
    return 0


def _measure(stage: Stage) -> dict[str, str]:
    port = free_ports(1)[0]
    metrics = f"http://127.0.0.1:{port}/metrics"
    environ = _environment(stage) | {"PORT": str(port), "METRICS_ENABLED": "true", "METRICS_PORT": str(port)}
    measured = {}
    with Child([str(Path(sys.prefix) / "bin" / "pg-roundtrip"), "serve"], environ, read=True, cwd=stage.home) as child:
        with MemoryWatch(child.pid) as memory:
            _await(child, lambda: "pg_roundtrip_backup_size_bytes{" in _read(metrics))
            measured["start and backup, peak"] = _mb(memory.peak_bytes)
        with MemoryWatch(child.pid) as memory:
            _await(child, lambda: 'verdict="PROVEN"} 1.0' in _read(metrics))
            measured["sandbox drill, peak"] = _mb(memory.peak_bytes)
        time.sleep(_SETTLE_S)
        with MemoryWatch(child.pid) as memory:
            before = _cpu_seconds(child.pid)
            time.sleep(_IDLE_S)
            used = _cpu_seconds(child.pid) - before
            measured["idle, peak"] = _mb(memory.peak_bytes)
        measured["idle, CPU"] = f"{100 * used / _IDLE_S:.1f} %"
        child.send(signal.SIGTERM)
        child.wait(30)
    return measured


def _environment(stage: Stage) -> dict[str, str]:
    return child_environment({
        **stage.storage.environment(),
        "DATABASE_URL": stage.database.url.get_secret_value(), "BACKUP_PREFIX": "memory", "VERIFY_TARGET": "sandbox",
        "UI_PASSWORD": "memory", "PREFECT_HOME": str(stage.home / "prefect"), "HOME": str(stage.home),
    })  # fmt: skip


def _await(child: Child, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _STEP_LIMIT_S
    while not done():
        if not child.running or time.monotonic() > deadline:
            raise BenchFailed(f"serve: {child.error_summary() or 'the expected event did not happen'}")
        time.sleep(_STEP_S)


def _read(url: str) -> str:
    try:
        return httpx.get(url, timeout=15).text
    except httpx.HTTPError:
        return ""


def _cpu_seconds(pid: int) -> float:
    """Return the user plus system time of a process and its descendants."""
    used = 0
    for each in tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
