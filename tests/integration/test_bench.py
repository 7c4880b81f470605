"""The benchmark measures what it claims to measure; speed itself is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import contenders

ROOT = Path(__file__).parents[2]
STORING = [contenders.AWS, contenders.RCLONE, *map(contenders.our_backup, contenders.LEVELS), contenders.OUR_ENCRYPTED,
           contenders.OUR_COPIED, contenders.OUR_COPIED_TO_DISK]  # fmt: skip
OURS = [*map(contenders.our_backup, contenders.LEVELS), contenders.OUR_ENCRYPTED, contenders.OUR_COPIED, contenders.OUR_COPIED_TO_DISK,
        contenders.OUR_RESTORE, contenders.OUR_DRILL,
        contenders.OUR_DRILL_THERE]  # fmt: skip
EVERYONE = {contenders.FLOOR, contenders.USUAL_RESTORE, *STORING, *OURS}


@pytest.mark.long
def test_the_benchmark_measures_everyone(tmp_path: Path) -> None:
    """Every contender has a row, every backup's object was read by its restore, and the engine's memory stays small."""
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.bench", "--size-mb", "20", "--runs", "1", "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    results = {row["name"]: row for row in json.loads(figures.read_text())["results"]}
    assert results.keys() == EVERYONE
    shown = done.stdout.replace("\\|", "|")
    assert [name for name in EVERYONE if f"| `{name}`" not in shown] == []
    assert [name for name in STORING if not results[name]["object_bytes"]] == []
    assert all(row["seconds"] > 0 for row in results.values())
    assert [name for name in OURS if not 0 < results[name]["engine_bytes"] < 150_000_000] == []
