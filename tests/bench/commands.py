"""Measure what commands cost: processor time and memory of one process, from its start to its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.measure import BenchFailed, run_measured

_PROGRAM = Path(sys.prefix) / "bin" / "pg-roundtrip"
_RUNS = 5
# A process begins with the peak of the one that it was forked from, so a small one starts the command.
_LAUNCHER = """
import json, os, sys
quiet = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (1, 2)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, waited, usage = os.wait4(pid, 0)
print(json.dumps({"status": os.waitstatus_to_exitcode(waited), "cpu_seconds": usage.ru_utime + usage.ru_stime,
                  "peak_bytes": usage.ru_maxrss * 1024}))
"""
# The arguments of each command, and the exit status that it must end with.
COMMANDS: Mapping[str, tuple[Sequence[str], int]] = {
    "--version": (["--version"], 0),
    "--help": (["--help"], 0),
    "backup --wrong": (["backup", "--wrong"], 2),
    "list": (["list"], 0),
    "check": (["check"], 0),
    "plan list": (["plan", "list"], 0),
}


@dataclass(frozen=True)
class Cost:
    """What one run of a command used, children included."""

    cpu_seconds: float
    peak_bytes: int


def measure_commands(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Run every command several times, each in turn; returns a line of the table for each."""
    runs: dict[str, list[Cost]] = {name: [] for name in COMMANDS}
    for _ in range(_RUNS):
        for name, (arguments, status) in COMMANDS.items():
            runs[name].append(_run(name, arguments, status, environ, folder))
    return {f"`pg-roundtrip {name}`": _shown(costs) for name, costs in runs.items()}


def _shown(costs: Sequence[Cost]) -> str:
    cpu_seconds = median(cost.cpu_seconds for cost in costs)
    return f"{cpu_seconds:.2f} s of CPU, {max(cost.peak_bytes for cost in costs) / 1e6:.0f} MB"


def _run(name: str, arguments: Sequence[str], status: int, environ: Mapping[str, str], folder: Path) -> Cost:
    """Run one command; raises BenchFailed when it ends with another status than it should."""
    launched = run_measured(
        name, [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(_PROGRAM), *arguments], environ, folder
    )
    found = json.loads(launched.printed)
    if found["status"] != status:
        raise BenchFailed(f"{name}: exit code {found['status']}")
    return Cost(found["cpu_seconds"], found["peak_bytes"])
