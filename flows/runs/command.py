"""Run a flow for a command line: an error of the system that nobody expected must not look like one of its output."""

from __future__ import annotations

import logging
from typing import Any

from blocks.errors import PgRoundtripError
from flows.runs.logs import log_plainly
from flows.runs.wrapping import run


def run_flow(flow: Any, **parameters: Any) -> Any:
    """Run a flow and return its result, or raise its error."""
    log_plainly()  # Prefect has installed its own handlers
    try:
        return run(flow, **parameters)
    except OSError as error:
        # Unexpected, and `main` would mistake it for a result that could not be printed.
        logging.getLogger(__name__).exception("Unhandled exception")
        raise PgRoundtripError(str(error), hint="the log above says where it happened") from error
