"""Mark our objects, to tell them from another tool's of the same name, and this process's from those of another run."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

MARK = {"made-by": "pg-roundtrip"}
_random = secrets.token_hex(8)


def marked() -> dict[str, str]:
    """Return the metadata of an object that this process writes."""
    return {**MARK, "made-in": f"{os.getpid()}-{_random}"}


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Whether an object's metadata shows that we made it."""
    return MARK.items() <= metadata.items()


def is_of_this_process(metadata: Mapping[str, str]) -> bool:
    """Whether an object's metadata shows that this very process made it."""
    return marked().items() <= metadata.items()
