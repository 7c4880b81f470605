"""Publish artifacts in Prefect so that an error costs only the artifact: a completed backup stays completed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from blocks.errors import PgRoundtripError
from tasks.engine.wording import visible
from tasks.orchestration import RECORDED, get_run_logger

P = ParamSpec("P")


def publish(kind: str, plan: str, description: str, markdown: str) -> None:
    """Publish one document; the UI shows those of the same kind and plan as one history."""
    from prefect.artifacts import create_markdown_artifact  # noqa: PLC0415  (showing a report needs no Prefect)

    create_markdown_artifact(
        key=artifact_key(kind, plan), description=visible(description), markdown=visible(markdown, lines=True)
    )


def artifact_key(kind: str, plan: str) -> str:
    """Return a key like `drill-default`: Prefect accepts lowercase letters, digits and dashes.

    A name of anything else gets a hash at the end, so that `default/a_b` and `default/a-b` have separate histories.
    """
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in plan.lower())
    told_apart = "" if plain == plan else f"-{hashlib.sha256(plan.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return f"{kind}-{plain}{told_apart}"


def published(what: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a function publish where runs are recorded, and turn any error there into a warning."""

    def careful(publishes: Callable[P, None]) -> Callable[P, None]:
        @wraps(publishes)
        def called(*args: P.args, **kwargs: P.kwargs) -> None:
            if not RECORDED:
                return
            try:
                publishes(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  (whatever it is, the run has done its work)
                # Not the error's own text: an address in it may contain a login.
                reason = error.sentence if isinstance(error, PgRoundtripError) else type(error).__name__
                get_run_logger().warning("%s could not be published in Prefect: %s", what, reason)

        return called

    return careful
