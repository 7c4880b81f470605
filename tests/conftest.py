"""Start real servers once a session, and give every test its own database and its own folder in a bucket."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings

import flows  # noqa: F401  (sets what Prefect reads when it is first imported)
from blocks.config.environment import child_environment
from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage, free_ports, running_prefect, running_storage
from flows.runs.final_state import result_of
from tasks.engine.servers.programs import Client, installed_clients
from tasks.engine.servers.sandbox import running_server
from tests.integration.services import give_history
from tests.plainly import run_plainly
from tests.plans import plan_of

MAJORS = (15, 16, 17, 18)
HARD_SQL = Path(__file__).parent / "data" / "hard.sql"
_numbers = itertools.count(1)

# A shell that starts us in the background ignores it, and every child inherits ignored signals.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On GitHub, and where these are set, Typer colours all output, and no word is found in coloured text.
for _name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS"):
    os.environ.pop(_name, None)
# The same examples each time, however slow the machine is; `make test-all` looks for new ones.
settings.register_profile(
    "suite", deadline=None, derandomize=os.environ.get("EXAMPLES") != "random", suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip
settings.load_profile("suite")

NewDatabase = Callable[..., Server]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing set in the developer's shell reaches a test, and no test leaves a cache in the developer's home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in list(os.environ):
        if re.match(
            r"(PG|POSTGRES_|S3_|COPY|AWS_|BACKUP_|VERIFY_|RESTORE_|DATABASE_URL|BUCKET_NAME|COMPRESSION_|SERVE_|STATUS_|UI_|METRICS_|ANOMALY_|EVIDENCE_|RPO_|RTO_|WEBHOOK_|NOTIFY_|PING_|PG_DUMP_|PRE_|POST_|ON_FAILURE_|HOOK_|AGE_|KEY_|PORT$|TZ$)",
            name,
        ):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _no_other_prefect_server() -> Iterator[None]:
    """A task that a test calls outside of a run would start a server, on a port that another test may take meanwhile."""
    with temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}):
        yield


@pytest.fixture(scope="session")
def clients() -> dict[int, Client]:
    """The client programs of every supported major version."""
    found = {c.major: c for c in installed_clients() if c.has_server}
    missing = [major for major in MAJORS if major not in found]
    assert not missing, f"PostgreSQL {missing} is not installed; `make setup-dev` installs all of {MAJORS}"
    return found


@pytest.fixture(scope="session")
def server_of(clients: dict[int, Client]) -> Iterator[Callable[[int], Server]]:
    """A function that starts the server of a major version on loopback, once, and returns it."""
    with ExitStack() as stack:
        running: dict[int, Server] = {}

        def start(major: int) -> Server:
            if major not in running:
                running[major] = stack.enter_context(running_server(clients[major], port=free_ports(1)[0]))
            return running[major]

        yield start


@pytest.fixture
def new_database(server_of: Callable[[int], Server]) -> Iterator[NewDatabase]:
    """A function that creates a database on a server, empty or from a script, and drops it after the test."""
    made: list[tuple[Server, str]] = []

    def create(major: int = 16, script: str = "", name: str | None = None) -> Server:
        server, wanted = server_of(major), name or f"test_{next(_numbers)}"
        with server.connect(own_names=True) as connection:
            connection.execute("CREATE DATABASE {}", wanted)
        made.append((server, wanted))
        if script:
            with server.on(wanted).connect(own_names=True) as connection:
                connection.execute(script.replace("{", "{{").replace("}", "}}"))
        return server.on(wanted)

    yield create
    for server, name in made:
        with server.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture
def hard_database(new_database: NewDatabase, clients: dict[int, Client]) -> Callable[[int], Server]:
    """A function that fills a database with everything that is hard to dump and compare."""

    def create(major: int) -> Server:
        server = new_database(major, name=f'hard "{next(_numbers)}" dätabase')
        with server.connect(own_names=True) as connection:
            roles = {str(row[0]) for row in connection.query("SELECT rolname FROM pg_roles")}
        lines = HARD_SQL.read_text().splitlines(keepends=True)
        script = "".join(line for line in lines if not (line.startswith("CREATE ROLE") and "reader" in roles))
        psql(clients[major], server, script)
        return server

    return create


def psql(client: Client, server: Server, script: str, *options: str) -> str:
    """Run a script with psql; fail the test when psql fails."""
    command = [client.program("psql"), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", *options]
    environ = child_environment(server.child_environment())
    done = subprocess.run(command, env=environ, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def databases_of(server: Server) -> set[str]:
    """Return the names of a server's databases."""
    with server.connect() as connection:
        return {str(row[0]) for row in connection.query("SELECT datname FROM pg_database")}


