"""Describe settings next to their definition; documentation and hints are generated from this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

# The hint for a saved block that cannot be used.
WHEN_INVALID = "correct it in the Prefect UI, or save it again"


@dataclass(frozen=True)
class Says:
    """The meaning of a setting (Markdown; the first sentence is also its comment in `.env.example`), with an example.

    `missing` is the hint when the setting is required but not set.
    """

    meaning: str
    example: str
    missing: str = ""


@dataclass(frozen=True)
class Rule:
    """A constraint on a value, worded as the hint for an invalid one."""

    text: str


TRUE_OR_FALSE = Rule("it must be true or false")


def rule_in(annotation: Any, metadata: Any = ()) -> str:
    """Return a type's rule, however deeply nested in unions and annotations; empty if any value is valid."""
    for found in (*metadata, annotation):
        if isinstance(found, Rule):
            return found.text
    if annotation is bool:
        return TRUE_OR_FALSE.text
    parts: Iterator[str] = (rule_in(part) for part in get_args(annotation))
    return next(filter(None, parts), "")
