"""How a plan's backups get to its copies, and when one that lacks them is too late."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Copying:
    """In how many places a backup must be, how long it waits for a slow one, and how late one may be, in seconds."""

    required: int = 1
    wait_s: int = 600
    behind_after_s: int = 26 * 3600
    interval_s: int = 6 * 3600
