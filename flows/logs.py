"""Make every log line say what the specification wants it to say, and no more: UTC, one sentence, no traceback."""

from __future__ import annotations

import logging
import time

from blocks.errors import PgRoundtripError

_CHATTER = ("Beginning flow run", "Finished in state", "Starting temporary server", "Stopping temporary server", "View at ",
            "Created task run", "Executing ", "Created flow run", "Beginning subflow run")  # fmt: skip


class Plainly(logging.Filter):
    """Write a foreseen fault as its sentence and hint, once, and leave Prefect's housekeeping out."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide once for a record, because every handler is handed the same one."""
        if "wanted" not in record.__dict__:
            record.__dict__["wanted"] = _rewrite(record)
        return bool(record.__dict__["wanted"])


def _rewrite(record: logging.LogRecord) -> bool:
    """Put a foreseen fault plainly; returns whether the record is to be written at all."""
    error = record.exc_info[1] if record.exc_info else None
    for argument in record.args if isinstance(record.args, tuple) else ():
        error = argument if isinstance(argument, PgRoundtripError) else error
    if not isinstance(error, PgRoundtripError):
        return not record.getMessage().startswith(_CHATTER)
    again = " - Retry " in record.getMessage()
    level, text = (logging.WARNING, f"{error.sentence}; trying again") if again else (logging.ERROR, _lines(error))
    record.levelno, record.levelname = level, logging.getLevelName(level)
    record.msg, record.args, record.exc_info, record.exc_text = text, (), None, None
    if again:
        return True
    # The task logs an error where it happened; the flow around it need not say it again.
    first, error.logged = not error.logged, True
    return first


def _lines(error: PgRoundtripError) -> str:
    return "\n".join(error.lines()).removeprefix("ERROR: ")


def log_plainly() -> None:
    """Put the filter on every handler of Prefect's; call it after Prefect was imported."""
    logging.Formatter.converter = time.gmtime
    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs", ""):
        for handler in logging.getLogger(name).handlers:
            if not any(isinstance(f, Plainly) for f in handler.filters):
                handler.addFilter(Plainly())
