"""A storage's requested wait is honoured; everything else is left to the client's own retries."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.s3 import client
from blocks.s3.client import ObjectStore
from blocks.s3.retry_after import LONGEST_S, seconds_to_wait
from tasks import retries as policy

DATE = "Sat, 21 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("status", "headers", "attempts", "least", "most"),
    [
        (429, {"Retry-After": "7"}, 1, 7, 8),
        (503, {"Retry-After": "7"}, 4, 7, 8),
        (503, {"Retry-After": "0"}, 1, 0, 1),
        (503, {"Retry-After": "86400"}, 1, LONGEST_S, LONGEST_S + 1),
        (503, {"Retry-After": "Sat, 21 Nov 2026 10:00:09 GMT", "Date": DATE}, 1, 9, 10),
        (503, {"Retry-After": "Sat, 21 Nov 2026 09:00:00 GMT", "Date": DATE}, 1, 0, 1),
        (429, {}, 1, 0.5, 1),
        (429, {}, 4, 4, 8),
        (429, {"Retry-After": "soon"}, 2, 1, 2),
        (429, {"Retry-After": "Sat, 21 Nov 2026 10:00:09 GMT"}, 2, 1, 2),
    ],
)
def test_the_wait(status: int, headers: Mapping[str, str], attempts: int, least: float, most: float) -> None:
    """Wait as long as requested, up to a minute, plus jitter; otherwise longer with each attempt."""
    waits = [seconds_to_wait(status, headers, attempts) for _ in range(50)]
    assert all(wait is not None and least <= wait <= most for wait in waits), waits
    assert len(set(waits)) > 1, "all clients would come back at once"


@pytest.mark.parametrize(("status", "headers"), [(200, {"Retry-After": "7"}), (500, {"Retry-After": "7"}), (503, {}), (403, {}),
                                                 (503, {"Retry-After": "-7"})])  # fmt: skip
def test_what_is_left_to_the_client(status: int, headers: Mapping[str, str]) -> None:
    """The client has its own rules for other statuses, and for responses without Retry-After."""
    assert seconds_to_wait(status, headers, 1) is None


def test_a_download_waits_longer_after_each_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits are jittered, so that clients don't all return at once."""
    for breaks in range(1, 5):
        waits: list[float] = []
        monkeypatch.setattr("blocks.s3.client.time.sleep", waits.append)
        for _ in range(50):
            client._wait_after(breaks)
        assert all(2 ** (breaks - 2) <= wait <= 2 ** (breaks - 1) for wait in waits), waits
        assert len(set(waits)) > 1


def test_the_client_waits_longer_and_longer_and_never_alike() -> None:
    """The client's retry mode has jitter, and a task's delays grow and are jittered too."""
    fields: dict[str, Any] = {"endpoint": "http://127.0.0.1:1", "bucket": "b", "prefix": "", "region": "us-east-1"}
    client = ObjectStore.at(**fields, key_id="k", secret=SecretStr("s")).client
    assert client.meta.config.retries["mode"] == "standard"
    for rules in (policy.QUICK, policy.LONG, policy.READING):
        delays = rules.delays_s
        assert all(later >= 3 * earlier for earlier, later in pairwise(delays))
        assert rules.jitter > 0
