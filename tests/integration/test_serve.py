"""One service runs everything by itself: its runs start on time, its port is protected, and what it reports is true."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from blocks.sql.server import Server
from flows.demo.services import Storage
from tasks.engine.wording import tool_version
from tests.conftest import command_environment
from tests.integration.objects import LIBRARY
from tests.integration.services import Service, running_service
from tests.prometheus import scraping

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR): \S.*")
PREFIX = "served"


@pytest.fixture(scope="module")
def database(server_of: Callable[[int], Server]) -> Iterator[Server]:
    """A database for all tests here."""
    server = server_of(16)
    with server.connect() as connection:
        connection.execute("CREATE DATABASE {}", "served")
    with server.on("served").connect(own_names=True) as connection:
        connection.execute(LIBRARY)
    yield server.on("served")
    with server.connect() as connection:
        connection.execute("DROP DATABASE {} WITH (FORCE)", "served")


@pytest.fixture(scope="module")
def schedule() -> str:
    """A drill every five minutes, the first in at least three: one without any backup yet logs an error."""
    return f"{(datetime.now(UTC).minute + 4) % 5}-59/5 * * * *"


@pytest.fixture(scope="module")
def service(
    database: Server, storage_server: Storage, schedule: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service with the shortest schedules: backups by an interval, drills by cron, and a generated password."""
    home = tmp_path_factory.mktemp("service")
    environ = command_environment(storage_server, storage_server.store(PREFIX), "", home)
    url = database.url.get_secret_value()
    with running_service(
        environ, home, DATABASE_URL=f"{url}{'&' if '?' in url else '?'}pgbouncer=true", BACKUP_INTERVAL="60",
        PREFECT_HOME=str(home / "new"), VERIFY_SCHEDULE=schedule, UI_PASSWORD="", TZ="Asia/Tokyo",
    ) as running:  # fmt: skip
        line = running.await_line("Password, generated for this start because UI_PASSWORD is not set: ")
        running.password = line.rpartition(" ")[2]
        running.await_line("Backup completed successfully")
        yield running


def test_what_it_says_when_it_starts(
    service: Service, schedule: str, database: Server, storage_server: Storage
) -> None:
    """The specified start-up block, in order; the only secret in it is the generated password."""
    said = [line.partition("Z INFO: ")[2] for line in service.lines()]
    address = f"127.0.0.1:{database.parameters()['port']}/served"
    assert said[:9] == [
        "Backup service started",
        f"Target database: {address}",
        f"S3 endpoint: {storage_server.endpoint}",
        f"S3 bucket: {storage_server.bucket}/{PREFIX}",
        "Backup interval: 60s",
        "Backup retention: 7 days",
        f"Verify schedule: {schedule} (Asia/Tokyo)",
        f"Prefect UI: http://localhost:{service.port}, user admin",
        f"Password, generated for this start because UI_PASSWORD is not set: {service.password}",
    ]
    assert len(service.password) >= 16
    text = service.log.read_text()
    assert text.count(service.password) == 1
    assert storage_server.secret not in text
    assert str(database.parameters()["password"]) not in text


def test_strangers_stay_outside(service: Service) -> None:
    """The UI and the API show nothing without the login, and a browser prompts for it."""
    for path in ("/", "/runs", "/api/health", "/api/admin/version", "/api/flow_runs/filter", "/ui-settings"):
        answer = service.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert service.get(path, auth=("admin", "wrong")).status_code == 401
        assert service.get(path, auth=("", service.password)).status_code == 401
    assert service.get("/api/health", auth=service.login).json() is True
    assert "<html" in service.get("/", auth=service.login, follow_redirects=True).text


def test_other_sites_cannot_use_a_browsers_login(service: Service) -> None:
    """A page on another site can make a browser send its login, but can't change anything."""
    for said in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        answer = httpx.post(
            f"{service.url}/api/flows/", content='{"name": "evil"}', auth=service.login,
            headers={"Content-Type": "text/plain", **said},
        )  # fmt: skip
        assert answer.status_code == 401
        with pytest.raises(InvalidStatus):
            _socket(service, {"Authorization": service.header(), **said})
    ours = {"Origin": service.url, "Sec-Fetch-Site": "same-origin"}
    assert httpx.post(f"{service.url}/api/flows/filter", json={}, auth=service.login, headers=ours).status_code == 200


