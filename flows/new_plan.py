"""Save what the environment describes as a plan, and create its deployments."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Iterator

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from blocks.config.load import load_settings
from blocks.config.plan import Plan
from blocks.config.server import missing_server
from blocks.config.values import BLOCK_NAME
from blocks.errors import ConfigurationError, Problem
from blocks.plan import BackupPlan
from blocks.saved import translated
from flows.lines import print_line
from tasks.engine.repository.whose import refused_folder
from tasks.plans import plan_exists, save_plan


def add_plan(name: str, pool: str | None, *, replace: bool) -> None:
    """Save the plan, over one that has the name where that is wanted; raises ConfigurationError with every fault at once."""
    faults = [*_invalid_name(name), *(missing_server("A saved plan") or _taken(name, pool, replace=replace))]
    try:
        settings = load_settings(frozenset({"database", "storage", "drill"}))
    except ConfigurationError as error:
        raise ConfigurationError([*faults, *error.problems]) from None
    if settings.s3_session_token:
        faults.append(
            Problem(
                "S3_SESSION_TOKEN belongs to keys that expire", "save the plan with lasting keys, made for it alone"
            )
        )
    if faults:
        raise ConfigurationError(faults)
    plan = dataclasses.replace(Plan.from_settings(settings), name=name)
    taken = refused_folder(plan)
    if taken:
        raise ConfigurationError([Problem(*taken)])
    save_plan(name, BackupPlan.from_settings(settings))
    print_line(f"Saved the plan {name}: {plan.source.address} to {plan.storage.endpoint} {plan.storage.address}")
    if pool:
        asyncio.run(_deploy(name, plan, pool))
    elif replace:
        print_line("Its deployments, if it has any, keep their schedules; --pool recreates them")


def _invalid_name(name: str) -> Iterator[Problem]:
    if not re.fullmatch(BLOCK_NAME, name) or len(name) > 100:
        yield Problem(
            f"Invalid plan name {name}", "use lowercase letters, digits and single dashes between them, as in shop-eu"
        )


def _taken(name: str, pool: str | None, *, replace: bool) -> Iterator[Problem]:
    """What the Prefect server has against the plan, before anything is saved."""
    if not replace and re.fullmatch(BLOCK_NAME, name) and plan_exists(name):
        yield Problem(f"There is a plan named {name} already", "choose another name, or pass --replace to save over it")
    if pool and not pool_exists(pool):
        yield Problem(f"There is no work pool named {pool}", f"prefect work-pool create {pool} --type process")


def pool_exists(pool: str) -> bool:
    """Whether the Prefect server has a work pool of this name."""
    try:
        with translated(), get_client(sync_client=True) as client:
            return bool(client.read_work_pool(pool))
    except ObjectNotFound:
        return False


async def _deploy(name: str, plan: Plan, pool: str) -> None:
    from flows.deployments import WATCHED, deployments_of  # noqa: PLC0415  (loads every flow)

    made = await deployments_of(name, plan, WATCHED, pool=pool)
    for deployment in made:
        await deployment.aapply()
    print_line(f"Created the deployments {', '.join(f'{d.flow_name}/{name}' for d in made)}")
    print_line(f"Workers run them: prefect worker start --pool {pool}")
