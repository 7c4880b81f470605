"""Clients can't tie up the port or guess passwords for long, and pages make no requests to other hosts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from flows.service import asgi
from flows.service.attempts import Attempts
from flows.service.connections import OnceAMinute, PatientProtocol, raise_open_files
from flows.service.environment import Login
from flows.service.gateway import Pages, make_gateway
from flows.service.headers import BODY_BYTES

LOGIN = Login("admin", "right", made=False)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


async def fine() -> Response:
    return PlainTextResponse("fine")


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def gateway(attempts: Attempts | None = None) -> Starlette:
    """Return the gateway in front of a server that reports the length of a body."""
    behind = Starlette(routes=[Route("/api/x", echo, methods=["GET", "POST"])])
    return make_gateway(LOGIN, behind, Pages(fine, status=fine), attempts)


def test_half_requests_are_closed_and_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many half-sent heads and a half-sent body: all are closed, and health answers in the meantime."""
    monkeypatch.setattr("flows.service.asgi.CONNECTIONS", 20)
    monkeypatch.setattr(PatientProtocol, "head_timeout_s", 2.0)
    monkeypatch.setattr(PatientProtocol, "body_timeout_s", 2.0)
    port = free_port()

    async def attack() -> tuple[int, list[bytes]]:
        async with asgi.listening(gateway, port):
            half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
            for n, (_, writer) in enumerate(half):
                head = (
                    b"GET / HTTP/1.1\r\nHost: x\r\n"
                    if n
                    else b"POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"
                )
                writer.write(head)
            async with httpx.AsyncClient() as client:
                status = (await client.get(f"http://127.0.0.1:{port}/health")).status_code
            ends = [await asyncio.gather(reader.read(), return_exceptions=True) for reader, _ in half]
            for _, writer in half:
                writer.close()
            return status, [end[0] for end in ends if isinstance(end[0], bytes)]

    status, ends = asyncio.run(attack())
    assert status == 200
    assert any(b"408" in end for end in ends)


def test_whoever_takes_no_response_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many connections that never read, with many requests each: a newcomer is answered, and they are closed."""
    monkeypatch.setattr("flows.service.asgi.CONNECTIONS", 20)
    monkeypatch.setattr(PatientProtocol, "read_timeout_s", 2.0)
    port = free_port()

    async def large(_: Request) -> Response:
        return Response(b"x" * (8 << 20))

    def behind() -> Starlette:
        return Starlette(routes=[Route("/", large)])

    async def attack() -> int:
        async with asgi.listening(behind, port):
            readers = []
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
                readers.append(writer)
            await asyncio.sleep(0.5)
            async with httpx.AsyncClient(timeout=20) as client:
                for _ in range(3):  # the first attempt may find all connections taken
                    with contextlib.suppress(httpx.TransportError):
                        return (await client.get(f"http://127.0.0.1:{port}/")).status_code
                    await asyncio.sleep(2.5)
            return 0

    assert asyncio.run(attack()) == 200


def test_no_files_left_is_no_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without free files, asyncio accepts once per wake-up, so no flood of errors; the backlog keeps its length."""
    seen: list[int] = []

    async def look() -> None:
        port = free_port()
        async with asgi.listening(gateway, port):
            server = next(s for s in gc_servers() if s.sockets and s.sockets[0].getsockname()[1] == port)
            seen.append(server._backlog)  # type: ignore[attr-defined]

    asyncio.run(look())
    assert seen == [1]


def gc_servers() -> list[asyncio.Server]:
    import gc  # noqa: PLC0415

    return [found for found in gc.get_objects() if isinstance(found, asyncio.Server)]


def test_open_files_are_raised() -> None:
    """The soft limit is raised to the hard limit, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = min(512, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        assert raise_open_files() == min(hard if hard != resource.RLIM_INFINITY else 65536, 65536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_complaint_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of message is logged once a minute; the next one says how many were dropped."""
    now = [0.0]
    monkeypatch.setattr("flows.service.connections.time.monotonic", lambda: now[0])
    seldom = OnceAMinute()

    def said(message: str) -> str | None:
        record = logging.LogRecord("asyncio", logging.ERROR, "", 0, message, (), None)
        return record.getMessage() if seldom.filter(record) else None

    assert [said("no files") for _ in range(1000)] == ["no files", *[None] * 999]
    assert said("another") == "another"
    now[0] = 61
    assert said("no files") == "no files (and 999 times more before)"


def test_guesses_are_slowed_and_counted() -> None:
    """Waits grow to a minute; guesses elsewhere don't lock out an address that has logged in."""
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    waits = []
    for _ in range(20):
        attempts.fail("192.0.2.1")
        waits.append(attempts.wait_s("192.0.2.1"))
        now[0] += waits[-1]
    assert waits[:4] == [0] * 4
    assert waits[4:8] == [1, 2, 4, 8]
    assert max(waits) == 60
    assert attempts.failed == 20
    attempts.succeed("198.51.100.1")
    for n in range(10_000):
        attempts.fail(f"2001:db8:{n:x}::1")
    assert attempts.wait_s("203.0.113.7") > 0
    assert attempts.wait_s("198.51.100.1") == attempts.wait_s("127.0.0.1") == 0
    assert len(attempts._by_address) <= 4096


def test_a_guesser_is_told_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    """429 with Retry-After, even for the right password; the log counts, and shows no password."""
    attempts = Attempts()

    async def guess() -> list[httpx.Response]:
        transport = httpx.ASGITransport(gateway(attempts), client=("192.0.2.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return [await client.get("/api/x", auth=("admin", word)) for word in [*["wrong-guess"] * 5, "right"]]

    answers = asyncio.run(guess())
    assert [a.status_code for a in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "wrong-guess" not in caplog.text


def test_headers_and_bodies() -> None:
    """Every response has a content policy; API responses aren't cached; a body has a size limit."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(gateway())
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return [
                await client.get("/health"),
                await client.get("/api/x"),
                await client.get("/api/x", auth=("admin", "right")),
                await client.post("/api/x", auth=("admin", "right"), content=b"x" * (BODY_BYTES + 1)),
            ]

    answers = asyncio.run(ask())
    assert [a.status_code for a in answers] == [200, 401, 200, 413]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "http:" not in policy
        assert "https:" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert answers[2].headers["cache-control"] == "no-store"
