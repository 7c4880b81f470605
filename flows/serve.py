"""Run the service in one process: Prefect's server and UI, the schedules, and the runs of backups and drills."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.logging import get_logger
from prefect.settings import PREFECT_HOME
from starlette.applications import Starlette

from blocks.config import DEFAULT
from blocks.config.environment import variable
from blocks.config.load import load_service_settings
from blocks.config.plan import Plan
from blocks.config.settings import Settings
from blocks.errors import PgRoundtripError, PrefectDatabaseUnusable, PrefectUnreachable, ServiceError
from blocks.plan import BackupPlan
from blocks.saved import translated
from flows import lines
from flows.deployments import deployments_of
from flows.runs.logs import log_plainly
from flows.service import asgi
from flows.service.announce import announce
from flows.service.environment import MADE, NO_HISTORY, OWN_SERVER, Login, move_history
from flows.service.gateway import Pages, make_gateway, make_metrics_page
from flows.service.history import MOVED, TROUBLE, History, said_of
from flows.service.proof import Proof
from flows.service.runner import ServiceRunner
from flows.service.runs import catch_up, crash_stale_runs, last_backup, last_drill, skip_missed_runs
from flows.service.standby import Standby
from flows.service.status_pages import StatusPages
from flows.service.turns import Turns, memory_is_small
from flows.service.watch import keep_watch
from tasks.clock import utc_now
from tasks.plans import save_plan

_END_S, _LOOK_AGAIN_S = 3, 5
_logger = get_logger("serve")


async def serve(settings: Settings, login: Login | None, history: History) -> None:
    """Serve the environment's plan until SIGTERM or SIGINT; with a `login` and a history, run Prefect's server in this process."""
    plan = Plan.from_settings(settings)
    own_server = login is not None and history.kept
    links = {"History (Prefect)": "/dashboard"} if own_server else {}
    pages = StatusPages(plan, settings.enabled_flows, utc_now(), history, links)
    pages.untold.wrong = settings.wrong
    runner = ServiceRunner(history, Turns(small=memory_is_small()))
    proof = Proof(PREFECT_HOME.value() if own_server else None)
    standby = Standby(plan, settings.enabled_flows, runner, history, proof)
    async with _ports(settings, login, pages, own_server=own_server), get_client() as client:
        announce(settings, plan, login, history)
        work = asyncio.gather(
            standby.watch(),
            keep_watch(plan, settings.enabled_flows, pages.untold),
            *([_record(settings, plan, client, standby, pages)] if history.kept else []),
        )
        _on_signals(lambda: asyncio.ensure_future(_stop(runner, standby, work)))
        with contextlib.suppress(asyncio.CancelledError):
            await work
    _logger.info("Service stopped")
    # Don't wait for the threads and services of Prefect's server that are left: they take seconds to end.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _record(settings: Settings, plan: Plan, client: PrefectClient, standby: Standby, pages: StatusPages) -> None:
    """Once Prefect's server answers, create the deployments, clean up after a killed service, catch up, and run what is due."""
    runner = standby.runner
    while (deployments := await _prepared(settings, plan, client, runner, standby.history)) is None:  # noqa: ASYNC110  (it may be elsewhere)
        await asyncio.sleep(_LOOK_AGAIN_S)
    standby.follow(client, deployments)
    pages.follow(client, deployments)
    catching_up = asyncio.create_task(catch_up(client, plan, deployments, runner.held))
    catching_up.add_done_callback(_tell)
    try:
        await runner.start()
    finally:
        catching_up.cancel()


def _tell(caught_up: asyncio.Task[None]) -> None:
    if not caught_up.cancelled() and (error := caught_up.exception()):
        _logger.warning("Missed runs could not be caught up [%s]; the next slot will do it", type(error).__name__)


async def _prepared(
    settings: Settings, plan: Plan, client: PrefectClient, runner: ServiceRunner, history: History
) -> dict[str, UUID] | None:
    """Return the deployments, ready to run; None if Prefect's server does not answer yet."""
    try:
        with translated():
            await client.hello()
            return await _prepare(settings, plan, client, runner)
    except TROUBLE as failure:
        history.failed(said_of(failure))
        return None