def _socket(service: Service, headers: dict[str, str], token: str | None = None) -> str:
    """Connect as an event subscriber does; return the server's answer to the login."""
    url = f"ws://127.0.0.1:{service.port}/api/events/out"
    with connect(url, additional_headers=headers, subprotocols=["prefect"]) as socket:  # type: ignore[list-item]
        socket.send(json.dumps({"type": "auth", "token": token}))
        return str(json.loads(socket.recv(timeout=10))["type"])


def test_web_sockets_want_the_login_too(service: Service) -> None:
    """Web sockets need the login, in a browser's header or a Prefect client's first message, and else stay silent."""
    assert _socket(service, {"Authorization": service.header()}) == "auth_success"
    assert _socket(service, {}, token=":".join(service.login)) == "auth_success"
    for token in (None, "", "admin:wrong", service.password, "\ud800"):
        with pytest.raises(ConnectionClosed):
            _socket(service, {}, token=token)
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{service.port}/api/events/out"):
        pass


def test_health_is_for_everybody(service: Service) -> None:
    """/health answers without a login over IPv4 and IPv6, and reveals no addresses."""
    for host in ("127.0.0.1", "[::1]") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
        answer = httpx.get(f"http://{host}:{service.port}/health", timeout=20)
        assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["status"], found["reason"]) == ("healthy", "")
    assert (found["database"], found["storage"], found["backups"]) == ("ok", "ok", "ok")
    assert datetime.fromisoformat(found["newest_backup"])
    assert "127.0.0.1" not in answer.text


def test_the_status_page_answers_behind_the_login(service: Service) -> None:
    """A browser gets the answer first, from the bucket, and finds the history; nobody does without the login."""
    browser = {"Accept": "text/html,*/*"}
    assert service.get("/status").status_code == 401
    assert service.get("/", headers=browser).status_code == 401
    first = service.get("/", headers=browser, auth=service.login)
    assert (first.status_code, first.headers["location"]) == (303, "/status")
    answer = service.get("/status", auth=service.login)
    assert answer.status_code == 200
    assert re.search(r"<title>(Fine|Attention): ", answer.text)
    assert 'href="/dashboard"' in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert "127.0.0.1" not in answer.text
    assert "<html" in service.get("/dashboard", headers=browser, auth=service.login).text


def test_metrics_say_what_the_bucket_says(service: Service, storage_server: Storage) -> None:
    """Metrics report the newest backup and drill in the bucket, on both ports; the second port serves nothing else."""
    service.wait(lambda: 'verdict="PROVEN"} 1.0' in service.get("/metrics").text, "a PROVEN drill in the metrics")
    storage = storage_server.store(PREFIX)
    newest = max(o.key for o in storage.list_objects() if o.key.endswith(".manifest.json"))
    page = service.get("/metrics").text
    assert (
        f'pg_roundtrip_backup_size_bytes{{plan="default"}} {float(json.loads(storage.get(newest))["object_bytes"])}'
        in page
    )
    assert 'pg_roundtrip_backup_rows{plan="default"} 320.0' in page
    assert 'pg_roundtrip_next_run_timestamp_seconds{flow="backup",plan="default"}' in page
    assert float(_value(page, 'pg_roundtrip_drill_restore_seconds{plan="default"}')) > 0
    assert (
        abs(time.time() - float(_value(page, 'pg_roundtrip_backup_last_success_timestamp_seconds{plan="default"}')))
        < 600
    )
    own = f"http://127.0.0.1:{service.metrics_port}"
    assert "pg_roundtrip_backup_rows" in httpx.get(f"{own}/metrics", timeout=20).text
    assert httpx.get(f"{own}/api/health").status_code == 404


def _value(page: str, name: str) -> str:
    return next(line for line in page.splitlines() if line.startswith(name)).rpartition(" ")[2]


