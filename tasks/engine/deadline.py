"""Do a last thing without waiting for ever: who tells a run to stop kills it when that takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable


def within(seconds: float, do: Callable[[], None]) -> bool:
    """Do something and wait this long for it; returns whether it is done.

    What is not done by then goes on for as long as the process lives, and keeps that from ending no longer.
    """
    thread = threading.Thread(target=do, name="last thing", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
