"""Every test of this folder again, with many more examples and a new seed each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = sorted(path.name for path in HERE.glob("test_*.py") if path != Path(__file__))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("module", MODULES)
def test_many_examples_at_random(module: str) -> None:
    """A failure prints the example, and the line that reproduces it."""
    command = [sys.executable, "-m", "pytest", "-q", "-o", "timeout=3000", str(HERE / module)]
    environ = {**os.environ, "FUZZ_PROFILE": "fuzz-long"}
    done = subprocess.run(command, env=environ, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:]
