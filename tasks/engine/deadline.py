"""Run cleanup with a deadline: whoever stopped us will kill us if we dawdle."""

from __future__ import annotations

import threading
from collections.abc import Callable


def within(seconds: float, do: Callable[[], None]) -> bool:
    """Call `do` and wait up to `seconds` for it; return whether it finished.

    If it is late it carries on for as long as the process lives, but does not keep the process from exiting.
    """
    thread = threading.Thread(target=do, name="last thing", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
