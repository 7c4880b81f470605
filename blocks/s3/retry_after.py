"""Wait as long as a storage asks for: the S3 client's own retries know neither status 429 nor Retry-After."""

from __future__ import annotations

import random
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_S = 60.0
_BUSY = (429, 503)


def heed_retry_after(client: Any) -> None:
    """Have a client's requests wait for what the answer says; how often they are tried stays as it is."""
    most = int((client.meta.config.retries or {}).get("total_max_attempts", 1))

    def wait_s(response: Any, attempts: int, **_: object) -> float | None:
        if response is None or attempts >= most:
            return None
        return seconds_to_wait(response[0].status_code, response[0].headers, attempts)

    # Before the client's own: the first handler that has an answer is listened to.
    client.meta.events.register_first("needs-retry.s3", wait_s)


def seconds_to_wait(status: int, headers: Mapping[str, str], attempts: int) -> float | None:
    """How long to wait after so many attempts; None when the client's own rules are to decide.

    A little more than was asked for, and never the same: who was told to wait together should not come back together.
    """
    asked = _asked_s(headers) if status in _BUSY else None
    if asked is not None:
        return min(asked, LONGEST_S) + random.random()  # noqa: S311
    return 2.0 ** (attempts - 1) * random.uniform(0.5, 1) if status == 429 else None  # noqa: S311


def _asked_s(headers: Mapping[str, str]) -> float | None:
    """What Retry-After says in seconds; a date is compared with the answer's own, whatever our clock says."""
    given = headers.get("Retry-After", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        return max(0.0, (parsedate_to_datetime(given) - parsedate_to_datetime(headers["Date"])).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