@pytest.fixture(scope="session")
def storage_server() -> Iterator[Storage]:
    """A real S3 server."""
    with running_storage() as storage:
        yield storage


@pytest.fixture
def storage(storage_server: Storage) -> ObjectStore:
    """A folder of its own in the bucket."""
    return storage_server.store(f"test/{next(_numbers)}")


@pytest.fixture
def plan_for(storage: ObjectStore) -> Callable[..., Plan]:
    """A function that makes a plan for a database, with this test's folder as its storage."""

    def make(server: Server, **fields: Any) -> Plan:
        return plan_of(storage, server, **fields)

    return make


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Prefect server; the runs of a test that asks for it are recorded there, others run plainly."""
    home = tmp_path_factory.mktemp("history") / "prefect"
    give_history(home)
    with running_prefect(home) as url:
        yield url


@pytest.fixture
def recorded_by(request: pytest.FixtureRequest) -> str:
    """The address of the server that records this test's runs; empty for plain runs."""
    return str(request.getfixturevalue("prefect_api")) if "prefect_api" in request.fixturenames else ""


@dataclass(frozen=True)
class Ended:
    """The outcome of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def command_line(
    storage_server: Storage, storage: ObjectStore, recorded_by: str, tmp_path: Path
) -> Callable[..., Ended]:
    """A function that runs `pg-roundtrip` in its own process, with this test's storage in its environment."""

    def call(*arguments: str, server: Server | None = None, timeout_s: float = 240, **environ: str) -> Ended:
        given = command_environment(storage_server, storage, recorded_by, tmp_path)
        if server:
            given["DATABASE_URL"] = server.url.get_secret_value()
        given.update(environ)
        command = [str(Path(sys.prefix) / "bin" / "pg-roundtrip"), *arguments]
        kept = {name: value for name, value in given.items() if value != ""}
        done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=timeout_s, check=False)
        return Ended(done.returncode, done.stdout, done.stderr)

    return call


def command_environment(storage_server: Storage, storage: ObjectStore, prefect_api: str, home: Path) -> dict[str, str]:
    """Return the environment for a `pg-roundtrip` that a test runs; variables set to an empty string are left out."""
    return {
        **storage_server.environment(),
        # `make coverage` also counts what runs in child processes.
        **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_PROCESS_")},
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BACKUP_PREFIX": str(storage.folder),
        **({"PREFECT_API_URL": prefect_api} if prefect_api else {}),
        "PREFECT_HOME": str(home / "prefect"),
    }


FlowRun = Callable[..., "Ran"]


@dataclass(frozen=True)
class Ran:
    """The outcome of a flow run in this process: its result or its error, and the name of its state."""

    result: Any
    error: PgRoundtripError | None
    state: str
    run_id: str


@pytest.fixture
def flow_run(
    storage_server: Storage,
    storage: ObjectStore,
    recorded_by: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> FlowRun:
    """A function that runs a flow in this process, as the command would in its own but faster.

    The plan `default` is this test's storage with the given server.
    """
    for name, value in command_environment(storage_server, storage, recorded_by, tmp_path).items():
        if name.startswith(("S3_", "BACKUP_")):
            monkeypatch.setenv(name, value)

    def call(
        flow: Any,
        server: Server | None = None,
        to: Server | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
        **parameters: Any,
    ) -> Ran:
        with monkeypatch.context() as patched, temporary_settings({PREFECT_API_URL: recorded_by or None}):
            if not recorded_by:
                run_plainly(patched)
            for name, place in (("DATABASE_URL", server), ("RESTORE_DATABASE_URL", to)):
                if place:
                    patched.setenv(name, place.url.get_secret_value())
            for name, value in environ.items():
                patched.setenv(name, value)
            state = flow(**parameters, return_state=True)
            result = result_of(state)
        assert not isinstance(result, BaseException) or isinstance(result, PgRoundtripError), repr(result)
        error = result if isinstance(result, PgRoundtripError) else None
        return Ran(None if error else result, error, state.name, str(state.state_details.flow_run_id))

    return call


StartedCommand = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def started_command(
    storage_server: Storage, storage: ObjectStore, recorded_by: str, tmp_path: Path
) -> Iterator[StartedCommand]:
    """A function that starts `pg-roundtrip` without waiting for it, and kills it after the test."""
    started = []

    def start(*arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        given = {**command_environment(storage_server, storage, recorded_by, tmp_path), **environ}
        command = [str(Path(sys.prefix) / "bin" / "pg-roundtrip"), *arguments]
        quiet = subprocess.DEVNULL
        started.append(subprocess.Popen(command, env=given, stdout=quiet, stderr=quiet, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
