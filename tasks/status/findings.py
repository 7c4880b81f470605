"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    result: Literal["ok", "warning", "error"]
    text: str
    hint: str = ""
