"""Show the progress of a long step without slowing it down: a separate thread sends only the newest state."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast
from uuid import UUID

from tasks.engine.wording import human_bytes, human_seconds
from tasks.orchestration import RECORDED, get_run_logger

if TYPE_CHECKING or RECORDED:
    from prefect.artifacts import create_progress_artifact, update_progress_artifact
    from prefect.context import TaskRunContext

# Prefect's API may be slow or down: the end of a step waits no longer than this for the last update.
_LAST_WORD_S = 5.0
_ALMOST, _DONE = 99.0, 100.0


class Progress:
    """A progress artifact of the current task, while the context lasts; outside a recorded task it does nothing.

    Updates never raise and never wait: those that come faster than Prefect takes them replace each other.
    """

    def __init__(self, key: str, first: str) -> None:
        self._key = key  # without one, the UI would not list it
        self.begun = time.monotonic()
        self._newest: tuple[float, str] = (0.0, first)
        self._news, self._over = threading.Event(), False
        self._thread: threading.Thread | None = None

    def say(self, percent: float, text: str) -> None:
        """Show the progress; it stays below 100 until `finished`."""
        self._newest = (min(_ALMOST, percent), text)
        self._news.set()

    def finished(self, text: str) -> None:
        """Show that it is done."""
        self._newest = (_DONE, text)

    def __enter__(self) -> Self:
        if RECORDED and TaskRunContext.get():
            # The thread needs the run's context to know whose artifact it is.
            work = contextvars.copy_context()
            self._thread = threading.Thread(target=work.run, args=(self._work,), name="progress", daemon=True)
            self._news.set()
            self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if error:
            self._newest = (self._newest[0], f"{self._newest[1]}: given up")
        self._over = True
        self._news.set()
        if self._thread:
            self._thread.join(_LAST_WORD_S)

    def _work(self) -> None:
        artifact: UUID | None = None
        over = False
        try:
            while not over:
                self._news.wait()
                self._news.clear()
                over = self._over
                percent, text = self._newest
                if artifact is None:
                    artifact = cast(UUID, create_progress_artifact(percent, self._key, text))
                else:
                    update_progress_artifact(artifact, percent, description=text)
        except Exception as error:  # noqa: BLE001  (whatever it is, the step goes on)
            get_run_logger().warning("The progress is not shown in Prefect: %s", type(error).__name__)


class DumpProgress(Progress):
    """The progress of a dump: an estimate, because a dump's size is known only at its end."""

    def __init__(self, name: str, expected_bytes: int, log: Callable[..., None]) -> None:
        super().__init__(
            "dump-progress", f"{name}: the dump begins, about {human_bytes(expected_bytes)} of SQL are expected"
        )
        self._name, self._expected_bytes, self._log = name, max(1, expected_bytes), log
        self._last = (self.begun, 0, 0)

    def tell(self, raw_bytes: int, stored_bytes: int) -> None:
        """Log how many bytes were read and stored; also show the speed since the last call."""
        self._log("Dumped %s, stored %s", human_bytes(raw_bytes), human_bytes(stored_bytes))
        (then, raw, stored), self._last = self._last, (time.monotonic(), raw_bytes, stored_bytes)
        took = max(0.001, self._last[0] - then)
        self.say(
            100 * raw_bytes / self._expected_bytes,
            f"{self._name}: {human_bytes(raw_bytes)} of about {human_bytes(self._expected_bytes)} of SQL read "
            f"({_speed(raw_bytes - raw, took)}), {human_bytes(stored_bytes)} stored ({_speed(stored_bytes - stored, took)})",
        )

    def done(self, raw_bytes: int, stored_bytes: int) -> None:
        """Show the totals."""
        took = max(0.001, time.monotonic() - self.begun)
        self.finished(
            f"{self._name}: {human_bytes(raw_bytes)} of SQL read ({_speed(raw_bytes, took)}), "
            f"{human_bytes(stored_bytes)} stored ({_speed(stored_bytes, took)}) in {human_seconds(took)}"
        )


class RestoreProgress(Progress):
    """The progress of a restore, measured against the size of the object."""

    def __init__(self, name: str, object_bytes: int, log: Callable[..., None]) -> None:
        super().__init__("restore-progress", f"{name}: the restore begins, {human_bytes(object_bytes)} to read")
        self._name, self._object_bytes, self._log = name, max(1, object_bytes), log
        self._last = (self.begun, 0)

    def tell(self, read_bytes: int) -> None:
        """Log how many bytes of the object were read; also show the speed since the last call."""
        self._log("Restored %s of %s", human_bytes(read_bytes), human_bytes(self._object_bytes))
        (then, before), self._last = self._last, (time.monotonic(), read_bytes)
        speed = _speed(read_bytes - before, max(0.001, self._last[0] - then))
        of = f"{human_bytes(read_bytes)} of {human_bytes(self._object_bytes)}"
        self.say(100 * read_bytes / self._object_bytes, f"{self._name}: {of} restored ({speed})")

    def done(self) -> None:
        """Show that all of it was restored."""
        took = human_seconds(time.monotonic() - self.begun)
        self.finished(f"{self._name}: {human_bytes(self._object_bytes)} restored in {took}")


def _speed(size_bytes: int, seconds: float) -> str:
    return f"{human_bytes(size_bytes / seconds)}/s"
