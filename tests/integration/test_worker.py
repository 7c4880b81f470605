"""A Prefect worker runs deployments on schedule and on demand, many plans at once, and catches up on missed runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.schedules import Interval
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from blocks.config.plan import Plan
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.services import Storage, running_prefect
from flows.deployments import ONE_AT_A_TIME, deployments_of
from tasks.backup import DUMP_TAG
from tasks.clock import utc_now
from tasks.engine.repository.repository import Repository
from tasks.engine.wording import iso
from tasks.plans import save_plan
from tests.conftest import NewDatabase, command_environment
from tests.plans import block_of
from tests.processes import children_of, ended, name_of

ROOT = Path(__file__).parents[2]
TABLE = "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n"
PLANS, DUMPS_AT_ONCE, RUNS_OF_A_WORKER = 20, 3, 4


@pytest.fixture(scope="module")
def api(server_of: Callable[[int], Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server that keeps its records in PostgreSQL, as one for many workers does."""
    server = server_of(15)  # the one with the extension that Prefect needs
    with server.connect() as connection:
        connection.execute("CREATE DATABASE {}", "prefect")
    p = server.on("prefect").parameters()
    host, password = quote(p["host"], safe=""), quote(p["password"], safe="")
    settings = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{p['user']}:{password}@{host}:{p['port']}/prefect",
        # A run that finds its deployment busy waits half a minute.
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
    }
    with (
        running_prefect(tmp_path_factory.mktemp("prefect"), settings) as url,
        temporary_settings({PREFECT_API_URL: url}),
    ):
        yield url
    with server.connect() as connection:
        connection.execute("DROP DATABASE {} WITH (FORCE)", "prefect")


