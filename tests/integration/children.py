"""Run flows as a worker or a runner does: in a process that imports Prefect first, then the flow it is to run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types.entrypoint import EntrypointType

from flows.backup import backup
from flows.restore_drill import restore_drill

FLOWS = {flow.name: flow for flow in (backup, restore_drill)}


def schedule_run(api: str, flow: str, pool: str | None = None) -> UUID:
    """Create a deployment of a flow, and schedule a run of it for now."""

    async def schedule() -> UUID:
        made = await FLOWS[flow].ato_deployment(
            "on demand", work_pool_name=pool, entrypoint_type=EntrypointType.MODULE_PATH
        )
        async with get_client() as client:
            return (await client.create_flow_run_from_deployment(await made.aapply())).id

    with temporary_settings({PREFECT_API_URL: api}):
        return asyncio.run(schedule())


@dataclass
class Children:
    """Processes that each execute one run, and their console output."""

    api: str
    environ: Mapping[str, str]
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, flow: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a process for one run of a flow; its machine's time zone is not UTC."""
        given = {
            **self.environ,
            **environ,
            "PREFECT__FLOW_RUN_ID": str(schedule_run(self.api, flow)),
            "TZ": "Asia/Tokyo",
        }
        console = self._console(len(self.started)).open("wb")
        with console:
            command = [sys.executable, "-m", "prefect.engine"]
            self.started.append(
                subprocess.Popen(command, env=given, cwd=self.folder, stdout=console, stderr=subprocess.STDOUT)
            )
        return self.started[-1]

    def lines(self, process: subprocess.Popen[bytes]) -> list[str]:
        """Return the output lines of a process."""
        return self._console(self.started.index(process)).read_text().splitlines()

    def _console(self, number: int) -> Path:
        return self.folder / f"console-{number}"

    def end(self) -> None:
        """Kill the processes still running."""
        for process in self.started:
            process.kill()
            process.wait()
