"""What a restore carries out: the statements of a dump, and the rows between them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """A statement that a restore carries out: before its rows, or `late`, after everything else."""

    text: bytes
    rows_follow: bool = False
    late: bool = False


@dataclass(frozen=True)
class Rows:
    """Some of the rows of a table, end marker included; `last` if it is the last of them."""

    data: memoryview
    last: bool


Step = Statement | Rows
