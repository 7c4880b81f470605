"""The single gateway to other people's web servers: post what is small, in bounded time, and nowhere but there."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from pydantic import SecretStr

from blocks.errors import NotDelivered
from blocks.s3.retry_after import seconds_to_wait

_ATTEMPT_S = 10.0
_MAY_PASS = {408, 425, 429}


@dataclass(frozen=True)
class Post:
    """A request. Its address can be a secret, and so can its headers and body; none of them is logged."""

    url: SecretStr
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def send(post: Post, within_s: float) -> None:
    """Post until the server accepts; raises NotDelivered if it doesn't `within_s`, or says that it never will.

    Follow no redirects: the body belongs to the address that was configured.
    """
    for name in ("httpx", "httpcore"):  # they log addresses
        logging.getLogger(name).setLevel(logging.WARNING)
    deadline, attempts = time.monotonic() + within_s, 0
    while True:
        attempts += 1
        why, wait_s = _attempt(post, deadline - time.monotonic(), attempts)
        if not why:
            return
        if wait_s is None or time.monotonic() + wait_s >= deadline:
            raise NotDelivered(why, transient=wait_s is not None)
        time.sleep(wait_s)


def _attempt(post: Post, left_s: float, attempts: int) -> tuple[str, float | None]:
    """Return why it failed, empty if it did not, and after how many seconds to try again, None for never."""
    try:
        status, said = asyncio.run(_answer_to(post, max(0.1, min(_ATTEMPT_S, left_s))))
    except TimeoutError:
        return "no answer in time", _backoff_s(attempts)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return "its address is not one", None
    except httpx.HTTPError as error:
        return _said_of(error), _backoff_s(attempts)
    if 200 <= status < 300:
        return "", None
    wait_s = seconds_to_wait(status, said, attempts)
    if wait_s is None and (status in _MAY_PASS or status >= 500):
        wait_s = _backoff_s(attempts)
    return f"HTTP status {status}", wait_s


async def _answer_to(post: Post, within_s: float) -> tuple[int, httpx.Headers]:
    """Post, and return the head of the response, which is enough; raises TimeoutError."""
    # httpx limits only each read: a server that sends a byte now and then would never be late.
    async with asyncio.timeout(within_s), httpx.AsyncClient(follow_redirects=False, timeout=within_s) as client:
        url, headers = post.url.get_secret_value(), dict(post.headers)
        async with client.stream("POST", url, content=post.body, headers=headers) as answer:
            return answer.status_code, answer.headers


def _backoff_s(attempts: int) -> float:
    return 2.0 ** (attempts - 1) * random.uniform(0.5, 1)  # noqa: S311


def _said_of(error: httpx.HTTPError) -> str:
    """Return a sentence without the address, which httpx's own may contain."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio's own text has the address.
            return os.strerror(cause.errno or 0) if cause.strerror.startswith("Connect call failed") else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
