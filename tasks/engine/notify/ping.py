"""Tell a dead man's switch that a run begins and how it ends (https://healthchecks.io/docs/http_api/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from blocks.http import Post

# What healthchecks.io keeps of a body.
BODY_BYTES = 100_000
# `log` changes nothing.
End = Literal["start", "success", "fail", "log"]
_ENDS: dict[End, str] = {"start": "/start", "success": "", "fail": "/fail", "log": "/log"}


def ping(url: SecretStr, end: End, run: str, log: Sequence[str] = ()) -> Post:
    """Return the request; `run` is the UUID by which the start and the end are known to belong together."""
    parts = urlsplit(url.get_secret_value())
    query = "&".join(filter(None, (parts.query, f"rid={run}")))
    address = urlunsplit(parts._replace(path=parts.path.rstrip("/") + _ENDS[end], query=query, fragment=""))
    body = "\n".join(log).encode()[-BODY_BYTES:]
    return Post(SecretStr(address), body, {"Content-Type": "text/plain; charset=utf-8"})
