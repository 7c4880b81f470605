"""A plan's deployments are the same whether the service, the command line or `prefect deploy` makes them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.server.schemas import schedules as of_the_server
from pydantic import SecretStr

from blocks.config import DEFAULT
from blocks.config.destinations import Destination
from blocks.config.schedule import Schedule
from blocks.s3.client import ObjectStore
from flows.deployments import WATCHED, deployments_of
from tasks.clock import utc_now
from tests.plans import plan_of

POOL = "pg-roundtrip"


def made(**fields: Any) -> dict[str, RunnerDeployment]:
    """Return a plan's deployments by flow name."""
    storage = ObjectStore.at(endpoint="http://127.0.0.1:1", bucket="backups", prefix="", region="us-east-1",
                               key_id="key", secret=SecretStr("secret"))  # fmt: skip
    plan = replace(plan_of(storage, **fields), copies=(Destination("copy", storage),))
    deployments = asyncio.run(deployments_of(DEFAULT, plan, WATCHED, pool=POOL))
    return {
        deployment.entrypoint.rpartition(".")[2].replace("_", "-"): deployment
        for deployment in deployments
        if deployment.entrypoint
    }


def written() -> dict[str, dict[str, Any]]:
    """Return the deployments in prefect.yaml by flow name."""
    document = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
    assert document["pull"] == []
    return {entry["entrypoint"].rpartition(".")[2].replace("_", "-"): entry for entry in document["deployments"]}


def interval_of(deployment: RunnerDeployment) -> float:
    (schedule,) = (s.schedule for s in deployment.schedules or ())
    assert isinstance(schedule, IntervalSchedule)
    return schedule.interval.total_seconds()


def test_every_flow_has_its_deployment() -> None:
    """All documented flows, and no others, have a deployment."""
    assert set(made()) == set(written()) == {*WATCHED, "copy"}


def test_copies_are_scheduled_where_there_are_places() -> None:
    """In the file, the schedule of `copy` is a comment: without further places, each of its runs would fail."""
    text = (Path(__file__).parents[2] / "prefect.yaml").read_text()
    assert f"# schedules:\n    #   - interval: {interval_of(made()['copy']):.0f}\n" in text
    assert "schedules" not in written()["copy"]


@pytest.mark.parametrize("flow", [*WATCHED, "copy"])
def test_prefect_yaml_says_what_the_table_says(flow: str) -> None:
    """Name, entrypoint, parameters, tags, description, pool, limit and default schedule don't drift apart."""
    ours, entry = made()[flow], written()[flow]
    assert ours.concurrency_options
    strategy = ours.concurrency_options.collision_strategy.value
    assert entry == {
        "name": ours.name,
        "entrypoint": ours.entrypoint,
        "parameters": ours.parameters,
        "tags": ours.tags,
        "description": ours.description,
        "work_pool": {"name": ours.work_pool_name},
        "concurrency_limit": {"limit": ours.concurrency_limit, "collision_strategy": strategy},
        **({"schedules": [{"interval": interval_of(ours)}]} if ours.schedules and flow != "copy" else {}),
    }


def test_a_plan_says_when_its_flows_run() -> None:
    """Runs follow its intervals, or its cron expressions in its time zone."""
    cron = made(schedule="0 3 * * *", verify_schedule="0 6 * * 0", timezone="Europe/Berlin")
    for flow, expression in (("backup", "0 3 * * *"), ("restore-drill", "0 6 * * 0")):
        (schedule,) = (s.schedule for s in cron[flow].schedules or ())
        assert isinstance(schedule, CronSchedule)
        assert (schedule.cron, schedule.timezone) == (expression, "Europe/Berlin")
    intervals = made(interval_s=600, verify_interval_s=7200)
    assert (interval_of(intervals["backup"]), interval_of(intervals["restore-drill"])) == (600, 7200)
    assert not cron["prune"].schedules
    assert not cron["restore"].schedules


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin", "Asia/Tokyo"])
@pytest.mark.parametrize("due", [{"schedule": "0 3 * * *"}, {"interval_s": 3600}], ids=["cron", "interval"])
def test_the_server_finds_the_slots_of_a_schedule(due: dict[str, Any], timezone: str) -> None:
    """Prefect can compute every schedule: otherwise it only logs an error, and nothing runs though all looks well."""
    (schedule,) = (s.schedule for s in made(**due, timezone=timezone)["backup"].schedules or ())
    theirs = getattr(of_the_server, type(schedule).__name__).model_validate(schedule, from_attributes=True)
    now = utc_now()
    first, second = asyncio.run(theirs.get_dates(n=2, start=now))
    assert now < first < second <= now + timedelta(days=2)


def test_no_secret_is_a_parameter() -> None:
    """A deployment names its plan; secrets stay in the plan's blocks."""
    assert {str(deployment.parameters) for deployment in made().values()} == {"{'plan': 'default'}"}


def test_key_checks_are_due_by_their_own_interval() -> None:
    """Where a private key is, the service also has a deployment that tries it."""
    storage = ObjectStore.at(endpoint="http://127.0.0.1:1", bucket="backups", prefix="", region="us-east-1",
                               key_id="key", secret=SecretStr("secret"))  # fmt: skip
    (checks,) = asyncio.run(deployments_of(DEFAULT, plan_of(storage), ["key-check"], key_checks=Schedule(7200)))
    assert checks.entrypoint == "flows.key_check.key_check"
    assert interval_of(checks) == 7200
    assert checks.tags == ["pg-roundtrip", "default", "key-check"]
