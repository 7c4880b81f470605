"""Measure a fleet: hundreds of plans, a few workers and one Prefect server: `python -m tests.bench.fleet [--plans N]`.

Every plan's backup is due once in the measured time, at a moment of its own. How late do they begin, how many fit into
a minute, and what does Prefect's server need for that?
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import quote, urlsplit

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterExpectedStartTime
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.config.environment import full_environment
from blocks.sql.server import Server
from flows.demo.services import Storage, free_ports, running_prefect, running_storage
from tasks.backup import DUMP_TAG
from tasks.clock import utc_now
from tasks.engine.servers.sandbox import running_server
from tests.bench.measure import BenchFailed
from tests.bench.stage import choose_client

_TABLE = "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 10000) n"
_POOL = "fleet"
_PAGE = 200


@dataclass(frozen=True)
class Size:
    """How large the fleet is, and how much of it may run at once."""

    plans: int
    workers: int
    runs_of_a_worker: int
    dumps_at_once: int
    minutes: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("plans", 200), ("workers", 4), ("runs-of-a-worker", 2), ("dumps-at-once", 2), ("minutes", 30)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    size = Size(**vars(parser.parse_args(argv)))
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pg-roundtrip-fleet-")))
        storage = stack.enter_context(running_storage())
        server = stack.enter_context(
            running_server(choose_client(15), port=free_ports(1)[0], settings={"max_connections": "300"})
        )
        _create_databases(server, size.plans)
        api = stack.enter_context(_prefect(server, home))
        stack.enter_context(temporary_settings({PREFECT_API_URL: api}))
        _measure(size, server, storage, api, home)
    return 0


def _create_databases(server: Server, count: int) -> None:
    with server.connect() as connection:
        connection.execute("CREATE DATABASE prefect")
        connection.execute("CREATE DATABASE shop_0")
        with server.on("shop_0").connect(own_names=True) as shop:
            shop.execute(_TABLE)
        for number in range(1, count):
            connection.execute("CREATE DATABASE {} TEMPLATE shop_0", f"shop_{number}")


@contextmanager
def _prefect(server: Server, home: Path) -> Iterator[str]:
    """Run a Prefect server on PostgreSQL, as one for many workers has to."""
    p = server.parameters()
    url = f"postgresql+asyncpg://{p['user']}:{quote(p['password'], safe='')}@{p['host']}:{p['port']}/prefect"
    folder = home / "prefect"
    folder.mkdir()
    with running_prefect(folder, {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url}) as api:
        yield api


def _measure(size: Size, server: Server, storage: Storage, api: str, home: Path) -> None:
    asyncio.run(_make_limits(size))
    environ = full_environment() | {
        "PREFECT_API_URL": api, "PREFECT_HOME": str(home / "workers"), "FLEET_KEY": storage.secret,
        "FLEET_URL": server.url.get_secret_value(),
    }  # fmt: skip
    for number in range(size.plans):
        environ[f"SHOP_{number}_URL"] = server.on(f"shop_{number}").url.get_secret_value()
    print(f"{size.plans} plans, {size.workers} workers with {size.runs_of_a_worker} runs each, {size.dumps_at_once} dumps at once, "
          f"{size.minutes} min, {len(os.sched_getaffinity(0))} cores")  # fmt: skip
    file = _file(size, storage, home)
    for what in ("import", "second import"):
        begun = time.monotonic()
        _pg_roundtrip(["plan", "import", str(file), "--yes"], environ)
        print(f"{what}: {time.monotonic() - begun:.0f} s")
    _run_workers(size, environ, home, _server_of(api))


def _file(size: Size, storage: Storage, home: Path) -> Path:
    file = home / "plans.yaml"
    seconds = size.minutes * 60
    file.write_text(f"""
defaults:
  pool: {_POOL}
  S3_ENDPOINT: {storage.endpoint}
  S3_BUCKET: {storage.bucket}
  S3_ACCESS_KEY_ID: {storage.key_id}
  S3_SECRET_ACCESS_KEY: {{env: FLEET_KEY}}
  BACKUP_PREFIX: fleet/{{plan}}
  BACKUP_INTERVAL: {seconds}
  VERIFY_INTERVAL: 864000
  DATABASE_URL: {{env: "{{PLAN}}_URL"}}
