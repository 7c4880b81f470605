"""Recognise trouble with Prefect's database or server in what Prefect logs: pages of tracebacks, for each of its services."""

from __future__ import annotations

import time
from collections.abc import Iterator

_LOGGERS = ("prefect", "docket", "uvicorn")
_RUNS = ("prefect.flow_runs", "prefect.task_runs")
_SERVER_ERROR = 500
# Prefect's services try again every few seconds for as long as it lasts.
_SAID_AGAIN_S = 3600
_said_at: dict[str, float] = {}


def trouble_in(logger: str, message: str, error: BaseException | None) -> str:
    """Return what is wrong with Prefect's database or server if a record is about that; empty for any other."""
    if not logger.startswith(_LOGGERS):
        return ""
    for each in _causes(error):
        status = getattr(getattr(each, "response", None), "status_code", 0)
        if status >= _SERVER_ERROR:
            return f"it answered {status}"
        if type(each).__module__.partition(".")[0] in ("httpx", "websockets") and not status:
            return type(each).__name__
        # A run's own errors are not Prefect's, whoever logs them.
        if type(each).__module__ == "sqlite3" or (isinstance(each, OSError) and not logger.startswith(_RUNS)):
            return (getattr(each, "strerror", None) or str(each)).partition(":")[0]
    return message.partition("(sqlite3.")[2].partition(") ")[2].partition("\n")[0]


def is_news(trouble: str) -> bool:
    """Whether this has not been said for an hour."""
    now = time.monotonic()
    news = now - _said_at.get(trouble, -_SAID_AGAIN_S) >= _SAID_AGAIN_S
    if news:
        _said_at[trouble] = now
    return news


def _causes(error: BaseException | None, seen: frozenset[int] = frozenset()) -> Iterator[BaseException]:
    """Yield what caused an error, from the first cause to the error itself.

    Starlette raises some errors again from their own context, which makes a circle.
    """
    if error is not None and id(error) not in seen:
        seen |= {id(error)}
        yield from _causes(error.__cause__ or error.__context__, seen)
        for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
            yield from _causes(each, seen)
        yield error
