"""Tell browsers what our pages may do: load from and connect to this server only, and never appear in a frame."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 16 << 20
# Prefect's UI draws runs with a library that compiles functions from text ('unsafe-eval') and sets inline styles.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Guarded:
    """Middleware that adds these headers to responses and limits the size of request bodies."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; WebSockets have their own limits."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        read_bytes = 0

        async def receive_bounded() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            return {"type": "http.disconnect"} if read_bytes > BODY_BYTES else message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)  # the status page has a stricter policy
                if scope["path"].startswith("/api"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        if _said_bytes(scope) > BODY_BYTES:
            refusal = PlainTextResponse("the body is too large\n", 413, {"Connection": "close"})
            await refusal(scope, receive, send_with_headers)
            return
        await self._inner(scope, receive_bounded, send_with_headers)


def _said_bytes(scope: Scope) -> int:
    said = dict(scope["headers"]).get(b"content-length", b"")
    return int(said[:20]) if said.isdigit() else 0
