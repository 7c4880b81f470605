"""Run the real `pg-roundtrip` with short waits, for tests of its final output.

python -m tests.integration.impatient backup
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from blocks.s3.client import ObjectStore
from blocks.sql import server
from tasks import retries as policy

WAIT_S = 2
_at = ObjectStore.at


def _impatient_at(**fields: Any) -> ObjectStore:
    storage = _at(**fields)
    storage.config = {
        "retries": {"mode": "standard", "max_attempts": 1}, "connect_timeout": WAIT_S, "read_timeout": WAIT_S,
    }  # fmt: skip
    return storage


def hurry() -> None:
    """Shorten every wait, before the tasks that use them are imported."""
    for name in ("QUICK", "LONG"):
        usual = getattr(policy, name)
        setattr(policy, name, replace(usual, delays_s=tuple(0 for _ in usual.delays_s)))
    server.CONNECT_TIMEOUT_S = WAIT_S
    ObjectStore.at = _impatient_at  # type: ignore[method-assign]


if __name__ == "__main__":
    hurry()
    from flows import cli

    cli.main()
