"""Give Prefect's own programs our log format from their first line on: a run's process is one until it imports the flow."""

from __future__ import annotations

import logging
from typing import Any, TextIO

from flows.runs.logs import PlainFormatter, Plainly


class Console(logging.StreamHandler[TextIO]):
    """The handler that replaces Prefect's for the console, by the name of its class in the environment."""

    def __init__(self, stream: TextIO | None = None, **_styles: Any) -> None:
        super().__init__(stream)
        self.addFilter(Plainly())

    def setFormatter(self, _theirs: logging.Formatter | None) -> None:  # noqa: N802  (logging's own name)
        """Keep our format."""
        super().setFormatter(PlainFormatter())