async def _prepare(settings: Settings, plan: Plan, client: PrefectClient, runner: ServiceRunner) -> dict[str, UUID]:
    """Create the deployments, and end the runs that a killed service left or that were missed since."""
    deployments = await _register(settings, plan, runner)
    if stale := await crash_stale_runs(client, list(deployments.values())):
        _logger.warning("%d runs were in progress when the service last stopped; they are marked as crashed", stale)
    if missed := await skip_missed_runs(client, list(deployments.values())):
        _logger.info("%d scheduled runs were missed; what is due now will run once", missed)
    if "backup" in settings.enabled_flows:
        # A drill-only container knows only part of the plan, and would overwrite the whole with it.
        await _save(settings)
    return deployments


async def _save(settings: Settings) -> None:
    """Save the plan to show it in the UI; runs read it from the environment, so backups work even if this fails."""
    try:
        await asyncio.to_thread(save_plan, DEFAULT, BackupPlan.from_settings(settings))
    except PrefectUnreachable as error:
        _logger.warning("The plan could not be saved as a block: %s", error.context)
        _logger.warning("HINT: %s", error.hint)


async def _register(settings: Settings, plan: Plan, runner: ServiceRunner) -> dict[str, UUID]:
    """Create or update the deployments; their intervals continue from the newest backup and drill in the bucket."""
    now = utc_now()
    backup, drill = await asyncio.gather(asyncio.to_thread(last_backup, plan), asyncio.to_thread(last_drill, plan))
    anchors = {
        "backup": _anchor(backup, plan.schedules.backups.interval_s, now),
        "restore-drill": _anchor(drill, plan.schedules.drills.interval_s, now),
    }
    made = await deployments_of(DEFAULT, plan, settings.enabled_flows, anchors=anchors)
    return {d.flow_name or "": await runner.aadd_deployment(d) for d in made}


def _anchor(last: datetime | None, interval_s: int, now: datetime) -> datetime:
    """Return the moment to count intervals from: the last run's, or now if a run is overdue and starts at once."""
    return last if last and 0 <= (now - last).total_seconds() < interval_s else now


@asynccontextmanager
async def _ports(
    settings: Settings, login: Login | None, pages: StatusPages, *, own_server: bool = False
) -> AsyncIterator[None]:
    metrics = pages.metrics if settings.metrics_enabled else None
    served = Pages(pages.health, metrics, pages.status, settings.status_public)

    def gateway() -> Starlette:
        return make_gateway(login, _prefect_server() if own_server else None, served, pages.attempts)

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(asgi.listening(gateway, settings.port))
        if metrics and settings.metrics_port != settings.port:
            await stack.enter_async_context(
                asgi.listening(lambda: make_metrics_page(pages.metrics), settings.metrics_port)
            )
        yield


def _prefect_server() -> Any:
    asgi.migrate()
    from prefect.server.api.server import create_app  # noqa: PLC0415  (80 MB that only our own server needs)

    try:
        app = create_app(final=True)
    except OSError as error:  # it copies the pages of its UI
        raise PrefectDatabaseUnusable(str(error.strerror)) from None
    log_plainly()  # Prefect's server has set up its own logging by now
    return app


def _on_signals(act: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, act)


async def _stop(runner: ServiceRunner, standby: Standby, work: asyncio.Future[Any]) -> None:
    """Cancel what runs, let it clean up, then exit. A second signal changes nothing."""
    if standby.stopping:
        return
    _logger.info("Stopping: cancelling what is in progress")
    try:
        await asyncio.gather(standby.stop(), *([runner.astop()] if runner.started else []))
        if runner.stopping:
            await asyncio.wait({work}, timeout=_END_S)
    finally:
        work.cancel()


def main() -> None:
    """Run the service; `pg-roundtrip serve` has checked the settings and set the environment."""
    log_plainly()
    settings = load_service_settings()
    own, history = OWN_SERVER in sys.argv, History(variable(MOVED), kept=NO_HISTORY not in sys.argv)
    # Without a history there is no Prefect server, but a status page.
    login = Login.from_settings(settings, made=MADE in sys.argv) if own or not history.kept else None
    try:
        asyncio.run(serve(settings, login, history))
    except PgRoundtripError as error:
        if own and type(error) in (ServiceError, PrefectDatabaseUnusable):
            os.execv(sys.executable, move_history([sys.executable, *sys.orig_argv[1:]], error.context))  # noqa: S606  (ourselves, with another history)
        lines.print_error(error.lines())
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
