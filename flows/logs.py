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
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, PgRoundtripError):
            record.exc_info = record.exc_text = None
            return _say(record, error)
        return not record.getMessage().startswith(_CHATTER)


def _say(record: logging.LogRecord, error: PgRoundtripError) -> bool:
    """Log an error where it happened; the flow around it, and the flow around that, need not say it again."""
    if "Retry" in record.getMessage():
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = f"{error.sentence}; trying again", ()
        return True
    if getattr(error, "logged_by", record.created) != record.created:
        return False
    error.logged_by = record.created  # type: ignore[attr-defined]
    record.levelno, record.levelname = logging.ERROR, "ERROR"
    record.msg, record.args = "\n".join(error.lines()).removeprefix("ERROR: "), ()
    return True


def log_plainly() -> None:
    """Put the filter on every handler of Prefect's; call it after Prefect was imported."""
    logging.Formatter.converter = time.gmtime
    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs", ""):
        for handler in logging.getLogger(name).handlers:
            if not any(isinstance(f, Plainly) for f in handler.filters):
                handler.addFilter(Plainly())
