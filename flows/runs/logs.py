"""Format every line that a process logs as the specification says: `2024-02-07T14:30:22Z INFO: …`.

UTC, one of three levels, one sentence; an expected error has no traceback, and its hint is on a separate line.
Each line of a record has the time and the level, because log collectors read line by line.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType

from blocks.errors import PgRoundtripError
from flows.runs.trouble import is_news, trouble_in
from tasks.clock import utc_now
from tasks.engine.wording import iso, visible

_logger = logging.getLogger(__name__)
_CHATTER = ("Beginning flow run", "Finished in state", "Starting temporary server", "Stopping temporary server", "View at ",
            "Created task run", "Executing ", "Created flow run", "Beginning subflow run", "Running hook", "Hook ",
            "SIGTERM received", "Opening process", "Dropping event ", "Service 'ConcurrencySlot")  # fmt: skip
# They log how Prefect starts and stops its processes; any problem with that is a warning or an error.
_HOUSEKEEPERS = ("prefect.runner", "prefect.flow_runs.runner", "prefect.flow_runs.worker", "prefect.engine", "prefect.worker",
                 "prefect.events", "httpx")  # fmt: skip
_NUMBERS = (int, float, type(None))  # `%d` and `%.1f` need these unchanged
_STOPPED = "Crash detected! Execution was aborted by"
# Prefect's services for events and logs, with the whole event, when the server is away.
_UNTOLD = ("Service 'EventsWorker' failed", "Service 'APILogWorker' failed", "Unable to connect to 'ws")
# What the lines of this thread are about, while others log at the same time.
about: ContextVar[str] = ContextVar("about", default="")
TOLD_TO_STOP = "The run was told to stop, and ended before it was done"


class PlainFormatter(logging.Formatter):
    """Begin every line of a record with the time and the level."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the message, with the traceback of an unexpected error."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        moment = datetime.fromtimestamp(record.created, UTC)
        # Not splitlines(): the other line breaks that it recognises are made visible instead.
        return "\n".join(log_lines(_level(record.levelno), text.rstrip("\n").split("\n"), moment))


def log_lines(level: str, lines: Iterable[str], moment: datetime | None = None) -> Iterator[str]:
    """Format lines for the log; don't repeat a level that a line already has."""
    stamp = iso(moment or utc_now())
    return (f"{stamp} {level}: {visible(line.removeprefix(level + ': '))}" for line in lines)


def _level(number: int) -> str:
    return "ERROR" if number >= logging.ERROR else "WARNING" if number >= logging.WARNING else "INFO"


class Plainly(logging.Filter):
    """Log an expected error once, as its sentence and hint, and drop Prefect's housekeeping."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide once per record, because all handlers get the same one."""
        if "wanted" not in record.__dict__:
            try:
                record.__dict__["wanted"] = _rewrite(record)
            except Exception:  # noqa: BLE001  (a library's call has too few arguments for its message; that must not end a run)
                record.msg, record.args = f"{record.msg} {record.args}", ()
                record.__dict__["wanted"] = True
            _make_visible(record)
        return bool(record.__dict__["wanted"])


def _rewrite(record: logging.LogRecord) -> bool:
    """Rewrite an expected error plainly; returns whether to log the record at all."""
    error = record.exc_info[1] if record.exc_info else None
    for argument in record.args if isinstance(record.args, tuple) else ():
        error = argument if isinstance(argument, PgRoundtripError) else error
    if record.getMessage().startswith(_STOPPED):
        _replace(record, logging.WARNING, TOLD_TO_STOP)
        return not record.name.startswith("prefect.task_runs")  # its flow logs the same
    if record.getMessage().startswith(_UNTOLD):
        _replace(record, logging.WARNING, "Prefect's server does not take what it is told of the run, which goes on")
        return is_news("untold")
    if not isinstance(error, PgRoundtripError):
        if record.levelno >= logging.WARNING and (trouble := trouble_in(record.name, record.getMessage(), error)):
            _replace(record, logging.WARNING, f"Prefect's server has trouble, and goes on: {trouble}")
            return is_news(trouble)
        return not _is_chatter(record)
    again = " - Retry " in record.getMessage()
    level, text = (logging.WARNING, f"{error.sentence}; trying again") if again else (logging.ERROR, _lines(error))
    _replace(record, level, text)
    if again:
        return True
    # The task logs an error where it happened; don't log it again for the flow.
    first, error.logged = not error.logged, True
    return first


def _make_visible(record: logging.LogRecord) -> None:
    """Escape invisible characters for every handler: those for Prefect's history have their own format.

    A line feed in an argument would start a line that could look like one of ours.
    """
    if isinstance(record.args, tuple):
        record.args = tuple(value if isinstance(value, _NUMBERS) else visible(str(value)) for value in record.args)
    with contextlib.suppress(Exception):  # a library's call has too few arguments for its message
        before = f"{about.get()}: " if about.get() else ""
        record.msg, record.args = visible(before + record.getMessage(), lines=True), ()
    if record.exc_info and not record.exc_text:
        record.exc_text = visible(logging.Formatter().formatException(record.exc_info), lines=True)


def _replace(record: logging.LogRecord, level: int, text: str) -> None:
    record.levelno, record.levelname = level, logging.getLevelName(level)
    record.msg, record.args, record.exc_info, record.exc_text = text, (), None, None


def _is_chatter(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    return said.startswith(_CHATTER) or (record.levelno < logging.WARNING and record.name.startswith(_HOUSEKEEPERS))


def _lines(error: PgRoundtripError) -> str:
    return "\n".join(error.lines()).removeprefix("ERROR: ")


def log_plainly() -> None:
    """Format all logs of this process: Prefect, its server and runner, uvicorn, other libraries and Python's warnings.

    Call it again after importing Prefect or anything else that installs its own handlers.
    """
    logging.captureWarnings(True)
    # Otherwise Prefect prints, unformatted, log lines that its server rejects; they are already on the console.
    logging.raiseExceptions = False
    _catch_what_nobody_caught()
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.StreamHandler())
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if not any(isinstance(f, Plainly) for f in handler.filters):
            handler.addFilter(Plainly())
        if _is_console(handler):
            handler.setFormatter(PlainFormatter())


def _catch_what_nobody_caught() -> None:
    """Log what Python would print unformatted: exceptions that end the program or a thread, and unraisable ones.

    Hooks that are already set stay.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_end
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _log_end_of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _log_unraisable


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)  # Python then exits by the signal, as shells expect
    else:
        _logger.error("Unhandled exception", exc_info=(kind, error, trace))


def _log_end_of_thread(caught: threading.ExceptHookArgs) -> None:
    if caught.exc_value and not isinstance(caught.exc_value, SystemExit):
        name = caught.thread.name if caught.thread else "a thread"
        _logger.error("Unhandled exception in %s", name, exc_info=caught.exc_value)


def _log_unraisable(caught: sys.UnraisableHookArgs) -> None:
    what = caught.err_msg or "Exception ignored in"
    _logger.warning("%s: %r", what, caught.object, exc_info=caught.exc_value)


def _is_console(handler: logging.Handler) -> bool:
    """Whether a handler writes for people; others have their own formats."""
    kind = type(handler)
    ours = kind is logging.StreamHandler or kind.__module__.startswith("prefect.logging")
    return ours and isinstance(handler, logging.StreamHandler)
