"""Hand artifacts to Prefect so that a fault there costs no more than the artifact: a backup that is done stays done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import PgRoundtripError
from tasks.engine.wording import visible


def publish(kind: str, plan: str, description: str, markdown: str) -> None:
    """Publish one document; those of a kind and plan are one history in the UI."""
    from prefect.artifacts import create_markdown_artifact  # noqa: PLC0415  (who only shows a report needs no Prefect)

    create_markdown_artifact(
        key=artifact_key(kind, plan), description=visible(description), markdown=visible(markdown, lines=True)
    )


def artifact_key(kind: str, plan: str) -> str:
    """`drill-default`: Prefect takes small letters, digits and dashes."""
    return f"{kind}-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in plan.lower())


@contextmanager
def warned_only(what: str) -> Iterator[None]:
    """Turn any fault of a publication into a warning."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  (whatever it is, the run has done its work)
        from prefect import get_run_logger  # noqa: PLC0415

        # Not the error's own text: an address in it may hold a login.
        reason = error.sentence if isinstance(error, PgRoundtripError) else type(error).__name__
        get_run_logger().warning("%s could not be published in Prefect: %s", what, reason)
