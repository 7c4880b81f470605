"""Record in a manifest what a plan's selection left out of a backup, and say it in a few words beside a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from blocks.config.dump_options import without

TABLE, PARTITIONED, MATERIALIZED, SEQUENCE = "table", "partitioned table", "materialized view", "sequence"
# The kinds of relations, by the letter that pg_class has for each.
KINDS = {"r": TABLE, "p": PARTITIONED, "f": "foreign table", "v": "view", "m": MATERIALIZED, "S": SEQUENCE}


# Whoever can write to the bucket can write a manifest, and these become arguments of a program.
Name = Annotated[str, Field(pattern=r"^[^\x00]*$")]
# A kind that nobody counts would be left out without a word.
KindName = Annotated[str, Field(pattern=f"^({'|'.join(KINDS.values())})$")]


class Omissions(BaseModel):
    """The patterns of a selection, and the names that they matched when the backup was taken."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    patterns: dict[str, tuple[Name, ...]] = Field(default={}, description="By kind: exclude_tables, include_schemas, …")
    schemas: tuple[Name, ...] = Field(default=(), description="Left out with everything in them.")
    in_schemas: dict[KindName, Annotated[int, Field(ge=0)]] = Field(
        default={}, description="How many relations of each kind are in those."
    )
    relations: dict[KindName, tuple[Name, ...]] = Field(default={}, description="By kind: left out by name.")
    rows_of: dict[KindName, tuple[Name, ...]] = Field(
        default={}, description="By kind: dumped without their rows or value."
    )
    extensions: tuple[Name, ...] = ()


def in_words(left_out: Omissions | None, options: Sequence[str]) -> str:
    """Return what a backup is without, as in `2 tables and the rows of 1`; empty if it is whole."""
    said = [*_of_names(left_out), *without(options)] if left_out else without(options)
    if left_out and left_out.rows_of.get(TABLE):  # the tables that it is about are counted
        said = [text for text in said if text != "the rows of unlogged tables"]
    return " and ".join(filter(None, (", ".join(said[:-1]), *said[-1:])))


def without_in_brackets(words: str) -> str:
    """Return ` (without …)` to append to a verdict; empty for a whole backup."""
    return f" (without {words})" if words else ""


def _of_names(left_out: Omissions) -> Iterator[str]:
    if left_out.schemas:
        yield _counted(len(left_out.schemas), "schema")
    gone = Counter({kind: len(names) for kind, names in left_out.relations.items()}) + Counter(left_out.in_schemas)
    yield from (_counted(gone[kind], kind) for kind in KINDS.values() if gone[kind])
    for kind, names in ((k, left_out.rows_of[k]) for k in KINDS.values() if k in left_out.rows_of):
        what = "the value of" if kind == SEQUENCE else "the rows of"
        alone = kind == TABLE and not set(gone) - {TABLE} and gone[TABLE]
        yield f"{what} {len(names):,}" if alone else f"{what} {_counted(len(names), kind)}"
    if left_out.extensions:
        yield _counted(len(left_out.extensions), "extension")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def by_kind(names: Sequence[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    """Group names, each with its kind, in the order of KINDS."""
    grouped = {kind: tuple(sorted(name for k, name in names if k == kind)) for kind in KINDS.values()}
    return {kind: found for kind, found in grouped.items() if found}
