"""Name runs so that the history is readable at a glance."""

from __future__ import annotations

from collections.abc import Callable

from prefect.runtime import flow_run

from tasks.clock import utc_now


def named(verb: str) -> Callable[[], str]:
    """Return the function with which Prefect names a run: `backup-default-20261121T030000Z`."""

    def name() -> str:
        moment = flow_run.get_scheduled_start_time() or utc_now()
        return f"{verb}-{flow_run.get_parameters().get('plan', 'default')}-{moment:%Y%m%dT%H%M%SZ}"

    return name