plans:
{chr(10).join(f"  shop-{number}:" for number in range(size.plans))}
""")
    return file


def _pg_roundtrip(arguments: Sequence[str], environ: dict[str, str]) -> None:
    command = [str(Path(sys.prefix) / "bin" / "pg-roundtrip"), *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailed(done.stdout + done.stderr)


async def _make_limits(size: Size) -> None:
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=_POOL, type="process"))
        await client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name=f"tag:{DUMP_TAG}", limit=size.dumps_at_once)
        )


def _server_of(api: str) -> psutil.Process:
    """Find the process of a Prefect server by its port."""
    port = str(urlsplit(api).port)
    return next(p for p in psutil.process_iter() if p.pid != os.getpid() and port in p.cmdline())


def _run_workers(size: Size, environ: dict[str, str], home: Path, prefect: psutil.Process) -> None:
    command = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        _POOL,
        "--limit",
        str(size.runs_of_a_worker),
    ]
    with (home / "worker.log").open("wb") as log:
        workers = [
            subprocess.Popen(command, env=environ, cwd=home, stdout=log, stderr=log) for _ in range(size.workers)
        ]
        try:
            begun, before = utc_now(), prefect.cpu_times()
            time.sleep(size.minutes * 60)
            ended, after = utc_now(), prefect.cpu_times()
            used = [psutil.Process(worker.pid).cpu_times() for worker in workers]
            runs = asyncio.run(_backups(begun, ended))
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                _ended(worker)
    seconds = size.minutes * 60
    _print_lateness(runs, ended, size)
    server_s = after.user + after.system - before.user - before.system
    worker_s = sum(one.user + one.system + one.children_user + one.children_system for one in used)
    print(f"CPU of Prefect's server: {100 * server_s / seconds:.0f} % of a core, {prefect.memory_info().rss >> 20} MiB")
    print(f"CPU of the workers and their runs: {100 * worker_s / seconds:.0f} % of a core")


def _ended(worker: subprocess.Popen[bytes]) -> None:
    """Wait for a worker to end; in a shell's background it inherits to ignore what Prefect ends it with."""
    try:
        worker.wait(60)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(worker.pid).children(recursive=True):
            child.kill()
        worker.kill()
        worker.wait()


async def _backups(begun: datetime, ended: datetime) -> list[FlowRun]:
    """Return the runs of backups that were due in the measured time."""
    due = FlowRunFilter(expected_start_time=FlowRunFilterExpectedStartTime(after_=begun, before_=ended))
    backups, found = FlowFilter(name=FlowFilterName(any_=["backup"])), list[FlowRun]()
    async with get_client() as client:
        while page := await client.read_flow_runs(
            flow_filter=backups, flow_run_filter=due, limit=_PAGE, offset=len(found)
        ):
            found += page
    return found


def _print_lateness(runs: Sequence[FlowRun], ended: datetime, size: Size) -> None:
    states = sorted({str(run.state_name) for run in runs})
    print(f"runs due: {len(runs)}; " + ", ".join(f"{sum(r.state_name == s for r in runs)} {s}" for s in states))
    late = [(run.start_time - run.expected_start_time).total_seconds()
            for run in runs if run.start_time and run.expected_start_time]  # fmt: skip
    took = [(run.end_time - run.start_time).total_seconds() for run in runs if run.end_time and run.start_time]
    done = [run for run in runs if run.end_time and run.end_time <= ended]
    print(f"done: {len(done) / size.minutes:.1f} a minute")
    print(
        f"seconds late: median {median(late):.1f}, 95 % under {quantiles(late, n=20)[-1]:.1f}, at most {max(late):.1f}"
    )
    print(f"seconds a run took: median {median(took):.1f}, at most {max(took):.1f}")


if __name__ == "__main__":
    sys.exit(main())
