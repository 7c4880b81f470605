"""Honour Retry-After: the S3 client's own retries handle neither that header nor status 429."""

from __future__ import annotations

import random
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_S = 60.0
_BUSY = (429, 503)


def heed_retry_after(client: Any) -> None:
    """Make a client's retries wait as long as the response asks for; the number of attempts does not change."""
    most = int((client.meta.config.retries or {}).get("total_max_attempts", 1))

    def wait_s(response: Any, attempts: int, **_: object) -> float | None:
        if response is None or attempts >= most:
            return None
        return seconds_to_wait(response[0].status_code, response[0].headers, attempts)

    # Register before the client's own handler: the first one to return a value wins.
    client.meta.events.register_first("needs-retry.s3", wait_s)


def seconds_to_wait(status: int, headers: Mapping[str, str], attempts: int) -> float | None:
    """Return how long to wait after so many attempts; None to leave it to the client's own rules.

    Add a random delay to the requested one, so that clients that were told to wait together don't return together.
    """
    asked = _asked_s(headers) if status in _BUSY else None
    if asked is not None:
        return min(asked, LONGEST_S) + random.random()  # noqa: S311
    return 2.0 ** (attempts - 1) * random.uniform(0.5, 1) if status == 429 else None  # noqa: S311


def _asked_s(headers: Mapping[str, str]) -> float | None:
    """Parse Retry-After into seconds; a date is compared with the response's own Date, not with our clock."""
    given = headers.get("Retry-After", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        return max(0.0, (parsedate_to_datetime(given) - parsedate_to_datetime(headers["Date"])).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
