"""How tasks are retried: only after transient errors, and no result is ever reused."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE

from blocks.errors import PgRoundtripError, StorageError


def is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Tell Prefect whether a retry may help."""
    try:
        state.result()
    except PgRoundtripError as error:
        return error.transient
    except Exception:  # noqa: BLE001  (an unexpected error is not retried)
        return False
    return False


def is_transient_storage(_task: Any, _run: Any, state: Any) -> bool:
    """The same for storage errors only, for tasks that read the storage before they change anything."""
    try:
        state.result()
    except StorageError as error:
        return error.transient
    except Exception:  # noqa: BLE001
        return False
    return False


def called(name: str, run_name: str = "") -> dict[str, Any]:
    """Name a task and its runs: Prefect would add random letters to the runs' names."""
    return {"name": name, "task_run_name": run_name or name}


# For requests that cost nothing to repeat.
QUICK: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [1, 4], "retry_jitter_factor": 0.5,
                         "retry_condition_fn": is_transient, "cache_policy": NO_CACHE}  # fmt: skip
# For whole dumps and restores, which start over.
LONG: dict[str, Any] = {"retries": 3, "retry_delay_seconds": [5, 20, 60], "retry_jitter_factor": 0.5,
                        "retry_condition_fn": is_transient, "cache_policy": NO_CACHE}  # fmt: skip
# For restores: nothing happens to the target until all of the backup has been read.
READING: dict[str, Any] = {**LONG, "retry_condition_fn": is_transient_storage}
# For what must not be tried twice.
ONCE: dict[str, Any] = {"retries": 0, "cache_policy": NO_CACHE}
