"""The container image and the compose file keep their promises, on a real Docker engine."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.image.conftest import UI_PASSWORD, until, wait_for_line
from tests.image.engine import Engine, System
from tests.image.images import Images

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR): \S")
STOP_S = 10
ROWS = "1000000"
pytestmark = pytest.mark.timeout(900)


def url(port: int, path: str) -> str:
    return f"http://127.0.0.1:{port}{path}"


def api(port: int, path: str, body: dict[str, Any]) -> Any:
    """Query Prefect's API, with the login."""
    answer = httpx.post(url(port, f"/api{path}"), json=body, auth=("admin", UI_PASSWORD), timeout=30)
    return answer.raise_for_status().json()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def begin_backup(system: System, port: int) -> str:
    """Start a backup of the deployment once no run is in flight, and return its run id in the middle of the dump."""
    system.engine.run("start", system.container("backup"))
    until_answering(port)
    in_flight = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}}
    until(lambda: not api(port, "/flow_runs/filter", in_flight), "quiet moment", 120)
    since = now()
    deployment = httpx.get(url(port, "/api/deployments/name/backup/default"), auth=("admin", UI_PASSWORD)).json()["id"]
    run = api(port, f"/deployments/{deployment}/create_flow_run", {})["id"]
    wait_for_line(system, "backup", "Dumping database", 60, since=since)
    return str(run)


def state_of(port: int, run: str) -> str:
    return str(
        httpx.get(url(port, f"/api/flow_runs/{run}"), auth=("admin", UI_PASSWORD), timeout=30).json()["state"]["type"]
    )


def test_the_image_holds_what_runs_and_nothing_that_builds(engine: Engine, images: Images) -> None:
    """The image has no compiler, no pip, no uv, no cluster and no private key, and doesn't run as root."""
    script = """
        id -u
        for tool in cc gcc g++ ld make pip pip3 uv; do command -v $tool; done
        ls /etc/ssl/private /var/lib/postgresql/*/main /root/.cache 2>/dev/null
        find / -xdev \\( -name 'libLLVM*' -o -name '*.deb' -o -name 'requirements*.lock' \\) 2>/dev/null
        true
    """
    assert engine.run("run", "--rm", images.service, "sh", "-c", script).split() == ["10001"]


def test_the_programs_of_postgresql_are_there(engine: Engine, images: Images) -> None:
    """The checklist's `pg_dump --version` works, and the server programs for drills are there."""
    assert "pg_dump (PostgreSQL)" in engine.run("run", "--rm", images.service, "pg_dump", "--version")
    engine.run("run", "--rm", images.service, "sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb")


def test_without_settings_it_ends_at_once_with_all_faults(engine: Engine, images: Images) -> None:
    """A misconfigured container exits at once and lists every problem."""
    printed = engine.run("run", "--rm", images.service, check=False, timeout_s=60)
    for name in ("DATABASE_URL", "S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"):
        assert f"Required environment variable {name} is not set" in printed


def test_it_needs_no_volume_and_no_rights(engine: Engine, images: Images) -> None:
    """The image runs without a volume, on a read-only file system, and as any user."""
    read_only = ["--read-only", "--tmpfs", "/tmp", "--user", "12345:12345"]  # noqa: S108
    assert "Usage" in engine.run("run", "--rm", *read_only, images.service, "pg-roundtrip", "--help")


def test_health_metrics_and_the_login(system: System, port: int) -> None:
    """Health and metrics are public; the UI and the API require the password."""
    assert httpx.get(url(port, "/health"), timeout=30).status_code == 200
    assert "pg_roundtrip" in httpx.get(url(port, "/metrics"), timeout=30).text
    for path in ("/", "/api/health", "/api/admin/version"):
        assert httpx.get(url(port, path), follow_redirects=True, timeout=30).status_code == 401
    page = httpx.get(url(port, "/"), auth=("admin", UI_PASSWORD), follow_redirects=True, timeout=30)
    assert page.status_code == 200
    assert "<title>Prefect" in page.text
    until(lambda: system.state("backup", ".State.Health.Status") == "healthy", "healthy container", 60)


