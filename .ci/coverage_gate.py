"""Hold the share of lines that tests run above a bound, and say the share of branches beside it.

`coverage report --fail-under` mixes the two into one number.

Usage: python .ci/coverage_gate.py REPORT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

LINES_PERCENT = 90


def main() -> None:
    """Read the report that `coverage json` wrote; exit status 1 when too few lines ran."""
    totals = json.loads(Path(sys.argv[1]).read_text())["totals"]
    lines = percent(totals["covered_lines"], totals["num_statements"])
    branches = percent(totals["covered_branches"], totals["num_branches"])
    print(f"lines {lines:.1f} %, branches {branches:.1f} %")
    if lines < LINES_PERCENT:
        sys.exit(
            f"ERROR: Fewer than {LINES_PERCENT} % of the lines ran in tests\nHINT: the table above says which did not"
        )


def percent(part: int, whole: int) -> float:
    """A share; nothing of nothing is not enough, because then nothing was measured."""
    return 100 * part / whole if whole else 0


if __name__ == "__main__":
    main()
