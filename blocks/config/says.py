"""Say of a setting what people need to know, beside the setting itself: documents and hints are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

# What to do about a saved block that cannot be used.
WHEN_INVALID = "correct it in the Prefect UI, or save it anew"


@dataclass(frozen=True)
class Says:
    """What a setting means (Markdown; the first sentence is also its comment in `.env.example`), and an example.

    `missing` is the hint where the setting is needed and not set.
    """

    meaning: str
    example: str
    missing: str = ""


@dataclass(frozen=True)
class Rule:
    """What a value must be, as the hint says it where one is not."""

    text: str


TRUE_OR_FALSE = Rule("it must be true or false")


def rule_in(annotation: Any, metadata: Any = ()) -> str:
    """The rule of a type, however deep it stands in unions and annotations; empty where anything goes."""
    for found in (*metadata, annotation):
        if isinstance(found, Rule):
            return found.text
    if annotation is bool:
        return TRUE_OR_FALSE.text
    parts: Iterator[str] = (rule_in(part) for part in get_args(annotation))
    return next(filter(None, parts), "")
