"""Run Debian's Prometheus and promtool: what monitoring does with our metrics and rules, not what we think it does."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.demo.services import free_ports

_BIN = Path("/usr/bin")
_START_S = 60


def promtool(*arguments: str, stdin: bytes = b"") -> str:
    """Run promtool; return what it complains about, empty if nothing."""
    command = [_program("promtool"), *arguments]
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode()
    # `check metrics` prints what it finds odd, and ends well.
    return said if done.returncode or "SUCCESS" not in said else ""


def _program(name: str) -> str:
    if not (_BIN / name).exists():
        pytest.fail(f"{_BIN / name} is not installed; `make setup-dev` installs it")
    return str(_BIN / name)


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that scrapes one service every second."""

    url: str

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the samples of a query; fail with Prometheus's message if it is refused."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=30)
        assert answer.status_code == 200, f"{query}: {answer.text}"
        return list(answer.json()["data"]["result"])

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return the loaded alert rules by name."""
        groups = httpx.get(f"{self.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def await_(self, query: str) -> None:
        """Wait until a query has a sample."""
        deadline = time.monotonic() + _START_S
        while not self._has(query):
            assert time.monotonic() < deadline, f"Prometheus has no {query}"
            time.sleep(0.2)

    def _has(self, query: str) -> bool:
        try:
            return bool(self.ask(query))
        except httpx.TransportError:
            return False


@contextmanager
def scraping(target: str, folder: Path, rules: Path) -> Iterator[Prometheus]:
    """Run a Prometheus on a free port while the context lasts."""
    config = folder / "prometheus.json"  # JSON is YAML
    config.write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "pg-roundtrip", "static_configs": [{"targets": [target]}]}],
    }))  # fmt: skip
    (port,) = free_ports(1)
    command = [_program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as process:
        try:
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
