"""Tell of runs whose process was killed: the system that runs out of memory leaves them no time to tell it themselves."""

from __future__ import annotations

import threading

from blocks.config import DEFAULT
from blocks.errors import RunKilled
from flows.runs.telling import tell_failure


def tell_killed(flow: str, how: str) -> threading.Thread:
    """Tell in a thread of its own that a run's process ended without an outcome: the service doesn't wait for that."""
    thread = threading.Thread(target=tell_failure, args=(flow, DEFAULT, RunKilled(how)), name="killed", daemon=True)
    thread.start()
    return thread