class Workplace:
    """A work pool, its workers, and commands run by hand next to them."""

    def __init__(self, pool: str, environ: dict[str, str], folder: Path) -> None:
        self.pool, self.environ, self.folder = pool, environ, folder
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def prefect(self, *arguments: str, cwd: Path = ROOT) -> str:
        command = [sys.executable, "-m", "prefect", *arguments]
        done = subprocess.run(command, env=self.environ, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker in a folder that has nothing of ours."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", self.pool, *options]
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(command, env=self.environ, cwd=self.folder, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker


@pytest.fixture
def workplace(
    api: str, storage_server: Storage, storage: ObjectStore, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Workplace]:
    pool = f"pool-{request.node.name.replace('_', '-')[:40]}"
    ask(lambda client: client.create_work_pool(WorkPoolCreate(name=pool, type="process")))
    environ = {**command_environment(storage_server, storage, api, tmp_path), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    place = Workplace(pool, environ, tmp_path)
    yield place
    for worker in place.workers:
        for child in children_of(worker.pid) if worker.poll() is None else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        worker.kill()
        worker.wait()


def ask(question: Callable[[PrefectClient], Coroutine[Any, Any, Any]]) -> Any:
    """Query the Prefect server."""

    async def go() -> Any:
        async with get_client() as client:
            return await question(client)

    return asyncio.run(go())


def runs_of(*deployments: UUID) -> list[FlowRun]:
    chosen = DeploymentFilter(id=DeploymentFilterId(any_=list(deployments)))
    found: list[FlowRun] = ask(lambda client: client.read_flow_runs(deployment_filter=chosen))
    return found


def states(runs: list[FlowRun]) -> list[str]:
    return sorted(str(run.state_name) for run in runs)


def eventually(what: Callable[[], Any], timeout_s: float = 120) -> Any:
    """Wait until something is true; fail when it never is."""
    deadline = time.monotonic() + timeout_s
    while not (seen := what()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.5)
    return seen


def dumps_held(server: Server) -> int:
    """Count the dumps waiting for a table, in any database of a server."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
    with server.connect() as connection:
        ((count,),) = connection.query(waiting)
    return int(count)


@contextmanager
def locked(*servers: Server) -> Iterator[None]:
    """Block every dump of these databases at its start."""
    with ExitStack() as stack:
        for server in servers:
            connection = stack.enter_context(server.connect(own_names=True))
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.mark.long
@pytest.mark.parametrize("tag", [DUMP_TAG, f"{DUMP_TAG}-127.0.0.1"], ids=["anywhere", "of one server"])
def test_twenty_plans_on_two_workers(
    tag: str,
    workplace: Workplace,
    new_database: NewDatabase,
    storage: ObjectStore,
    storage_server: Storage,
) -> None:
    """Every plan's database is backed up to its own folder, and no more dumps run at once than each limit allows."""
    template = new_database(16, TABLE)
    ask(lambda client: client.create_global_concurrency_limit(
        GlobalConcurrencyLimitCreate(name=f"tag:{tag}", limit=DUMPS_AT_ONCE)))  # fmt: skip
    plans: dict[str, Plan] = {}
    for name in (f"{'any' if tag == DUMP_TAG else 'one'}-{number}" for number in range(PLANS)):
        block = block_of(storage_server, f"{storage.folder}/{name}", new_database(16, TABLE))
        save_plan(name, block)
        plans[name] = block.plan(name)

    async def go() -> list[UUID]:
        made = [(await deployments_of(name, plan, ["backup"], pool=workplace.pool))[0] for name, plan in plans.items()]
        deployments = [UUID(str(await deployment.aapply())) for deployment in made]
        async with get_client() as client:
            for deployment in deployments:
                await client.create_flow_run_from_deployment(deployment)
        return deployments

    deployments = asyncio.run(go())
    # Blocked at their start, so that one dump too many would be seen.
    with locked(*(plan.source for plan in plans.values())):
        for _ in range(2):
            workplace.start_worker("--limit", str(RUNS_OF_A_WORKER))
        eventually(lambda: states(runs_of(*deployments)).count("Running") == 2 * RUNS_OF_A_WORKER)
        eventually(lambda: dumps_held(template) == DUMPS_AT_ONCE)
        seen = set()
        for _ in range(50):
            seen.add(dumps_held(template))
            time.sleep(0.2)
    assert seen == {DUMPS_AT_ONCE}
    eventually(
        lambda: states([r for r in runs_of(*deployments) if r.state and r.state.is_final()]) == ["Completed"] * PLANS,
        300,
    )
    for name, plan in plans.items():
        (backup,) = Repository(plan.storage).backups()
        manifest = Repository(plan.storage).manifest(backup)
        assert manifest
        assert (manifest.plan, manifest.database, manifest.rows) == (name, plan.source.database, 1000)
    ask(lambda client: client.delete_global_concurrency_limit_by_name(f"tag:{tag}"))


@pytest.mark.long
def test_only_the_newest_missed_slot_runs(
    workplace: Workplace, new_database: NewDatabase, storage_server: Storage, storage: ObjectStore
) -> None:
    """After a time without workers one backup is made, and each older slot ends as Skipped and says why."""
    save_plan("missed", block_of(storage_server, storage.folder, new_database(16, TABLE)))

    async def deploy(seconds: int) -> UUID:
        deployment = await backup.ato_deployment(
            "missed",
            schedule=Interval(seconds, anchor_date=utc_now() + timedelta(seconds=seconds)),
            concurrency_limit=ONE_AT_A_TIME,
            parameters={"plan": "missed"},
            work_pool_name=workplace.pool,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        return UUID(str(await deployment.aapply()))

    deployment = asyncio.run(deploy(2))
    eventually(lambda: len(due(runs_of(deployment))) >= 4)
    asyncio.run(deploy(86400))  # keeps the slots due by now, removes the later ones
    missed = due(runs_of(deployment))
    workplace.start_worker()
    eventually(lambda: all(run.state and run.state.is_final() for run in due(runs_of(deployment))), timeout_s=300)
    *older, newest = sorted(due(runs_of(deployment)), key=lambda run: str(run.expected_start_time))
    assert len(older) + 1 >= len(missed) >= 4
    assert states(older) == ["Skipped"] * len(older)
    assert newest.state_name == "Completed"
    assert older[0].state
    assert f"the run that was due at {iso(newest.expected_start_time)} replaces it" in str(older[0].state.message)  # type: ignore[arg-type]
    assert len(Repository(storage).backups()) == 1


def due(runs: list[FlowRun]) -> list[FlowRun]:
    """Return the runs of a schedule that are due."""
    return [
        run for run in runs if run.auto_scheduled and run.expected_start_time and run.expected_start_time <= utc_now()
    ]


def test_a_worker_runs_the_deployments_of_prefect_yaml(
    workplace: Workplace, new_database: NewDatabase, storage: ObjectStore, tmp_path: Path
) -> None:
    """After `prefect deploy --all` with a schedule and a pool, backups run on schedule and prunes on demand."""
    workplace.environ["DATABASE_URL"] = new_database(16, TABLE).url.get_secret_value()
    written = (ROOT / "prefect.yaml").read_text()
    for there, instead in (
        ("interval: 3600", 'cron: "* * * * *"'),
        ("name: pg-roundtrip}", f"name: {workplace.pool}}}"),
    ):
        assert there in written
        written = written.replace(there, instead)
    (tmp_path / "prefect.yaml").write_text(written)
    workplace.prefect("--no-prompt", "deploy", "--all", cwd=tmp_path)
    workplace.start_worker()
    workplace.prefect("deployment", "run", "prune/default", "-p", "dry_run=true", "--watch")
    (backup_now, *_) = eventually(lambda: Repository(storage).backups())
    deployment = ask(lambda client: client.read_deployment_by_name("backup/default"))
    (run, *_) = eventually(lambda: [r for r in runs_of(deployment.id) if r.state_name == "Completed"])
    assert run.auto_scheduled
    assert run.name == f"backup-default-{run.expected_start_time:%Y%m%dT%H%M%SZ}"
    assert f"Backup completed successfully: {backup_now.key}" in workplace.log


def test_a_worker_that_is_told_to_stop_leaves_nothing(
    workplace: Workplace, new_database: NewDatabase, storage_server: Storage, storage: ObjectStore
) -> None:
    """Stopped in mid-dump it leaves no process or object; the next worker continues once the run is marked Crashed.

    Prefect's worker ends its runs without telling the server, which believes they are still running. It kills them before
    they can clean up: the claim of the backup's name stays until a sweep a day later.
    """
    server = new_database(16, TABLE)
    save_plan("stopped", block := block_of(storage_server, storage.folder, server))
    plan = block.plan("stopped")

    async def deploy() -> UUID:
        (deployment,) = await deployments_of("stopped", plan, ["backup"], pool=workplace.pool)
        return UUID(str(await deployment.aapply()))

    deployment = asyncio.run(deploy())
    worker = workplace.start_worker()
    with locked(server):
        ask(lambda client: client.create_flow_run_from_deployment(deployment))
        eventually(lambda: dumps_held(server) == 1)
        children = children_of(worker.pid)
        assert "pg_dump" in {name_of(child) for child in children}
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        eventually(lambda: all(ended(child) for child in children), 15)
    assert not list(storage.list_objects())
    assert len(storage.list_uploads(timedelta(0), utc_now() + timedelta(minutes=1))) <= 1
    (stopped,) = [run for run in runs_of(deployment) if run.state_name == "Running"]
    ask(lambda client: client.set_flow_run_state(stopped.id, Crashed(message="The worker was stopped."), force=True))
    workplace.start_worker()
    ask(lambda client: client.create_flow_run_from_deployment(deployment))
    eventually(lambda: "Completed" in states(runs_of(deployment)))
    assert len(Repository(storage).backups()) == 1
