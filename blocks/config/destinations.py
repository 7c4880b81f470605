"""Places that keep a plan's backups: the primary one, and copies of it, each with a retention of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from blocks.stores import Storage

PRIMARY = "primary"
COPIES = ("copy", "copy2", "copy3")
PLACES = (PRIMARY, *COPIES)


@dataclass(frozen=True)
class RetentionRules:
    """Which backups are kept: all of the last `days` days, and those that each rule keeps (named in KEEP_RULES)."""

    days: int = 7
    keep: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Destination:
    """A place that a plan's backups are written to; its name is one of PLACES."""

    name: str
    storage: Storage
    retention: RetentionRules = field(default_factory=RetentionRules)

    def within(self, folder: str) -> Destination:
        """Return a folder in this place, with the same retention."""
        return replace(self, storage=self.storage.within(folder))
