"""Backup, prune, restore and restore-drill as Prefect flows, and the command line that runs them.

Prefect reads its settings once, when it is first imported, so set our defaults here, before that.
Whatever the user has set takes precedence.
"""

import os
import threading

from blocks.config.environment import forget_libpq_variables

# Prefect looks for `.env` in the working directory, and crashes if it has no permission to.
if not os.access(".", os.R_OK | os.X_OK):
    os.chdir("/")

forget_libpq_variables()
_FORMAT = "%(asctime)s %(levelname)s: %(message)s"

for _name, _value in {
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FORMAT": _FORMAT,
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": _FORMAT,
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": _FORMAT,
    "PREFECT_LOGGING_FORMATTERS_STANDARD_DATEFMT": "%Y-%m-%dT%H:%M:%SZ",
    "PREFECT_LOGGING_COLORS": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "1",
}.items():
    os.environ.setdefault(_name, _value)

# Set in the runs of `pg-roundtrip serve`.
SERVED = "PG_ROUNDTRIP_SERVED"


def end_with_the_service() -> None:
    """Make a run end with the service, even if that is killed; this needs the main thread, which runs the flows."""
    if os.environ.get(SERVED) and threading.current_thread() is threading.main_thread():
        from tasks.engine.process import end_with_parent  # noqa: PLC0415

        end_with_parent()
