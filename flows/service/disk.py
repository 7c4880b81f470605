"""Ask a disk that may never answer: a frozen file system holds up one thread, and neither the service nor its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Disk:
    """One disk, which is asked one thing at a time."""

    def __init__(self) -> None:
        self._asked: Future[Any] | None = None

    async def ask(self, question: Callable[[], T], timeout_s: float) -> T:
        """Return the answer; raises TimeoutError if it takes longer, and at once while an earlier question has none."""
        if self._asked and not self._asked.done():
            raise TimeoutError
        self._asked = asked = Future[T]()
        asked.set_running_or_notify_cancel()  # whoever waits may give up, but the thread cannot
        # A pool's thread would be waited for at the end of the process.
        threading.Thread(target=_answer, args=(question, asked), name="disk", daemon=True).start()
        async with asyncio.timeout(timeout_s):
            return await asyncio.wrap_future(asked)


def _answer(question: Callable[[], T], asked: Future[T]) -> None:
    try:
        asked.set_result(question())
    except BaseException as error:  # noqa: BLE001  (it is raised where the answer is awaited)
        asked.set_exception(error)
