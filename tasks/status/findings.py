"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from blocks.errors import PgRoundtripError

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    result: Literal["ok", "warning", "error"]
    text: str
    hint: str = ""


def attempt(findings: list[Finding], name: str, look: Callable[[], T]) -> T | None:
    """Run one check; an error becomes a finding, so that the others still run."""
    try:
        seen = look()
    except PgRoundtripError as error:
        findings.append(Finding(name, "error", error.sentence, error.hint))
        return None
    findings.append(Finding(name, "ok", str(seen)))
    return seen
