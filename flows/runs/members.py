"""Do the same for several databases, a bounded number at once: what goes wrong with one costs the others nothing."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from blocks.errors import PgRoundtripError
from tasks.engine.process import kill_children

T = TypeVar("T")
R = TypeVar("R")
# Whoever stopped us does not wait long.
_END_S = 8.0
_LOOK_S = 0.5


@dataclass(frozen=True)
class Ended(Generic[R]):
    """How it went with one: its result, or the error."""

    result: R | None = None
    error: PgRoundtripError | None = None


def each(members: Sequence[T], work: Callable[[T], R], at_once: int = 1) -> list[Ended[R]]:
    """Do the work for each, in this order; with `at_once` above one, in threads."""
    if min(at_once, len(members)) <= 1:
        return [_attempt(work, member) for member in members]
    waiting, ends = SimpleQueue[int](), [Future[Ended[R]]() for _ in members]
    for number in range(len(members)):
        waiting.put(number)

    def take(done: threading.Event) -> None:
        try:
            with contextlib.suppress(Empty, SystemExit):  # nothing is left, or we were told to stop
                while True:
                    number = waiting.get_nowait()
                    ends[number].set_result(_attempt(work, members[number]))
        finally:
            done.set()

    # Events, because Python 3.11 takes a thread for ended whose `join` a signal interrupts.
    done = [threading.Event() for _ in range(min(at_once, len(members)))]
    # Each with a copy of the context, in which Prefect and we keep what run this is.
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(take, own), name=f"member-{n}", daemon=True)
        for n, own in enumerate(done)
    ]
    for thread in threads:
        thread.start()
    try:
        for own in done:
            while not own.wait(_LOOK_S):  # without a limit, it would not notice a signal on every system
                pass
    except BaseException:
        _stop(threads, done, waiting)
        raise
    return [end.result() if end.done() else Ended(error=PgRoundtripError("its thread has ended")) for end in ends]


def _attempt(work: Callable[[T], R], member: T) -> Ended[R]:
    try:
        return Ended(work(member))
    except PgRoundtripError as error:
        return Ended(error=error)
    except Exception as error:
        logging.getLogger(__name__).exception("Unhandled exception")
        return Ended(error=PgRoundtripError(type(error).__name__, hint="the log says where it happened"))


def _stop(threads: Sequence[threading.Thread], done: Sequence[threading.Event], waiting: SimpleQueue[int]) -> None:
    """Let no thread begin with another, and end what they do: their programs die, so nothing that they wait for is left.

    One that waits to try again has nothing to clean up, and is not waited for.
    """
    with contextlib.suppress(Empty):
        while True:
            waiting.get_nowait()
    for thread in threads:
        if thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    kill_children()
    for own in done:
        own.wait(_END_S / len(done))