def test_prometheus_takes_the_metrics_the_rules_and_the_dashboard(service: Service, tmp_path: Path) -> None:
    """Every query of the dashboard has an answer over the real metrics, every rule can be evaluated, and all is quiet."""
    board = json.loads((MONITORING / "grafana.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) > 10
    with scraping(f"127.0.0.1:{service.port}", tmp_path, MONITORING / "alerts.yml") as prometheus:
        prometheus.await_('pg_roundtrip_drill_verdict{verdict="PROVEN"} == 1')
        prometheus.await_("count_over_time(pg_roundtrip_failed_logins_total[1m]) > 1")
        for query in queries:
            found = prometheus.ask(query.replace("$plan", ".*"))
            # A service without trouble has no failed runs, and this one has neither copies nor encryption.
            assert found or re.search("_failed_runs|_place_|_key_check_", query), query
            assert len({json.dumps(each["metric"]) for each in found}) == len(found)
        prometheus.await_("ALERTS or on () vector(1)")
        rules = prometheus.rules()
        assert {name: rule["lastError"] for name, rule in rules.items() if rule.get("lastError")} == {}
        assert [name for name, rule in rules.items() if rule["state"] == "firing"] == []


def test_its_deployments_and_blocks(service: Service, schedule: str) -> None:
    """Four deployments, two of them scheduled, each running one at a time; the plan is a block with masked secrets.

    Their name is the plan's, so in the UI their flows, descriptions and tags tell them apart.
    """
    answer = httpx.post(f"{service.url}/api/deployments/filter", json={}, auth=service.login).json()
    found = {d["entrypoint"].rpartition(".")[2]: d for d in answer}
    assert set(found) == {"backup", "prune", "restore_drill", "restore"}
    assert {d["name"] for d in answer} == {"default"}
    assert all(d["global_concurrency_limit"]["limit"] == 1 and "pg-roundtrip" in d["tags"] for d in answer)
    assert len({d["description"] for d in answer}) == len({d["flow_id"] for d in answer}) == len(answer)
    assert all(set(d["tags"]) == {"pg-roundtrip", "default", flow.replace("_", "-")} for flow, d in found.items())
    assert {d["version"] for d in answer} == {tool_version()}
    assert found["backup"]["schedules"][0]["schedule"]["interval"] == 60
    cron = found["restore_drill"]["schedules"][0]["schedule"]
    assert (cron["cron"], cron["timezone"]) == (schedule, "Asia/Tokyo")
    assert (found["prune"]["schedules"], found["restore"]["schedules"]) == ([], [])
    blocks = httpx.post(f"{service.url}/api/block_documents/filter", json={}, auth=service.login).json()
    assert "default" in {b["name"] for b in blocks if b["block_type"]["slug"] == "pg-roundtrip-plan"}


def test_prefects_own_command_starts_a_run(service: Service, tmp_path: Path) -> None:
    """`prefect deployment run prune/default` works from any machine that has the address and the login."""
    command = [sys.executable, "-m", "prefect", "deployment", "run", "prune/default", "-p", "dry_run=true", "--watch"]
    environ = {**service.clients(), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=180, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert service.states("prune")[0] == "Completed"


def test_an_interval_fires_by_itself(service: Service) -> None:
    """The second backup runs without being requested; its run is named after its scheduled slot."""
    run = service.wait(lambda: _by_itself(service, "backup"), "a backup by the schedule")
    assert re.fullmatch(r"backup-default-\d{8}T\d{6}Z", run["name"])
    assert any(re.fullmatch(r"\S+Z INFO: Next backup in \d+s", line) for line in service.lines())


@pytest.mark.long
def test_a_cron_expression_fires_by_itself(service: Service, schedule: str) -> None:
    """A drill starts at a time matching the expression, and proves the newest backup."""
    run = service.wait(lambda: _by_itself(service, "restore-drill"), "a drill by the schedule", timeout_s=420)
    assert run["state_name"] == "PROVEN"
    assert datetime.fromisoformat(run["expected_start_time"]).minute % 5 == int(schedule[0])


def _by_itself(service: Service, flow: str) -> dict[str, object] | None:
    done = (run for run in service.runs(flow) if run["auto_scheduled"] and run["state_type"] == "COMPLETED")
    return next((run for run in done if run["state_name"] != "Skipped"), None)


def test_every_line_of_its_log(service: Service) -> None:
    """The service's own lines and those of its runs have the specified format, and none is an error."""
    assert [line for line in service.lines() if not LINE.fullmatch(line)] == []
    assert [line for line in service.lines() if "Z ERROR: " in line] == []
