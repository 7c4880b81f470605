"""Measure what commands cost, from their start to their end: `python -m tests.bench.commands [--size-mb N]`.

Most databases are small, and for them it is the start that takes the time. So every command runs against one of 14 MB,
next to the shell pipeline that stores the same dump.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from blocks.config.environment import child_environment
from tests.bench.contenders import contenders
from tests.bench.measure import BenchFailed, run_measured
from tests.bench.stage import running_stage

_PROGRAM = Path(sys.prefix) / "bin" / "pg-roundtrip"
_RUNS = 5
# A process begins with the peak of the one that it was forked from, so a small one starts the command.
_LAUNCHER = """
import json, os, sys, time
begun = time.monotonic()
quiet = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (1, 2)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, waited, usage = os.wait4(pid, 0)
took = time.monotonic() - begun
print(json.dumps({"status": os.waitstatus_to_exitcode(waited), "cpu_seconds": usage.ru_utime + usage.ru_stime,
                  "peak_bytes": usage.ru_maxrss * 1024, "seconds": took}))
"""
# The arguments of each command, and the exit status that it must end with.
COMMANDS: Mapping[str, tuple[Sequence[str], int]] = {
    "--version": (["--version"], 0),
    "--help": (["--help"], 0),
    "backup --wrong": (["backup", "--wrong"], 2),
    "list": (["list"], 0),
    "check": (["check"], 0),
}
# Each needs what those before it have left in the storage.
VERBS: Mapping[str, tuple[Sequence[str], int]] = {
    "backup": (["backup"], 0),
    "drill": (["drill"], 0),
    "prune": (["prune"], 0),
    "restore latest --replace": (["restore", "latest", "--replace"], 0),
    "list": (["list"], 0),
    "--help": (["--help"], 0),
}
PEER = "pg_dump | gzip -6 | aws s3 cp -"


@dataclass(frozen=True)
class Cost:
    """What one run of a command used, children included."""

    cpu_seconds: float
    peak_bytes: int
    seconds: float


def measure_commands(
    environ: Mapping[str, str], folder: Path, commands: Mapping[str, tuple[Sequence[str], int]] = COMMANDS
) -> dict[str, list[Cost]]:
    """Run every command several times, each in turn."""
    runs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(_RUNS):
        for name, (arguments, status) in commands.items():
            runs[name].append(_run(name, [str(_PROGRAM), *arguments], status, environ, folder))
    return runs


def rows_of(runs: Mapping[str, Sequence[Cost]]) -> dict[str, str]:
    """Return a line of a table for each command."""
    return {f"`pg-roundtrip {name}`": _shown(costs) for name, costs in runs.items()}


def main() -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.commands", description=__doc__)
    parser.add_argument("--size-mb", type=int, default=14)
    parser.add_argument("--major", type=int)
    options = parser.parse_args()
    with running_stage(options.major, options.size_mb, lambda text: print(text, file=sys.stderr)) as stage:
        stage.reset("aws")
        ours = child_environment({
            **stage.storage.environment(), "DATABASE_URL": stage.database.url.get_secret_value(), "HOME": str(stage.home),
            "RESTORE_DATABASE_URL": stage.restored.url.get_secret_value(), "BACKUP_PREFIX": "small", "VERIFY_TARGET": "sandbox",
        })  # fmt: skip
        peer = next(c for c in contenders(stage) if c.name == PEER)
        theirs = [_run(PEER, peer.argv, 0, peer.environ, stage.home) for _ in range(_RUNS)]
        runs = {PEER: theirs, **measure_commands(ours, stage.home, VERBS)}
    print(f"| a database of {options.size_mb} MB | seconds | x the shell | s of CPU | MB |\n|---|---:|---:|---:|---:|")
    base = median(cost.seconds for cost in theirs)
    for name, costs in runs.items():
        seconds, cpu_seconds = (median(getattr(c, field) for c in costs) for field in ("seconds", "cpu_seconds"))
        peak = max(cost.peak_bytes for cost in costs) / 1e6
        print(f"| `{name}` | {seconds:.2f} | {seconds / base:.2f} | {cpu_seconds:.2f} | {peak:.0f} |")
    return 0


def _shown(costs: Sequence[Cost]) -> str:
    cpu_seconds = median(cost.cpu_seconds for cost in costs)
    return f"{cpu_seconds:.2f} s of CPU, {max(cost.peak_bytes for cost in costs) / 1e6:.0f} MB"


def _run(name: str, arguments: Sequence[str], status: int, environ: Mapping[str, str], folder: Path) -> Cost:
    """Run one command; raises BenchFailed when it ends with another status than it should."""
    launched = run_measured(name, [sys.executable, "-I", "-S", "-c", _LAUNCHER, *arguments], environ, folder)
    found = json.loads(launched.printed)
    if found["status"] != status:
        raise BenchFailed(f"{name}: exit code {found['status']}")
    return Cost(found["cpu_seconds"], found["peak_bytes"], found["seconds"])


if __name__ == "__main__":
    sys.exit(main())
