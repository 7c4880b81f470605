"""Start `pg-roundtrip serve` as a platform does, and observe it from outside: its log, port and Prefect server."""

from __future__ import annotations

import base64
import gzip
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from flows.demo.services import free_ports

START_S = 150  # allows for a busy machine
# `prefect server database upgrade` with 3.9.1 and a new PREFECT_HOME, then `gzip -9n`. A later Prefect migrates the rest.
EMPTY_HISTORY = Path(__file__).parents[1] / "data" / "empty_history.db.gz"
USER, PASSWORD = "admin", "a password: of ours"


@dataclass
class Service:
    """A service that is running or has exited."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    metrics_port: int
    password: str = PASSWORD
    begun: int = field(default=0)

    @property
    def url(self) -> str:
        """The address it listens on."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> tuple[str, str]:
        """The login for the UI and the API."""
        return USER, self.password

    def lines(self) -> list[str]:
        """Return the log lines of the service and its runs."""
        return self.log.read_text(errors="replace")[self.begun :].splitlines()

    def said(self, text: str) -> bool:
        """Return whether a log line contains this."""
        return any(text in line for line in self.lines())

    def count(self, text: str) -> int:
        """Return how many log lines contain this."""
        return sum(text in line for line in self.lines())

    def await_line(self, text: str, timeout_s: float = START_S) -> str:
        """Wait for a log line and return it; fail when the service exits first."""
        return str(self.wait(lambda: next((line for line in self.lines() if text in line), ""), text, timeout_s))

    def wait(self, look: Callable[[], Any], what: str, timeout_s: float = START_S) -> Any:
        """Wait until a check returns something."""
        deadline = time.monotonic() + timeout_s
        while not (seen := _seen(look)):
            assert self.process.poll() is None, "\n".join(["it exited:", *self.lines()[-30:]])
            assert time.monotonic() < deadline, "\n".join([f"not seen: {what}", *self.lines()[-30:]])
            time.sleep(0.2)
        return seen

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Make an unauthenticated request."""
        return httpx.get(self.url + path, timeout=20, **options)

    def answers(self) -> bool:
        """Return whether it accepts connections."""
        try:
            return self.get("/health").status_code in (200, 503)
        except httpx.HTTPError:
            return False

    def runs(self, flow: str, **query: Any) -> list[dict[str, Any]]:
        """Return a flow's runs from Prefect's API, newest first."""
        wanted = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", **query}
        answer = httpx.post(f"{self.url}/api/flow_runs/filter", json=wanted, auth=self.login, timeout=20)
        answer.raise_for_status()
        return list(answer.json())

    def states(self, flow: str) -> list[str]:
        """Return the state names of a flow's runs."""
        return [str(run["state_name"]) for run in self.runs(flow)]

    def start(self, flow: str) -> None:
        """Start a run as somebody does in the UI."""
        found = self.get(f"/api/deployments/name/{flow}/default", auth=self.login).raise_for_status().json()
        path = f"{self.url}/api/deployments/{found['id']}/create_flow_run"
        httpx.post(path, json={}, auth=self.login, timeout=20).raise_for_status()

    def clients(self) -> dict[str, str]:
        """Return the environment that Prefect's own programs need to use it."""
        return {"PREFECT_API_URL": f"{self.url}/api", "PREFECT_API_AUTH_STRING": ":".join(self.login)}

    def header(self) -> str:
        """Return the login as the header a browser sends."""
        return "Basic " + base64.b64encode(":".join(self.login).encode()).decode()


@contextmanager
def running_service(
    environ: Mapping[str, str], folder: Path, *, within: Sequence[str] = (), **changes: str
) -> Iterator[Service]:
    """Run a service while the context lasts; variables set to an empty string are left out.

    `within` is a command that becomes the service, which it is given as arguments. Unless PREFECT_HOME is another folder
    than `prefect`, it finds an empty history there, because making one takes ten seconds.
    """
    port, metrics_port = free_ports(2)
    given = {
        **environ, "PORT": str(port), "METRICS_ENABLED": "true", "METRICS_PORT": str(metrics_port), "UI_PASSWORD": PASSWORD,
        "PREFECT_API_URL": "", "VERIFY_TARGET": "sandbox", **changes,
    }  # fmt: skip
    kept = {name: value for name, value in given.items() if value != ""}
    if kept["PREFECT_HOME"] == str(folder / "prefect"):
        give_history(folder / "prefect")
    log = folder / "service.log"
    begun = log.stat().st_size if log.exists() else 0
    with log.open("ab") as console:
        command = [*within, str(Path(sys.prefix) / "bin" / "pg-roundtrip"), "serve"]
        process = subprocess.Popen(command, env=kept, cwd=folder, stdout=console, stderr=subprocess.STDOUT)
    try:
        yield Service(process, log, port, metrics_port, begun=begun)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def give_history(home: Path) -> None:
    """Put an empty history into a PREFECT_HOME that is not there yet."""
    if not home.exists():
        home.mkdir()
        (home / "prefect.db").write_bytes(gzip.decompress(EMPTY_HISTORY.read_bytes()))


def _seen(look: Callable[[], Any]) -> Any:
    """Return a check's result; nothing while the service isn't listening yet."""
    try:
        return look()
    except httpx.TransportError:
        return None
