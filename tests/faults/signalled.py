"""Run the real `pg-roundtrip`, record every step it reaches, and send it a signal at one of them.

  python -m tests.faults.signalled JOURNAL SIGTERM "before dump_to_storage" backup

A step is a task of a flow, a program start, a request that changes the storage or a statement that changes a
server. Signals come before each step, and also right after each task. An empty step sends no signal; a number of
seconds sends it that long after the first step.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flows  # noqa: F401  (sets what Prefect reads when it is first imported)
from blocks.s3.client import ObjectStore
from blocks.sql.connection import Connection
from blocks.sql.restore_session import RestoreSession
from tasks import recording
from tasks.engine.process import Child

REQUESTS = ("put", "put_new", "remove", "begin_upload", "put_part", "complete_upload", "abort_upload")


class Journal:
    """The steps reached so far, in a file that outlives the process; a file beside it has the children's ids."""

    def __init__(self, path: Path, number: signal.Signals, moment: str) -> None:
        self._path, self._number, self._moment = path, number, moment
        self._seen = Counter[str]()
        self._lock = threading.Lock()
        self._sent = False
        self._begun: float | None = None

    def note_end(self) -> None:
        """Record how long the work took, for the choice of a moment in it."""
        if self._begun is not None:
            took_file(self._path).write_text(str(time.monotonic() - self._begun))

    def _begin(self) -> None:
        self._begun = time.monotonic()
        atexit.register(self.note_end)
        if self._moment.replace(".", "", 1).isdigit():
            timer = threading.Timer(float(self._moment), os.kill, (os.getpid(), self._number))
            timer.daemon = True
            timer.start()

    def reach(self, what: str) -> None:
        """Record a moment, and send the signal when it is the chosen one."""
        with self._lock:
            if self._begun is None:
                self._begin()
            self._seen[what] += 1
            name = what if self._seen[what] == 1 else f"{what}, {self._seen[what]}"
            with self._path.open("a") as file:
                file.write(name + "\n")
            due = name == self._moment and not self._sent
            self._sent = self._sent or due
        if due:
            os.kill(os.getpid(), self._number)

    def note_child(self, pid: int) -> None:
        """Record a program that was started."""
        with children_file(self._path).open("a") as file:
            file.write(f"{pid}\n")

    def watch(self, owner: type, method: str, name: Callable[..., str], *, after: bool = False) -> None:
        """Record calls of a method; calls without a name are not steps."""
        usual = getattr(owner, method)

        def watched(*arguments: Any, **options: Any) -> Any:
            what = name(*arguments)
            if what:
                self.reach(f"before {what}")
            result = usual(*arguments, **options)
            if what and after:
                self.reach(f"after {what}")
            return result

        setattr(owner, method, watched)


def children_file(journal: Path) -> Path:
    """Return the file that records the children's process ids."""
    return journal.with_suffix(".children")


def took_file(journal: Path) -> Path:
    """Return the file that records how many seconds the work took."""
    return journal.with_suffix(".took")


def changing(_: Connection, statement: str, *names: object) -> str:
    """Return the beginning of a statement that changes something."""
    return "" if statement.startswith("SET ") else "SQL " + " ".join(statement.split()[:2])


def restoring(_: RestoreSession, statement: bytes) -> str:
    """Return the beginning of a statement of a dump."""
    return "statement " + " ".join(statement.decode().split()[:2])


def working(_: Child, argv: Sequence[str], *__: object) -> str:
    """Return the name of a program that is started to do work."""
    return "" if "--version" in argv else f"program {Path(argv[0]).name}"


def watch(journal: Journal) -> None:
    """Record every step."""
    if recording.recorded():
        from prefect import Task as Kind  # noqa: PLC0415
    else:
        from tasks.plain import PlainTask as Kind  # type: ignore[assignment]  # noqa: PLC0415
    journal.watch(Kind, "__call__", lambda task, *_: task.__name__, after=True)
    for request in REQUESTS:
        journal.watch(ObjectStore, request, lambda *_, request=request: f"request {request}")
    journal.watch(Connection, "execute", changing)
    journal.watch(RestoreSession, "execute", restoring)
    journal.watch(Child, "__init__", working)
    started = Child.__init__

    def noted(child: Child, *arguments: Any, **options: Any) -> None:
        started(child, *arguments, **options)
        journal.note_child(child.pid)

    Child.__init__ = noted  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    path, number, moment = sys.argv[1:4]
    sys.argv[1:4] = []
    watch(Journal(Path(path), signal.Signals[number], moment))
    from flows import cli

    cli.main()
