"""The console has one format, whatever a library logs and however."""

from __future__ import annotations

import io
import logging
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError

from blocks.errors import ConfigurationError, Problem, StorageDenied
from flows.runs.logs import PlainFormatter, Plainly, log_lines, log_plainly
from tasks.clock import utc_now

MOMENT = 1707316222.5  # 2024-02-07T14:30:22Z
STAMP = "2024-02-07T14:30:22Z"


def written(
    level: int, message: str, *arguments: object, error: BaseException | None = None, name: str = "x"
) -> list[str]:
    """Return the lines of a record; none when it is left out."""
    info = (type(error), error, None) if error else None
    record = logging.LogRecord(name, level, "", 0, message, arguments, info)
    record.created = MOMENT
    return PlainFormatter().format(record).splitlines() if Plainly().filter(record) else []


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's time zone is not UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("level", "name"),
    [(50, "ERROR"), (40, "ERROR"), (35, "WARNING"), (30, "WARNING"), (20, "INFO"), (10, "INFO")],
)
def test_there_are_three_levels(level: int, name: str) -> None:
    """The specification has ERROR, WARNING and INFO, and times are in UTC."""
    assert written(level, "%d files", 3) == [f"{STAMP} {name}: 3 files"]


def test_every_line_has_its_time() -> None:
    """Log collectors read lines: hints, further problems and tracebacks are each on lines of their own."""
    assert written(logging.ERROR, "%s", StorageDenied("here")) == [
        f"{STAMP} ERROR: Access Denied [here] (PGR-S3-DENIED)",
        f"{STAMP} ERROR: HINT: {StorageDenied.hint}",
    ]
    two = ConfigurationError([Problem("A is not set", "set it"), Problem("B is not set")])
    assert written(logging.ERROR, "failed", error=two) == [
        f"{STAMP} ERROR: A is not set (PGR-CONFIG)",
        f"{STAMP} ERROR: HINT: set it",
        f"{STAMP} ERROR: B is not set (PGR-CONFIG)",
    ]
    assert written(logging.ERROR, "went wrong", error=KeyError("a\nb")) == [
        f"{STAMP} ERROR: went wrong",
        f"{STAMP} ERROR: KeyError: 'a\\nb'",
    ]
    assert written(logging.INFO, "") == [f"{STAMP} INFO: "]


def test_a_fault_is_said_once() -> None:
    """A task logs its error; the flow gets the same error and doesn't log it again."""
    error = StorageDenied("here")
    assert (
        written(logging.ERROR, "Task run failed with exception: %r - Retries are exhausted", error, error=error) != []
    )
    assert written(logging.ERROR, "Encountered exception during execution: %r", error, error=error) == []


def test_an_attempt_that_is_repeated_is_a_warning() -> None:
    """A failed attempt that will be retried is a warning, because it can still succeed."""
    message = "Task run failed with exception: %r - Retry %s/%s will start %s second(s) from now"
    assert written(logging.ERROR, message, StorageDenied("here"), 1, 3, 5) == [
        f"{STAMP} WARNING: Access Denied [here]; trying again"
    ]


def test_trouble_with_prefects_database_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's services retry every few seconds, with a traceback each time: that is one warning."""
    monkeypatch.setattr("flows.runs.trouble._said_at", {})
    name = "prefect.server.services.task_run_recorder"
    busy = sqlite3.OperationalError("database is locked")
    said = [f"{STAMP} WARNING: Prefect's server has trouble, and goes on: database is locked"]
    assert [written(logging.ERROR, "Error flushing 3 events", error=busy, name=name) for _ in range(2)] == [said, []]
    full = (
        "Error marking deployments as not ready: (sqlite3.OperationalError) database or disk is full\n(Background on …)"
    )
    assert written(logging.ERROR, full, name="prefect.server.models") == [
        f"{STAMP} WARNING: Prefect's server has trouble, and goes on: database or disk is full"
    ]


@pytest.mark.parametrize("error", [ConnectionClosedError(None, None), httpx.ReadError("reset")])
def test_a_prefect_server_that_goes_away_is_a_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's clients reconnect by themselves; the service says so if that takes long."""
    monkeypatch.setattr("flows.runs.trouble._said_at", {})
    said = [f"{STAMP} WARNING: Prefect's server has trouble, and goes on: {type(error).__name__}"]
    assert written(logging.WARNING, "The websocket failed", error=error, name="prefect.runner") == said


def test_an_error_that_is_its_own_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some errors reach the log in a circle of causes: a line for them as well, and no traceback."""
    monkeypatch.setattr("flows.runs.trouble._said_at", {})
    full, again = OSError(28, "No space left on device"), RuntimeError("raised again")
    full.__cause__, again.__context__ = again, full
    assert written(logging.ERROR, "Encountered exception in request:", error=full, name="prefect.server") == [
        f"{STAMP} WARNING: Prefect's server has trouble, and goes on: No space left on device"
    ]


def test_an_error_of_our_own_is_no_trouble_of_prefects() -> None:
    """A bug in a run keeps its traceback, whatever Prefect's logger says it."""
    lines = written(
        logging.ERROR, "Encountered an exception", error=FileNotFoundError("a bug"), name="prefect.flow_runs"
    )
    assert lines[0].endswith("ERROR: Encountered an exception")
    assert lines[-1].endswith("ERROR: FileNotFoundError: a bug")


