"""Define a plan's deployments: one for each flow, with its schedule, tags and description."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Interval
from prefect.schedules import Schedule as PrefectSchedule
from prefect.types.entrypoint import EntrypointType

from blocks.config.plan import Plan
from blocks.config.schedule import Schedule
from blocks.config.values import FLOWS
from blocks.errors import PlainFlows
from flows.backup import backup
from flows.copy import copy
from flows.key_check import key_check
from flows.prune import prune
from flows.restore import restore
from flows.restore_drill import restore_drill
from flows.watch import watch
from tasks.engine.wording import tool_version
from tasks.orchestration import RECORDED

TAG = "pg-roundtrip"
if not RECORDED:
    raise PlainFlows
_FLOWS: dict[str, Flow[..., Any]] = {
    flow.name: flow for flow in (backup, prune, restore_drill, restore, copy, watch, key_check)
}
DEPLOYED = tuple(_FLOWS)
_DESCRIPTIONS = {
    "backup": "Dump the database to the storage, then apply the retention policy.",
    "prune": "Apply the retention policy. Every backup does so too; run this flow by hand, or as a dry run.",
    "restore-drill": "Restore the newest backup, dump it again and compare: PROVEN, FAILED or INCONCLUSIVE.",
    "restore": "Restore a backup to RESTORE_DATABASE_URL, or to the server of a saved block.",
    "copy": "Copy to each place of the plan what it lacks. Every backup does so too, with the newest of it.",
    "key-check": "See whether the private keys at hand open the backups that are kept.",
    "watch": "Look whether backups and drills are made as planned, and tell what changed.",
}
# Where no service looks after a plan. `serve` looks by itself.
WATCHED = (*FLOWS, "watch")
_WATCH = Schedule(600)
# Otherwise Prefect starts git for each deployment, to learn the commit of whatever folder the command is started in.
_OURS: Any = "prefect:simple"
# Two backups at once would only slow each other down: the second one waits, and is skipped if it is late by then.
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


async def deployments_of(
    name: str,
    plan: Plan,
    flows: Iterable[str] = FLOWS,
    *,
    anchors: dict[str, datetime] | None = None,
    pool: str | None = None,
    key_checks: Schedule | None = None,
) -> list[RunnerDeployment]:
    """Create a plan's deployments: `backup/<name>`, `prune/<name>`, `restore-drill/<name>` and `restore/<name>`.

    `anchors` are the moments from which the intervals of each flow are counted; `pool` is the work pool whose workers
    run them, or None if this process does. With copies, whoever makes backups also has `copy/<name>`. `key_checks` is
    when keys are checked, for the flow `key-check`.
    """
    copies = Schedule(plan.copying.interval_s)
    due = {"backup": plan.schedules.backups, "restore-drill": plan.schedules.drills, "copy": copies, "watch": _WATCH}
    due |= {"key-check": key_checks} if key_checks else {}
    return [
        await _FLOWS[flow].ato_deployment(
            name,
            schedule=_for_prefect(due[flow], (anchors or {}).get(flow)) if flow in due else None,
            concurrency_limit=ONE_AT_A_TIME,
            parameters={"plan": name},
            description=_DESCRIPTIONS[flow],
            # All of a plan's deployments have its name: in a list, the flow's tag tells them apart.
            tags=list(dict.fromkeys((TAG, name, flow))),
            version=tool_version(),
            version_type=_OURS,
            work_pool_name=pool,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for flow in with_copies(plan, flows)
    ]


def with_copies(plan: Plan, flows: Iterable[str]) -> tuple[str, ...]:
    """Return the flows of a plan: with copies, whoever makes backups also copies what a place lacks."""
    named = tuple(flows)
    return (*named, "copy") if plan.copies and "backup" in named else named


async def watch_of(pool: str, plans: Sequence[str], anchor: datetime) -> RunnerDeployment:
    """Create the deployment that looks at all plans of a pool: a run for each of hundreds would keep the workers busy."""
    return await watch.ato_deployment(
        f"all-of-{pool}",
        schedule=_for_prefect(_WATCH, anchor),
        concurrency_limit=ONE_AT_A_TIME,
        parameters={"plan": f"all-of-{pool}", "plans": list(plans)},
        description=_DESCRIPTIONS["watch"],
        tags=[TAG, "watch"],
        version=tool_version(),
        version_type=_OURS,
        work_pool_name=pool,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _for_prefect(due: Schedule, anchor: datetime | None) -> PrefectSchedule:
    if due.cron:
        return Cron(due.cron, timezone=due.timezone)
    return Interval(due.interval_s, anchor_date=anchor, timezone="UTC")
