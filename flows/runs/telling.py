"""Tell how a run ended, whoever runs it; what goes wrong with that is a line in the log, and never changes the run."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

from pydantic import SecretStr

from blocks.config import DEFAULT
from blocks.config.environment import variable
from blocks.config.notifications import load_notifications, wrong_notifications
from blocks.config.resolve import resolve_plan
from blocks.config.settings import NotificationSettings
from blocks.errors import PgRoundtripError, StorageError
from flows import SERVED
from flows.runs.hooks import after_failure
from flows.runs.logs import PlainFormatter, Plainly
from tasks.orchestration import get_run_logger
from tasks.outcome import Outcome, failed

_VERBS = ("backup", "restore-drill", "prune", "restore", "key-check")
_KEPT_LINES, _PING_S = 200, 10.0
Tell = Callable[[Outcome[Any]], None]


@contextmanager
def telling(run: Callable[..., Any], args: Any, kwargs: Any) -> Iterator[Tell]:
    """Yield what to call with the outcome of a run; an exception that leaves the context is told, too."""
    verb = run.__name__.replace("_", "-")
    given = signature(run).bind(*args, **kwargs).arguments
    # A dry run removes nothing, so it says nothing of whether that would work.
    settings = configured() if verb in _VERBS and not given.get("dry_run") else None
    if settings is None:
        yield lambda _: None
        return
    plan = str(given.get("plan", DEFAULT))
    with _pinging(settings, verb) as end:

        def tell(outcome: Outcome[Any]) -> None:
            _harmlessly(lambda: _tell(settings, outcome))
            end(outcome)

        try:
            yield tell
        except PgRoundtripError as error:
            tell(failed(verb, plan, error))
            raise
        except Exception as error:
            tell(failed(verb, plan, PgRoundtripError(type(error).__name__, hint="the log says where it happened")))
            raise


def configured() -> NotificationSettings | None:
    """Return who is to be told, None if nobody is; a line in the log warns of each variable that is left out."""
    for wrong in wrong_notifications():
        get_run_logger().warning("Messages go without it: %s\nHINT: %s", wrong.message, wrong.hint)
    return load_notifications()


def tell_failure(verb: str, plan: str, error: PgRoundtripError) -> None:
    """Tell of a run that could not tell it itself: a command that could not even begin, or a process that was killed."""
    settings = configured()
    outcome: Outcome[Any] = failed(verb, plan, error)
    if settings:
        _harmlessly(lambda: _tell(settings, outcome))
    if verb in _VERBS:
        _harmlessly(lambda: after_failure(outcome))


def _tell(settings: NotificationSettings, outcome: Outcome[Any]) -> None:
    from tasks import notify  # noqa: PLC0415  (not for runs that nobody is told of)

    try:
        plan = resolve_plan(outcome.plan, frozenset({"storage"}))
    except PgRoundtripError:
        plan = None
    told = notify.tell_end(settings, outcome, plan)
    # Where no service looks after the plan, runs do.
    reachable = plan and not isinstance(outcome.error, StorageError)
    if plan and reachable and not variable(SERVED) and outcome.verb in ("backup", "restore-drill"):
        notify.look(settings, plan, (outcome.verb,), skip=told.failed)


def _harmlessly(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception as error:  # noqa: BLE001  (no message may cost a backup)
        get_run_logger().warning("What happened could not be told: %s", type(error).__name__)


@contextmanager
def _pinging(settings: NotificationSettings, verb: str) -> Iterator[Tell]:
    """Ping when the run begins, and yield what pings when it has ended, with the end of its log."""
    url = {"backup": settings.ping_url, "restore-drill": settings.verify_ping_url}.get(verb)
    if url is None:
        yield lambda _: None
        return
    run = str(uuid.uuid4())
    starting = threading.Thread(target=_ping, args=(url, "start", run), name="ping", daemon=True)
    starting.start()
    with _lines_kept() as lines:

        def end(outcome: Outcome[Any]) -> None:
            starting.join(_PING_S)  # a start that came last would look like another run
            if why := _ping(url, "success" if outcome.good else "fail", run, lines):
                get_run_logger().warning("The ping was not heard: %s", why)

        yield end


def _ping(url: SecretStr, end: Any, run: str, lines: Collection[str] = ()) -> str:
    """Return why a ping was not heard; empty if it was."""
    from tasks.notify import send_ping  # noqa: PLC0415

    try:
        return send_ping(url, end, run, list(lines))
    except Exception as error:  # noqa: BLE001  (no ping may cost a backup)
        return type(error).__name__


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.addFilter(Plainly())
        self.setFormatter(PlainFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def _lines_kept() -> Iterator[deque[str]]:
    """Keep the last lines that are logged meanwhile, as the log shows them."""
    kept = _Kept()
    loggers = [logging.getLogger(name) for name in ("pg_roundtrip", "prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addHandler(kept)
    try:
        yield kept.lines
    finally:
        for logger in loggers:
            logger.removeHandler(kept)
