"""How a plan's backups get to its copies, and when one that lacks them is too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field

from blocks.config.says import Rule, Says
from blocks.config.values import Seconds

MOST_COPIES = 4
Places = Annotated[
    int,
    Field(ge=1, le=MOST_COPIES),
    Rule(f"it must be a number of places from 1 to {MOST_COPIES}, the first one included"),
]


class CopyingSettings(BaseModel):
    """How backups get to [several places](copies.md)."""

    copies_required: Annotated[Places, Says(
        "In how many places a backup must be, or else its run fails; the first place counts like the others.", "2"
    )] = 1  # fmt: skip
    copy_wait_s: Annotated[Seconds, Says(
        "For how many seconds in all a backup waits for a place that is slower than the first; then it goes on without it, and the "
        "place is caught up with later.", "1800"
    )] = Field(default=600, validation_alias="COPY_WAIT")  # fmt: skip
    copy_interval_s: Annotated[Seconds, Says(
        "Seconds between two runs of the flow `copy`, which copies what a place lacks. Every backup also copies the newest of it.", "3600"
    )] = Field(default=21600, validation_alias="COPY_INTERVAL")  # fmt: skip
    copy_behind_after_s: Annotated[Seconds, Says(
        "Seconds after which you are told that a place lacks a backup that another one has.", "86400"
    )] = Field(default=93600, validation_alias="COPY_BEHIND_AFTER")  # fmt: skip


# The fields of a saved block, which have the settings' names.
FIELDS = tuple(CopyingSettings.model_fields)


@dataclass(frozen=True)
class Copying:
    """In how many places a backup must be, how long it waits for a slow one, and how late one may be, in seconds."""

    required: int = 1
    wait_s: int = 600
    interval_s: int = 21600
    behind_after_s: int = 93600


def copying_of(fields: Mapping[str, Any]) -> Copying:
    """Return what the fields of a saved block say; each has a default."""
    given = {name.removeprefix("copy_").removeprefix("copies_"): fields[name] for name in FIELDS if name in fields}
    return Copying(**given)