def test_a_run_that_was_told_to_stop_says_so_once() -> None:
    """A stopped run logs one warning, although Prefect reports a crash for both the task and the flow."""
    message = "Crash detected! Execution was aborted by a termination signal."
    assert written(logging.ERROR, message, name="prefect.task_runs") == []
    assert written(logging.ERROR, message, name="prefect.flow_runs") == [
        f"{STAMP} WARNING: The run was told to stop, and ended before it was done"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prefect.flow_runs", "Beginning flow run 'a' for flow 'b'"),
        ("prefect.flow_runs", "Finished in state Completed()"),
        ("prefect.flow_runs.runner", "Process for flow run 'a' exited cleanly."),
        ("prefect.flow_runs.worker", "Submitting flow run"),
        ("prefect.runner", "Runner 'a' submitting flow run 'b'"),
    ],
)
def test_housekeeping_is_left_out(name: str, message: str) -> None:
    """Prefect's starts and ends of runs aren't worth logging; its problems are."""
    assert written(logging.INFO, message, name=name) == []
    assert written(logging.WARNING, "could not " + message, name=name) == [f"{STAMP} WARNING: could not {message}"]


def test_everybody_logs_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers installed by others, such as uvicorn's, get the format; Python's warnings are logged too."""
    console = io.StringIO()
    for name in ("root of a test", "uvicorn.error"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(console)])
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "level", logging.ERROR)
        monkeypatch.setattr(logger, "disabled", False)  # whatever other tests have done to it
    logging.getLogger("uvicorn.error").handlers[0].setFormatter(logging.Formatter("%(levelname)-9s %(message)s"))
    log_plainly()
    log_plainly()
    for name in ("root of a test", "uvicorn.error"):
        assert len(logging.getLogger(name).handlers[0].filters) == 1
        logging.getLogger(name).error("said by %s", name)
    lines = console.getvalue().splitlines()
    assert [line.partition("Z ")[2] for line in lines] == [
        "ERROR: said by root of a test",
        "ERROR: said by uvicorn.error",
    ]


UNHANDLED = """
import threading
from flows.runs.logs import log_plainly
log_plainly()

class Ends:
    def __del__(self):
        raise ValueError("in passing")

def raises(what):
    raise ValueError(what)

Ends()
thread = threading.Thread(target=raises, args=("in a thread",))
thread.start()
thread.join()
raises("at the end")
"""


def test_what_nobody_caught_has_the_form_too(tmp_path: Path) -> None:
    """Tracebacks printed by Python itself are logged line by line; the exit status stays the same."""
    environ = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", UNHANDLED], env=environ, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert [line for line in lines if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (WARNING|ERROR): ", line)] == []
    raised = [line.partition("Z ")[2] for line in lines if "ValueError" in line]
    assert raised == [
        "WARNING: ValueError: in passing",
        "ERROR: ValueError: in a thread",
        "ERROR: ValueError: at the end",
    ]
    assert done.returncode == 1


UNSENT = """
import asyncio
from types import SimpleNamespace
from prefect.logging.handlers import APILogWorker
from flows.runs.logs import log_plainly
log_plainly()

class Away:
    async def create_logs(self, lines):
        raise OSError("no server")

asyncio.run(APILogWorker._handle_batch(SimpleNamespace(_client=Away()), [{}]))
"""


def test_lines_that_the_server_does_not_take(tmp_path: Path) -> None:
    """Lines that fail to upload are already on the console: no complaint without time and level is added."""
    environ = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", UNSENT], env=environ, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_lines_of_a_command_look_the_same() -> None:
    """Errors before anything runs have the same format, level included."""
    said = list(log_lines("ERROR", ["ERROR: it is wrong", "HINT: mend it"]))
    assert [line.partition("Z ")[2] for line in said] == ["ERROR: it is wrong", "ERROR: HINT: mend it"]
    assert all(line.startswith(f"{utc_now():%Y-%m-%d}T") for line in said)


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    """With an unwritable folder the service keeps its history elsewhere, and says so and what to do."""
    environ = {"PREFECT_HOME": "/proc/nowhere", "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "SERVE_FLOWS": "prune",
               "S3_ENDPOINT": "http://s3", "S3_BUCKET": "backups", "S3_ACCESS_KEY_ID": "a", "S3_SECRET_ACCESS_KEY": "b"}  # fmt: skip
    command = [sys.executable, "-c", "from flows.service.environment import prepare; prepare()"]
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stderr.splitlines()
    rule = r"\S+Z WARNING: /proc/nowhere cannot be used: .+; the history of runs is kept in \S+ until the next start"
    assert re.fullmatch(rule, said[-2])
    assert re.fullmatch(r"\S+Z WARNING: HINT: backups and drills go on; .+", said[-1])


def test_an_error_of_a_command_that_nobody_foresaw(tmp_path: Path) -> None:
    """An unexpected error is logged line by line, although Typer would print it bare; the command fails."""
    program = "from unittest import mock; from flows import cli; mock.patch.object(cli, 'app', lambda: 1 // 0).start(); cli.main()"
    environ = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert lines[0].endswith("ERROR: Unhandled exception")
    assert lines[-1].endswith("ERROR: ZeroDivisionError: integer division or modulo by zero")
    assert [line for line in lines if not re.match(r"\S+Z ERROR: ", line)] == []
    assert done.returncode == 1


def test_a_faulty_call_of_a_library_is_written_as_it_is() -> None:
    """A library's log call with too few arguments must not end a run."""
    assert written(logging.WARNING, "%d of %d done", 1) == [f"{STAMP} WARNING: %d of %d done (1,)"]
