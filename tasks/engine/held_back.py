"""Let a signal wait while something begins that has to be known before it can be ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_held_back() -> Iterator[list[int]]:
    """Hold back the signals that end a run; yield those that arrived, which are raised again on leaving.

    Python handles signals in its main thread, so there is nothing to hold back in others. A signal that is ignored, or
    ends the process at once, stays as it is: programs inherit that.
    """
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = {number: handler for number in _ENDING if callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, lambda got, _frame: heard.append(got))
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for got in heard:
            signal.raise_signal(got)
