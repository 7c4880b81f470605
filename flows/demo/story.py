"""Run the demo: start servers, load a sample, back up, drill, prune, and show what happened."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from blocks.config import DEFAULT
from blocks.config.environment import set_in_environment
from blocks.config.hook_settings import HookSettings
from blocks.config.load import variable_of
from blocks.config.resolve import resolve_plan
from blocks.errors import ClientMissing, ConfigurationError, Problem
from blocks.sql.server import Server
from flows import lines, terminal
from flows.backup import backup
from flows.demo.sample import load_sample
from flows.demo.services import (
    free_ports,
    leave_prefect_running,
    running_prefect,
    running_storage,
    storage_is_installed,
)
from flows.prune import prune
from flows.restore_drill import restore_drill
from flows.runs.final_state import result_of
from tasks.clock import utc_now
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.servers.programs import installed_clients
from tasks.engine.servers.sandbox import running_server
from tasks.engine.wording import human_bytes
from tasks.status.summary import read_status

SAMPLE_MB = 100
_DATABASE = "shop"
_WITHOUT_HOOKS = dict.fromkeys(map(variable_of, HookSettings.model_fields), "")


def run_demo(*, keep: bool = False) -> None:
    """Run the whole demo on throwaway servers; with `keep`, the Prefect UI stays up afterwards.

    Raises the first error of any step; exits with 1 if the drill does not prove the backup.
    """
    _require_servers()
    begun = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="pg-roundtrip-demo-"))
    farewell = ""
    try:
        with _postgres() as server, running_storage() as storage, _prefect(home, keep=keep) as (api, farewell):
            _tell(f"loading a sample database of about {SAMPLE_MB} MB")
            load_sample(server, SAMPLE_MB, _tell)
            for name, value in {**storage.environment(), **_WITHOUT_HOOKS, "DATABASE_URL": server.url.get_secret_value()}.items():  # fmt: skip
                set_in_environment(name, value)
            with temporary_settings({PREFECT_API_URL: api, PREFECT_HOME: home}):
                facts = _round_trip()
    finally:
        if not farewell:
            shutil.rmtree(home, ignore_errors=True)
    status = facts.pop("status")
    terminal.show_facts(
        {
            **facts,
            "all of it": f"{time.monotonic() - begun:.0f} s; every server{' but Prefect' if farewell else ''} has been stopped",
        }
    )
    if farewell:
        lines.print_line(farewell)
    lines.print_line(status)
    if facts["verdict"] != Verdict.PROVEN:
        raise SystemExit(1)


def _require_servers() -> None:
    """Say at once which extra is missing."""
    if not storage_is_installed():
        hint = "install the extra: pipx install 'pg-roundtrip[demo]'"
        raise ConfigurationError([Problem("The demo's servers are not installed", hint)])


def _round_trip() -> dict[str, str]:
    """Run the real flows, as the command line does; returns the facts for the summary."""
    begun = time.monotonic()
    made = backup()
    backed_up = time.monotonic() - begun
    report = result_of(restore_drill(return_state=True))
    assert isinstance(report, DrillReport)
    decided = prune()
    terminal.show_report(report)
    return {
        "backup": made.name,
        "rows": f"{made.rows:,} in {made.tables} tables",
        "size": f"{human_bytes(made.raw_bytes)} of SQL in an object of {human_bytes(made.object_bytes)}",
        "digest": f"SHA-256 {made.sha256}",
        "seconds": f"dump {made.seconds:.1f} (the whole flow {backed_up:.1f}), restore {report.restore_seconds:.1f}, "
        f"drill {report.seconds:.1f}",
        "prune": f"removed {len(decided.removals)}, kept {len(decided.decisions) - len(decided.removals)}",
        "verdict": report.verdict.value,
        "status": read_status(resolve_plan(DEFAULT, frozenset({"storage"})), utc_now()).judgement.sentence,
    }


@contextmanager
def _postgres() -> Iterator[Server]:
    """Start a server from the newest installed programs, with an empty database on it."""
    with_server = [c for c in installed_clients() if c.has_server]
    if not with_server:
        raise ClientMissing("no PostgreSQL server programs are installed", hint="run make demo, which installs them")
    client = with_server[-1]
    _tell(f"starting PostgreSQL {client.version}, SeaweedFS and Prefect on free loopback ports")
    with running_server(client, port=free_ports(1)[0]) as server:
        with server.connect() as connection:
            connection.execute("CREATE DATABASE {}", _DATABASE)
        yield server.on(_DATABASE)


@contextmanager
def _prefect(home: Path, *, keep: bool) -> Iterator[tuple[str, str]]:
    """Start Prefect; yields the address of its API, and the closing message if it stays up."""
    if not keep:
        with running_prefect(home) as api:
            yield api, ""
        return
    api, pid = leave_prefect_running(home)
    yield api, f"The Prefect UI is up at {api.removesuffix('/api')}\nStop it with: kill {pid} && rm -r {home}"


def _tell(line: str) -> None:
    lines.print_line(f"▸ {line}")
