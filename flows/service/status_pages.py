"""Serve the service's health, metrics and status page; they are requested often, so look them up every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Generic, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import PrefectException
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, JSONResponse, Response

from blocks.config import DEFAULT
from blocks.config.plan import Plan
from flows.runs.final_state import cause_of
from flows.service.attempts import Attempts
from flows.service.history import History
from flows.service.runs import failed_runs, next_runs
from flows.service.watch import Untold
from tasks.clock import utc_now
from tasks.status.health import OK, Health, examine
from tasks.status.metrics import Failures, Stock, count_failures, exposition, read_stock
from tasks.status.page import policy, render
from tasks.status.summary import read_status, unreadable

T = TypeVar("T")
_FRESH_S = 5.0
# A platform's health check waits ten seconds or less.
_PATIENCE_S = 8.0
# How soon a browser that is left open loads the status page again.
_REFRESH_S, _LATE_S = 60, 10


class CachedLookup(Generic[T]):
    """A lookup that shares its result with all callers for a few seconds; only one runs at a time, however long."""

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        self._look, self._until = look, 0.0
        self._looking: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """Return the result; raises TimeoutError if it takes too long, and continues for later callers."""
        if self._looking is None or (self._looking.done() and time.monotonic() > self._until):
            self._looking = asyncio.ensure_future(self._look())
            self._looking.add_done_callback(self._seen)
        return await asyncio.wait_for(asyncio.shield(self._looking), _PATIENCE_S)

    def _seen(self, _: object) -> None:
        self._until = time.monotonic() + _FRESH_S


class StatusPages:
    """The health, metrics and status page of the service; `links` are those of the page."""

    def __init__(
        self, plan: Plan, flows: tuple[str, ...], started_at: datetime, history: History | None = None,
        links: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._plan, self._flows, self._started_at = plan, flows, started_at
        self._kept = history or History()
        self._client: PrefectClient | None = None
        self.attempts, self.untold = Attempts(), Untold()
        self._deployments: dict[str, UUID] = {}
        self._health, self._metrics = CachedLookup(self._examine), CachedLookup(self._measure)
        self._status, self._links = CachedLookup(self._read_status), links

    def follow(self, client: PrefectClient, deployments: dict[str, UUID]) -> None:
        """Track the runs of these deployments from now on."""
        self._client, self._deployments = client, deployments

    async def health(self) -> Response:
        """200 while backups work, 503 with the reason while they do not; JSON both times."""
        try:
            found = await self._health.get()
            document, good = (
                replace(found, history=str(self._kept), notifications=str(self.untold) or OK).document(),
                found.good,
            )
        except TimeoutError:
            reason = f"the database or the storage did not answer within {_PATIENCE_S:.0f} s"
            document, good = {"status": "unhealthy", "reason": reason}, False
        return JSONResponse(document, 200 if good else 503, {"Cache-Control": "no-store"})

    async def metrics(self) -> Response:
        """The metrics page for Prometheus."""
        try:
            return Response(await self._metrics.get(), media_type=CONTENT_TYPE_LATEST)
        except TimeoutError:
            failures, waiting = await self._history()
            page = exposition(
                DEFAULT, Stock(readable=False), failures, waiting, utc_now(), failed_logins=self.attempts.failed,
                untold=self.untold.channels,
            )  # fmt: skip
            return Response(page, media_type=CONTENT_TYPE_LATEST)

    async def status(self) -> Response:
        """The status page, 200 whatever it says; 503 while the bucket has not been read."""
        try:
            page, code = await self._status.get(), 200
        except TimeoutError:
            page, code = await asyncio.to_thread(self._late), 503
        headers = {"Content-Security-Policy": f"{policy()}; frame-ancestors 'none'", "Cache-Control": "no-store"}
        return HTMLResponse(page, code, headers)

    def _late(self) -> str:
        why = f"it did not answer within {_PATIENCE_S:.0f} s, or there is much to read for the first time"
        return render(unreadable(why, "this page loads again by itself", utc_now()), self._links, _LATE_S)

    async def _read_status(self) -> str:
        return await asyncio.to_thread(lambda: render(read_status(self._plan, utc_now()), self._links, _REFRESH_S))

    async def _examine(self) -> Health:
        backs_up = "backup" in self._flows
        return await asyncio.to_thread(
            examine, self._plan, backs_up=backs_up, started_at=self._started_at, now=utc_now()
        )

    async def _measure(self) -> bytes:
        stock = await asyncio.to_thread(read_stock, self._plan)
        failures, waiting = await self._history()
        return exposition(
            DEFAULT,
            stock,
            failures,
            waiting,
            utc_now(),
            failed_logins=self.attempts.failed,
            untold=self.untold.channels,
        )

    async def _history(self) -> tuple[Failures, dict[str, datetime]]:
        """Read Prefect's history; empty if it does not answer, because the bucket's metrics are useful without it."""
        if self._client is None:
            return {}, {}
        names = {deployment: flow for flow, deployment in self._deployments.items()}
        try:
            failed = await failed_runs(self._client, self._deployments)
            waiting = await next_runs(self._client, self._deployments)
        except (httpx.HTTPError, PrefectException):
            return {}, {}
        causes = [(names[run.deployment_id], cause_of(run.state)) for run in failed if run.state and run.deployment_id]
        return count_failures(causes), waiting
