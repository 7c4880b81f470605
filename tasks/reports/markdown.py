"""Put text into Markdown literally, whatever names it contains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence


def cell(text: str) -> str:
    """Escape text for a single line of Markdown."""
    return re.sub(r"([\\|`*_<>\[\]#])", r"\\\1", " ".join(text.split()))


def fenced(text: str, language: str = "") -> str:
    """Put literal text in a fence that nothing in it can close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table with columns `{heading: alignment}` (`---` or `---:`); the cells are already Markdown."""
    lines = [" | ".join(columns), "|".join(columns.values()), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if n != 1 else f"|{line}|" for n, line in enumerate(lines))


def facts(named: Mapping[str, str]) -> str:
    """Format names and values in two columns."""
    return table({" ": "---", "  ": "---"}, named.items())


def warnings_shown(warnings: Sequence[str]) -> list[str]:
    """Format a backup's warnings as a section of a page; empty if there are none."""
    return ["## Warnings", "\n".join(f"- ⚠️ {cell(text)}" for text in warnings)] if warnings else []
