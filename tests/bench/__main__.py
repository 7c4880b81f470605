"""Run the benchmarks: `python -m tests.bench [--size-mb N] [--runs N] [--major N] [--only TEXT] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from blocks.errors import PgRoundtripError
from tests.bench.contenders import FLOOR, Contender, contenders
from tests.bench.measure import BenchFailed, run_measured
from tests.bench.report import Run, facts_of, results_of, sql_bytes, table
from tests.bench.stage import USUAL_MAJOR, Stage, running_stage


def main() -> int:
    """Measure, print the table and clean up; return the exit status."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # run the cleanup on SIGTERM too
    try:
        with running_stage(options.major, options.size_mb, _say) as stage:
            everyone = [c for c in contenders(stage) if options.only in c.name or c.name == FLOOR]
            runs = _measure_all(stage, everyone, options.runs)
            facts = {**facts_of(stage, options.size_mb, options.runs), "sql_bytes": sql_bytes(runs)}
    except (BenchFailed, PgRoundtripError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    results = results_of(everyone, runs)
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "results": results}, indent=1) + "\n")
    print(table(facts, results))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure against the shell pipelines.")
    parser.add_argument("--size-mb", type=_count, default=1000, help="size of the sample database (default: 1000)")
    parser.add_argument("--runs", type=_count, default=3, help="how often each is measured (default: 3)")
    parser.add_argument(
        "--major", type=int, help=f"PostgreSQL's major version (default: {USUAL_MAJOR}, else the newest)"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="measure those whose name has this in it, and the floor"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("it must be a whole number, 1 or more")
    return int(text)


def _measure_all(stage: Stage, everyone: Sequence[Contender], rounds: int) -> dict[str, list[Run]]:
    """Measure the contenders round-robin, so that a slow minute on the machine doesn't penalise just one."""
    runs: dict[str, list[Run]] = {contender.name: [] for contender in everyone}
    for number in range(1, rounds + 1):
        for contender in everyone:
            run = _measure(stage, contender)
            runs[contender.name].append(run)
            _say(f"run {number} of {rounds}: {contender.name}: {run.seconds:.2f} s")
    return runs


def _measure(stage: Stage, contender: Contender) -> Run:
    stage.reset(contender.stores_in)
    before_s = stage.storage_seconds()
    measured = run_measured(contender.name, contender.argv, contender.environ, stage.home)
    storage_s = stage.storage_seconds() - before_s
    figures = json.loads(measured.printed) if contender.ours else {}
    stored = stage.object_bytes(contender.stores_in) if contender.stores_in else 0
    if contender.stores_in and not stored:
        raise BenchFailed(f"{contender.name}: nothing was stored")
    if contender.copies:
        stage.check_copied(contender.name, contender.stores_in)
    if contender.restores:
        stage.check_restored(contender.name)
    return Run(
        figures.get("seconds", measured.seconds), measured.seconds, measured.peak_bytes, stored, storage_s, figures
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
