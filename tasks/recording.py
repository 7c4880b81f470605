"""Decide whether runs are Prefect's, recorded by its server, or plain ones that need no server.

A run is recorded if Prefect started it, or if a server is named. The command line can choose otherwise, before it
imports a flow.
"""

from __future__ import annotations

import sys

from blocks.config.server import prefect_server

_chosen: bool | None = None


def choose(wanted: bool) -> None:
    """Choose for this process, whatever is configured; only before a flow or task is imported."""
    global _chosen  # noqa: PLW0603  (one choice per process)
    _chosen = wanted


def recorded() -> bool:
    """Whether runs of this process are Prefect's."""
    return _chosen if _chosen is not None else "prefect" in sys.modules or bool(prefect_server())
