"""How long the tests here observe a service: long enough to mean something, unless SOAK_MINUTES shortens it."""

from __future__ import annotations

import os


def minutes(usual: int) -> int:
    """Return how many minutes to observe."""
    return int(os.environ.get("SOAK_MINUTES", usual))
