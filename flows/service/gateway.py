"""Serve the service's one port: health and metrics for everybody, the status page and Prefect behind a login."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    SimpleUser,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.service.attempts import Attempts
from flows.service.environment import Login
from flows.service.headers import Guarded

Answer = Callable[[], Awaitable[Response]]
_LOGIN_BYTES, _LOGIN_TIMEOUT_S = 4096, 10.0
_READING = ("GET", "HEAD", "OPTIONS")


class PasswordLogin(AuthenticationBackend):
    """Accept requests that carry the login in HTTP Basic authentication (RFC 7617).

    Browsers ask for it once and then send it along, with WebSockets too; Prefect's clients take it from
    PREFECT_API_AUTH_STRING.
    """

    def __init__(self, login: Login, attempts: Attempts) -> None:
        self._user, self._expected, self._attempts = login.user, login.auth_string.encode(), attempts

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
        """Raise AuthenticationError without the login, and for what another site's page makes a browser send."""
        address = address_of(conn.scope)
        if "authorization" in conn.headers and (wait_s := self._attempts.wait_s(address)):
            raise TooMany(wait_s)
        scheme, _, encoded = conn.headers.get("authorization", "").partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        if not hmac.compare_digest(given, self._expected):
            if "authorization" in conn.headers:
                self._attempts.fail(address)
            raise AuthenticationError("log in with UI_USERNAME and UI_PASSWORD")
        self._attempts.succeed(address)
        changing = conn.scope["type"] == "websocket" or conn.scope["method"] not in _READING
        # Cross-site request forgery: a browser sends a login that it knows, whichever site's page makes the request.
        if changing and _from_elsewhere(conn):
            raise AuthenticationError("the request comes from a page of another site")
        return AuthCredentials(["authenticated"]), SimpleUser(self._user)


class TooMany(AuthenticationError):
    """Too many failed logins; `wait_s` is how long the client must wait."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many failed logins")
        self.wait_s = wait_s


def address_of(scope: Scope) -> str:
    """Return the client's address; uvicorn believes a proxy's headers only if FORWARDED_ALLOW_IPS names the proxy."""
    return str((scope.get("client") or ("",))[0])


def _from_elsewhere(conn: HTTPConnection) -> bool:
    """Whether the browser says that another site's page made the request; over plain HTTP, only Origin says so."""
    if conn.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = conn.headers.get("origin")
    ours = {conn.headers.get("host"), conn.headers.get("x-forwarded-host")}
    return origin is not None and urlsplit(origin).netloc not in ours


class _Guard:
    """Protect the Prefect server: require a login in the headers or in a WebSocket's first message.

    Prefect's own clients subscribe to events without a header, and log in by its subprotocol `prefect`: they first send
    `{"type": "auth", "token": "user:password"}`.
    """

    def __init__(self, inner: ASGIApp, login: Login, attempts: Attempts) -> None:
        self._inner, self._token, self._attempts = inner, login.auth_string, attempts
        self._by_header = AuthenticationMiddleware(inner, PasswordLogin(login, attempts), _refuse)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        spoken = "prefect" in scope.get("subprotocols", ())
        if scope["type"] != "websocket" or not spoken or "authorization" in HTTPConnection(scope).headers:
            await self._by_header(scope, receive, send)
            return
        waiting = True

        async def receive_logged_in() -> Message:
            nonlocal waiting
            try:
                message = await asyncio.wait_for(receive(), _LOGIN_TIMEOUT_S if waiting else None)
            except TimeoutError:
                message = {"type": "websocket.receive"}  # empty, so the login fails
            if waiting and message["type"] == "websocket.receive":
                waiting = False
                if not self._logs_in(message, address_of(scope)):
                    await send({"type": "websocket.close", "code": WS_1008_POLICY_VIOLATION})
                    return {"type": "websocket.disconnect", "code": WS_1008_POLICY_VIOLATION}
            return message

        await self._inner(scope, receive_logged_in, send)

    def _logs_in(self, message: Message, address: str) -> bool:
        if self._attempts.wait_s(address):
            return False
        if good := self._is_login(message):
            self._attempts.succeed(address)
        elif message.get("text") or message.get("bytes"):
            self._attempts.fail(address)
        return good

    def _is_login(self, message: Message) -> bool:
        try:
            said = json.loads((message.get("text") or message.get("bytes") or b"")[:_LOGIN_BYTES])
            token = str(said["token"]).encode() if said["type"] == "auth" else b""
        except (ValueError, LookupError, TypeError, RecursionError):
            return False
        return hmac.compare_digest(token, self._token.encode())


@dataclass(frozen=True)
class Pages:
    """What the gateway answers by itself; `public` opens the status page to everybody."""

    health: Answer
    metrics: Answer | None = None
    status: Answer | None = None
    public: bool = False

    @property
    def open(self) -> list[BaseRoute]:
        """The pages that need no login."""
        found = {"/health": self.health, "/metrics": self.metrics, "/status": self.status if self.public else None}
        return [_open(path, answer) for path, answer in found.items() if answer]


def make_gateway(login: Login | None, prefect_app: Any, pages: Pages, attempts: Attempts | None = None) -> Starlette:
    """Assemble the gateway; without `prefect_app`, Prefect's server is elsewhere, or there is none."""
    if login is None:
        return Starlette(routes=pages.open, middleware=[Middleware(Guarded)])
    inner: Any = prefect_app or Starlette()
    behind = _Guard(_with_status(inner, pages.status), login, attempts or Attempts())

    def lifespan(_: Starlette) -> AbstractAsyncContextManager[None]:
        return inner.router.lifespan_context(inner)  # type: ignore[no-any-return]

    return Starlette(routes=[*pages.open, Mount("/", behind)], lifespan=lifespan, middleware=[Middleware(Guarded)])


def _with_status(inner: ASGIApp, status: Answer | None) -> ASGIApp:
    """Put the status page before an application; a browser that asks for the bare address is sent there."""
    if status is None:
        return inner

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = inner
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            if scope["path"] == "/status":
                answer = await status()
            elif scope["path"] == "/" and "text/html" in HTTPConnection(scope).headers.get("accept", ""):
                answer = RedirectResponse("/status", 303)
        await answer(scope, receive, send)

    return app


def make_metrics_page(metrics: Answer) -> Starlette:
    """Serve nothing but the metrics, for a separate port."""
    return Starlette(routes=[_open("/metrics", metrics)], middleware=[Middleware(Guarded)])


def _open(path: str, answer: Answer) -> Route:
    async def endpoint(_: Request) -> Response:
        return await answer()

    return Route(path, endpoint)


def _refuse(_: HTTPConnection, error: AuthenticationError) -> Response:
    if isinstance(error, TooMany):
        return PlainTextResponse(f"{error}\n", 429, {"Retry-After": str(math.ceil(error.wait_s))})
    return PlainTextResponse(f"{error}\n", 401, {"WWW-Authenticate": 'Basic realm="pg-roundtrip", charset="UTF-8"'})
