"""Who gets the status page: those with the login, everybody where it is public, and nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from flows.service import status_pages
from flows.service.environment import Login
from flows.service.gateway import Pages, make_gateway
from flows.service.status_pages import StatusPages
from tasks.status.page import policy
from tasks.status.summary import Status, summarize
from tests.status_facts import NOW, facts_of, surveyed_of

LOGIN = Login("admin", "right", made=False)
RIGHT = ("admin", "right")
BROWSER = {"Accept": "text/html"}
FINE = summarize([surveyed_of(facts_of([0.4]))], NOW)


async def page() -> Response:
    return PlainTextResponse("status")


async def prefect(_: Request) -> Response:
    return PlainTextResponse("prefect")


PREFECT = Starlette(routes=[Route("/", prefect), Route("/dashboard", prefect)])


def codes(app: Starlette, *asked: tuple[str, Any]) -> list[int]:
    """Return the status of each request: a path, and the login that comes with it."""

    async def ask() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return [(await client.get(path, auth=login, headers=BROWSER)).status_code for path, login in asked]

    return asyncio.run(ask())


EVERY_WAY = [("/status", None), ("/status", RIGHT), ("/", None), ("/", RIGHT), ("/dashboard", RIGHT)]


@pytest.mark.parametrize(("login", "behind", "public", "expected"), [
    (LOGIN, PREFECT, False, [401, 200, 401, 303, 200]), (LOGIN, PREFECT, True, [200, 200, 401, 303, 200]),
    # A service without a place for a history has its page all the same.
    (LOGIN, None, False, [401, 200, 401, 303, 404]), (LOGIN, None, True, [200, 200, 401, 303, 404]),
    # With Prefect's server elsewhere there is no login to ask for.
    (None, None, False, [404, 404, 404, 404, 404]), (None, None, True, [200, 200, 404, 404, 404]),
])  # fmt: skip
def test_who_may_see_it(login: Login | None, behind: Any, public: bool, expected: list[int]) -> None:
    """The page is behind the login, or open to all if STATUS_PUBLIC says so."""
    app = make_gateway(login, behind, Pages(page, status=page, public=public))
    assert codes(app, *EVERY_WAY) == expected


def test_only_browsers_are_sent_to_it() -> None:
    """Whatever else asks Prefect's server for `/` still gets its answer."""

    async def ask() -> str:
        transport = httpx.ASGITransport(make_gateway(LOGIN, PREFECT, Pages(page, status=page)))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return (await client.get("/", auth=RIGHT)).text

    assert asyncio.run(ask()) == "prefect"


def answer(monkeypatch: pytest.MonkeyPatch, look: Callable[..., Status]) -> Response:
    """Return the response of a service in which this is what reading the bucket yields."""
    monkeypatch.setattr(status_pages, "read_status", look)
    nothing: Any = None  # replaced by the look above
    return asyncio.run(StatusPages(nothing, ("backup",), NOW, links={"History": "/dashboard"}).status())


def test_its_own_policy_is_stricter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response's policy is the page's own, and it isn't kept anywhere."""
    found = answer(monkeypatch, lambda *_: FINE)
    text = bytes(found.body).decode()
    assert (found.status_code, found.headers["cache-control"]) == (200, "no-store")
    assert found.headers["content-security-policy"] == f"{policy()}; frame-ancestors 'none'"
    assert FINE.judgement.sentence in text
    assert 'content="60"' in text
    assert 'href="/dashboard"' in text


def test_a_slow_bucket_is_no_blank_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the bucket is being read, the page says so, and loads again by itself."""

    def slow(*_: object) -> Status:
        time.sleep(0.5)
        return FINE

    monkeypatch.setattr(status_pages, "_PATIENCE_S", 0.05)
    found = answer(monkeypatch, slow)
    assert found.status_code == 503
    assert b"the bucket cannot be read: it did not answer within" in bytes(found.body)
    assert b'content="10"' in bytes(found.body)
