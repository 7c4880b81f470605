"""Name tables as anomalies do, and know what earlier backups told: a loss that nobody acknowledged isn't usual."""

from __future__ import annotations

from typing import Protocol

from tasks.engine.wording import visible

MOST, LONGEST = 20, 120  # anomalies of a backup, characters of a name


class Teller(Protocol):
    """A backup that may have had anomalies."""

    @property
    def told(self) -> frozenset[str]:
        """The tables of those that nobody acknowledged, as they are shown."""


def shown(text: str, longest: int = LONGEST) -> str:
    """Bound and clean a text that an anomaly shows."""
    cut = visible(text[: longest + 1])
    return cut if len(cut) <= longest else f"{cut[: longest - 1]}…"


def was_told(backup: Teller, table: str) -> bool:
    """Whether a backup told of a table; one with more anomalies than are named may have."""
    return shown(table) in backup.told or len(backup.told) >= MOST - 1
