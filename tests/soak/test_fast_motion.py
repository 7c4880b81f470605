"""A day's worth of runs in an hour: the service stays as it was, and so does what it keeps."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from blocks.s3.client import ObjectStore
from flows.demo.services import Storage
from tests.conftest import NewDatabase, command_environment, databases_of
from tests.integration.conftest import home
from tests.integration.objects import LARGE_OBJECTS, LIBRARY
from tests.integration.services import Service, running_service
from tests.soak.minutes import minutes
from tests.soak.vitals import Vitals, growth_an_hour, look, make_history_older

__all__ = ["home"]

MINUTES = minutes(45)
MIB = 1 << 20
START_S, LOOK_S = 600, 10
# Whatever has ended is half a month older every minute: after six minutes Prefect forgets it, as after 90 days.
AGE_S = 60
# Until then, the allocator of a busy process still takes a few MiB.
SETTLED_S = min(20 * 60, 60 * MINUTES * 4 // 9)


@pytest.mark.long
@pytest.mark.timeout(60 * MINUTES + 900)
def test_a_day_in_an_hour(
    new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, tmp_path: Path, home: Path
) -> None:
    """Memory, descriptors, temporary files and Prefect's database stay flat, no run is late, and the log is quiet."""
    server = new_database(16, LIBRARY + LARGE_OBJECTS)
    there = databases_of(server)
    environ = command_environment(storage_server, storage, "", tmp_path) | {
        "DATABASE_URL": server.url.get_secret_value(), "TMPDIR": str(home), "BACKUP_INTERVAL": "60", "VERIFY_INTERVAL": "120",
        # Prefect's default is an hour, which is half a month here.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "30",
    }  # fmt: skip
    with running_service(environ, tmp_path) as service:
        service.await_line("PROVEN: backup_", START_S)
        seen = life_of(service, Path(environ["PREFECT_HOME"]), 60 * MINUTES)
        assert_each_slot_had_its_run(service)
        assert [line for line in service.lines() if " WARNING: " in line or " ERROR: " in line] == []
    assert databases_of(server) == there
    # Prefect's runner leaves an empty folder, always the same.
    assert [path.name for path in home.rglob("*")] in ([], ["runner_storage"])
    assert_flat([each for each in seen if each.at_s > SETTLED_S])


def life_of(service: Service, prefect: Path, seconds: float) -> list[Vitals]:
    """Watch a service for a while, and make its history older all the time."""
    process, seen = psutil.Process(service.process.pid), list[Vitals]()
    begun = older = time.monotonic()
    while (now := time.monotonic()) - begun < seconds:
        if now - older >= AGE_S:
            make_history_older(prefect)
            older = now
        seen.append(look(process, prefect, now - begun))
        print(asdict(seen[-1]))
        assert service.answers()
        time.sleep(LOOK_S)
    return seen


def assert_each_slot_had_its_run(service: Service) -> None:
    """No scheduled run was skipped, failed or did not begin; those that Prefect has not forgotten are looked at."""
    for flow, good, every_s in (("backup", "Completed", 60), ("restore-drill", "PROVEN", 120)):
        waiting = ("SCHEDULED", "PENDING", "RUNNING")
        names = [run["state_name"] for run in service.runs(flow) if run["state_type"] not in waiting]
        assert set(names) == {good}
        said = sum(text in line for line in service.lines() for text in _SAID[flow])
        assert said >= 60 * MINUTES // every_s - 1, (flow, said)


_SAID = {"backup": ("Backup completed successfully",), "restore-drill": ("PROVEN: backup_",)}


def assert_flat(seen: list[Vitals]) -> None:
    """Nothing grows once the service has settled."""
    assert max(each.late for each in seen) == 0
    third = len(seen) // 3
    # While a run is under way there are more of these, so what is left between runs is compared.
    for name, slack in (("files", 5), ("threads", 3)):
        first, last = ([getattr(each, name) for each in part] for part in (seen[:third], seen[-third:]))
        assert min(last) <= min(first) + slack, (name, first, last)
    for name, slack in (("uss", 4 * MIB), ("database_bytes", 2 * MIB), ("rows", 500), ("runs", 20), ("home_files", 5)):
        first, last = ([getattr(each, name) for each in part] for part in (seen[:third], seen[-third:]))
        assert max(last) <= max(first) + slack, (name, first, last)
    growth = growth_an_hour([(each.at_s, each.uss) for each in seen])
    assert growth < 8 * MIB, f"{growth / MIB:.1f} MiB an hour"
