"""Do things with a deadline: whoever stopped us will kill us if we dawdle, and what hangs must not hold up the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, do: Callable[[], None]) -> bool:
    """Call `do` and wait up to `seconds` for it; return whether it finished.

    If it is late it carries on for as long as the process lives, but does not keep the process from exiting.
    """
    thread = threading.Thread(target=do, name="last thing", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def result_within(seconds: float, do: Callable[[], T]) -> T | None:
    """Return the result of `do`, or None if it takes longer than this; raises what it raises in time."""
    found: list[T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            found.append(do())
        except Exception as error:  # noqa: BLE001  (raised below, in the thread that waits)
            errors.append(error)

    within(seconds, work)
    if errors:
        raise errors[0]
    return found[0] if found else None
