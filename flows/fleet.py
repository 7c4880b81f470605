"""Save many plans from one file, after showing what would change; and write such a file from the saved plans."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import typer
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags, FlowFilter, FlowFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort
from prefect.context import AsyncClientContext
from prefect.deployments.runner import RunnerDeployment

from blocks.config.fleet import fleet_text
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, Problem
from blocks.saved import saving, translated
from flows import terminal
from flows.deployments import DEPLOYED, TAG, deployments_of, watch_of
from flows.lines import print_line
from flows.new_plan import pool_exists
from tasks.engine.repository.checks import counted
from tasks.fleet import Step, Wanted, others_than, read_plans, refused_folders, save_plans, saved_plans, steps_of

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_PAGE = 200
# The work pool, the parameters, and the schedules.
_Essence = tuple[str | None, dict[str, Any], list[dict[str, str]]]


def import_fleet(path: Path, *, dry_run: bool, yes: bool) -> None:
    """Save the plans of a file and create their deployments; raises ConfigurationError before anything is changed."""
    wanted = read_plans(path)
    with translated(), saving():
        _import(wanted, dry_run=dry_run, yes=yes)


def _import(wanted: Sequence[Wanted], *, dry_run: bool, yes: bool) -> None:
    _require_pools(wanted)
    steps = steps_of(wanted)
    if refused := refused_folders(steps):
        raise ConfigurationError(refused)
    stale = asyncio.run(_stale_deployments(wanted))
    _show(steps, {name for name, _ in stale}, others_than(wanted))
    if dry_run or not _agreed(steps, stale, yes=yes):
        return
    for step in save_plans(steps):
        print_line(f"Saved the plan {step.wanted.name}")
    asyncio.run(_apply([deployment for _, deployment in stale]))
    print_line(
        f"{counted(len(wanted), 'plan')}: {sum(s.kind == 'new' for s in steps)} new, {sum(s.kind == 'changed' for s in steps)} changed, "
        f"{counted(len(stale), 'deployment')} created or changed"
    )


def _show(steps: Sequence[Step], deployed: Collection[str], others: Sequence[str]) -> None:
    rows = [
        (s.wanted.name, s.kind, "\n".join([*s.changes, *["its deployments"] * (s.wanted.name in deployed)]))
        for s in steps
    ]
    changing = [row for row in rows if row[1] != "unchanged" or row[2]]
    terminal.show_changes(changing)
    if len(changing) < len(rows):
        print_line(f"{counted(len(rows) - len(changing), 'plan')} as saved")
    if others:
        print_line(f"Not in the file, and left alone: {', '.join(others)}")


def _require_pools(wanted: Iterable[Wanted]) -> None:
    missing = [pool for pool in sorted({one.pool for one in wanted if one.pool}) if not pool_exists(pool)]
    if missing:
        raise ConfigurationError([
            Problem(f"There is no work pool named {pool}", f"prefect work-pool create {pool} --type process")
            for pool in missing
        ])  # fmt: skip


def _agreed(steps: Sequence[Step], stale: Sequence[object], *, yes: bool) -> bool:
    """Whether there is anything to do, and whoever calls wants it done."""
    if not stale and all(step.kind == "unchanged" for step in steps):
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError(
            [Problem("Nothing was saved: nobody is there to agree", "pass --yes, or --dry-run to only look")]
        )
    return typer.confirm("Save this?")


async def _stale_deployments(wanted: Sequence[Wanted]) -> list[tuple[str, RunnerDeployment]]:
    """Return the deployments that are not there yet, or that differ from what the file wants, by plan or pool."""
    made = [(one.name, d) for one in wanted if one.pool for d in await deployments_of(
        one.name, one.plan, anchors=_spread(one.name, one.plan), pool=one.pool
    )]  # fmt: skip
    pools = sorted({one.pool for one in wanted if one.pool})
    made += [(pool, await watch_of(pool, [one.name for one in wanted if one.pool == pool], _EPOCH)) for pool in pools]
    if not made:
        return []
    with translated():
        async with get_client() as client:
            there = await _deployments(client)
    return [(name, d) for name, d in made if _essence(d) != there.get(f"{d.flow_name}/{d.name}")]


def _spread(name: str, plan: Plan) -> dict[str, datetime]:
    """Choose when intervals begin, by the plan's name: hundreds of plans must not fall due together."""
    seconds = {"backup": plan.schedules.backups.interval_s, "restore-drill": plan.schedules.drills.interval_s}
    return {
        flow: _EPOCH + timedelta(seconds=crc32(f"{flow}/{name}".encode()) % every) for flow, every in seconds.items()
    }


async def _deployments(client: PrefectClient) -> dict[str, _Essence]:
    return {f"{flow}/{one.name}": _essence(one) for flow in DEPLOYED for one in await _deployments_of(client, flow)}


async def _deployments_of(client: PrefectClient, flow: str) -> list[DeploymentResponse]:
    """Read page by page, in the order of names, which are unique within a flow: without that, pages overlap and miss some."""
    found = list[DeploymentResponse]()
    ours, of_flow = (
        DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])),
        FlowFilter(name=FlowFilterName(any_=[flow])),
    )
    while page := await client.read_deployments(
        deployment_filter=ours, flow_filter=of_flow, sort=DeploymentSort.NAME_ASC, limit=_PAGE, offset=len(found)
    ):
        found += page
    return found


def _essence(deployment: RunnerDeployment | DeploymentResponse) -> _Essence:
    """What an import would change of a deployment."""
    schedules = deployment.schedules or []
    times = [
        {name: str(value) for name, value in s.schedule.model_dump().items() if value is not None}
        for s in schedules
        if s.schedule
    ]
    return deployment.work_pool_name, deployment.parameters, times


async def _apply(deployments: Iterable[RunnerDeployment]) -> None:
    with translated():
        async with AsyncClientContext.get_or_create():
            for deployment in deployments:
                await deployment.aapply()


def export_fleet(names: Sequence[str]) -> str:
    """Write a file of the saved plans, or of some, with the secrets by the names of variables; importing it changes nothing."""
    return fleet_text(saved_plans(names), asyncio.run(_pools()))


async def _pools() -> dict[str, str]:
    """The work pools that run the plans' backups, by plan."""
    with translated():
        async with get_client() as client:
            there = await _deployments(client)
    return {
        address.removeprefix("backup/"): place[0]
        for address, place in there.items()
        if address.startswith("backup/") and place[0]
    }