def test_the_commands_of_the_checklist(system: System) -> None:
    """`docker compose run backup …` backs up, lists, and restores into a database created by hand."""
    system.run("exec", "-T", "postgres", "psql", "-c", "CREATE DATABASE testdb")
    assert "events" in system.run("exec", "-T", "postgres", "psql", "-c", "\\dt")
    run = ("run", "--rm", "-T", "backup", "pg-roundtrip")
    assert ".sql.gz" in system.run(*run, "backup")
    assert "PROVEN" in system.run(*run, "list")
    target = "postgresql://app:change-me@postgres:5432/testdb"
    assert "change-me" not in system.run(*run, "restore", "latest", "--to", target)
    counted = system.execute("postgres", "psql", "-d", "testdb", "-Atc", "SELECT count(*) FROM events")
    assert counted.strip() == ROWS


def test_drills_in_a_container_of_their_own(system: System) -> None:
    """A drill-only container knows no database, waits for its next scheduled drill, and proves the same backups."""
    system.run("--profile", "verify", "up", "-d", "--no-build", "verify")
    until(lambda: system.state("verify", ".State.Health.Status") == "healthy", "healthy container", 180)
    assert not re.search("DATABASE_URL=.|POSTGRES_", system.state("verify", ".Config.Env"))
    assert "PROVEN" in system.run("--profile", "verify", "run", "--rm", "-T", "verify", "pg-roundtrip", "drill")
    system.engine.run("rm", "-f", system.container("verify"))


def test_the_memory_that_the_specification_allows_was_enough(system: System) -> None:
    """All of the above ran within the specified 512 MB: nothing in the container was OOM-killed."""
    assert system.state("backup", ".HostConfig.Memory") == str(512 << 20)
    assert system.state("backup", ".State.OOMKilled") == "false"
    assert system.state("backup", ".RestartCount") == "0"


def test_it_stops_within_ten_seconds_in_mid_backup(system: System, port: int) -> None:
    """SIGTERM ends the run as Cancelled and the container in time, and nothing of the run stays in the bucket."""
    run = begin_backup(system, port)
    began = time.monotonic()
    system.engine.run("stop", "-t", "100", system.container("backup"))
    took = time.monotonic() - began
    print(f"stopped in {took:.1f} s")
    assert system.state("backup", ".State.ExitCode") == "0"
    # Other load on this machine must not fail the container.
    assert took < STOP_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    uploads = (
        "wget",
        "-q",
        "--header",
        "Accept: application/json",
        "-O",
        "-",
        "http://127.0.0.1:8888/buckets/backups/.uploads/",
    )
    assert '"Entries":null' in system.execute("s3", *uploads)
    system.engine.run("start", system.container("backup"))
    until_answering(port)
    assert state_of(port, run) == "CANCELLED"


def test_it_recovers_from_a_kill_in_mid_backup(system: System, port: int) -> None:
    """After SIGKILL and a restart the run is Crashed, its slot is free, and the next backup starts by itself."""
    run = begin_backup(system, port)
    system.engine.run("kill", system.container("backup"))
    since = now()
    system.engine.run("start", system.container("backup"))
    until_answering(port)
    until(lambda: state_of(port, run) == "CRASHED", "crashed run", 60)
    wait_for_line(system, "backup", "Backup completed successfully", 300, since=since)
    assert httpx.get(url(port, "/health"), timeout=30).status_code == 200


def test_the_log_names_the_address_of_the_ui(system: System, port: int) -> None:
    """The log shows the port that the compose file publishes, whichever was chosen."""
    assert any(line.endswith(f"Prefect UI: http://localhost:{port}, user admin") for line in system.log("backup"))


def test_every_line_is_a_log_line(system: System) -> None:
    """Everything the container printed above has the specified log format and contains no secret."""
    lines = system.log("backup")
    assert [line for line in lines if not LINE.match(line)] == []
    for secret in ("change-me", "change-me-too", UI_PASSWORD):
        assert not any(secret in line for line in lines)


def until_answering(port: int) -> None:
    def answers() -> bool:
        try:
            return httpx.get(url(port, "/health"), timeout=10).status_code in (200, 503)
        except httpx.HTTPError:
            return False

    until(answers, "answer", 120)
