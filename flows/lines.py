"""Print single lines for people, without importing what only tables need."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from flows.runs.logs import log_lines
from tasks.engine.wording import visible


def print_line(text: str) -> None:
    """Print one line."""
    sys.stdout.write(visible(text) + "\n")


def print_error(lines: Iterable[str], level: str = "ERROR") -> None:
    """Print an error's lines to standard error, in the log's format."""
    sys.stderr.write("".join(f"{line}\n" for line in log_lines(level, lines)))
