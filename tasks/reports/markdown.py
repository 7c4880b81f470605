"""Put text into Markdown as it is, whatever names it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence


def cell(text: str) -> str:
    """Text in one line of Markdown, as it is, whatever names it holds."""
    return re.sub(r"([\\|`*_<>\[\]#])", r"\\\1", " ".join(text.split()))


def fenced(text: str, language: str = "") -> str:
    """Text as it is, in a fence that nothing in it can close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> str:
    """A table of columns `{heading: alignment}` (`---` or `---:`); the cells are Markdown already."""
    lines = [" | ".join(columns), "|".join(columns.values()), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if n != 1 else f"|{line}|" for n, line in enumerate(lines))


def facts(named: Mapping[str, str]) -> str:
    """Names and values in two columns."""
    return table({" ": "---", "  ": "---"}, named.items())


def warnings_shown(warnings: Sequence[str]) -> list[str]:
    """What a backup warns of, as a part of a page; none where there is nothing."""
    return ["## Warnings", "\n".join(f"- ⚠️ {cell(text)}" for text in warnings)] if warnings else []
