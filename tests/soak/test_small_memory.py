"""The service that backs up and drills a database of a gigabyte lives in the 512 MB that are promised."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.s3.client import ObjectStore
from flows.demo.sample import load_sample
from flows.demo.services import Storage
from tests.conftest import NewDatabase, command_environment
from tests.integration.conftest import home
from tests.integration.services import Service, running_service
from tests.soak.memory_group import MemoryGroup, limited_memory
from tests.soak.minutes import minutes

__all__ = ["home"]

MIB = 1 << 20
MINUTES = minutes(60)
# A backup and a drill are due at the same moment, every time.
EVERY_S = 300
START_S = 600
DONE = {"backup": "Completed", "restore-drill": "PROVEN"}
SAID = {"backup": "Backup completed successfully", "restore-drill": "PROVEN: backup_"}


@pytest.mark.long
@pytest.mark.timeout(60 * MINUTES + 1800)
def test_an_hour_in_512_mb(
    new_database: NewDatabase, storage_server: Storage, storage: ObjectStore, tmp_path: Path, home: Path,
) -> None:  # fmt: skip
    """Nothing is killed because memory runs out, and each backup is made and each drill PROVEN, one after the other."""
    server = new_database(16)
    load_sample(server, 1200)
    assert server.inspect().size_bytes > 1 << 30
    environ = command_environment(storage_server, storage, "", tmp_path) | {
        "DATABASE_URL": server.url.get_secret_value(), "TMPDIR": str(home),
        "BACKUP_INTERVAL": str(EVERY_S), "VERIFY_INTERVAL": str(EVERY_S),
    }  # fmt: skip
    with (
        limited_memory(f"pg-roundtrip-{uuid4().hex[:8]}", 512 * MIB) as group,
        running_service(environ, tmp_path, within=group.entering) as service,
    ):
        service.await_line("PROVEN: backup_", START_S)
        held_bytes = most_held(service, group, 60 * MINUTES)
        ended = assert_every_run_ended_well(service)
        assert group.kills == 0
        print(f"\n{ended}, peak {group.peak_bytes / MIB:.0f} MiB charged, {held_bytes / MIB:.0f} MiB held")
        assert [line for line in service.lines() if " ERROR: " in line] == []


def most_held(service: Service, group: MemoryGroup, seconds: float) -> int:
    """Watch a group for a while; return the most that its processes held at once."""
    most, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        assert service.process.pid in group.processes(), "\n".join(service.lines()[-30:])
        most = max(most, group.held_bytes)
        time.sleep(0.2)
    return most


def assert_every_run_ended_well(service: Service) -> str:
    """Check all runs that are not under way, and return how many there were and how long they waited."""
    waited = [0.0]
    for flow, good in DONE.items():
        ended = [run for run in service.runs(flow) if run["state_type"] not in ("SCHEDULED", "PENDING", "RUNNING")]
        # On a busy machine, a run is skipped if the next was due before its turn came, or if it was made without Prefect.
        assert {run["state_name"] for run in ended} <= {good, "Skipped"}, ended
        waited += [
            _moment(run["start_time"]) - _moment(run["expected_start_time"]) for run in ended if run["start_time"]
        ]
    counted = {flow: sum(said in line for line in service.lines()) for flow, said in SAID.items()}
    assert min(counted.values()) > 60 * MINUTES // EVERY_S // 2, counted
    return f"{counted['backup']} backups, {counted['restore-drill']} drills, longest wait {max(waited):.0f} s"


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
