"""Hooks run around real backups, drills, prunes and restores, plainly and recorded, and a broken one costs as little as can be."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup
from flows.demo.services import Storage
from flows.prune import prune
from flows.restore import restore
from flows.restore_drill import restore_drill
from tasks.engine.repository.names import name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tests.conftest import Ended, FlowRun, NewDatabase, StartedCommand
from tests.integration.children import Children
from tests.integration.hooks import Noted, told
from tests.integration.objects import LIBRARY, take_backup, until
from tests.processes import ended
from tests.receivers import receiving

HOOKS = ("PRE_BACKUP_HOOK", "POST_BACKUP_HOOK", "ON_FAILURE_HOOK", "POST_DRILL_HOOK")
either_way = pytest.mark.parametrize("recorded_by", ["plain", "recorded"], indirect=True)
# Nothing listens there.
NOWHERE = "postgresql://app:hidden-word@127.0.0.1:1/shop"
PROMISED_S = 10


@pytest.fixture
def recorded_by(request: pytest.FixtureRequest) -> str:
    """The address of the server that records this test's runs; empty for plain runs."""
    recorded = getattr(request, "param", "") == "recorded" or "prefect_api" in request.fixturenames
    return str(request.getfixturevalue("prefect_api")) if recorded else ""


@pytest.fixture
def library(new_database: NewDatabase) -> Server:
    """A small database."""
    return new_database(16, LIBRARY)


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    """Hooks that note what they are told."""
    (tmp_path / "hooks").mkdir()
    return Noted(tmp_path / "hooks")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without waiting."""
    monkeypatch.setattr("tasks.plain.time.sleep", lambda _: None)


def backups(storage: ObjectStore) -> list[str]:
    """Return the names of the backups in the bucket."""
    return [found.name for found in Repository(storage).backups()]


def logged(caplog: pytest.LogCaptureFixture, level: str = "WARNING") -> list[str]:
    """Return the lines of a level."""
    return [record.getMessage() for record in caplog.records if record.levelname == level]


# --- a backup ---------------------------------------------------------------------------------------------------------


@either_way
def test_around_a_backup(
    command_line: Callable[..., Ended], library: Server, noted: Noted, storage: ObjectStore, storage_server: Storage
) -> None:
    """PRE_BACKUP_HOOK before and POST_BACKUP_HOOK after, each once, and told what is where, but no secret."""
    password, secret = library.parameters()["password"], storage_server.secret
    own = {
        "HOOK_TOKEN": f"for hooks {password}",
        "MY_OWN": "mine",
        "COPY_OF_URL": library.url.get_secret_value(),
        "SAME": secret,
    }
    hooks = dict.fromkeys(HOOKS, noted.hook(then='echo "token: $HOOK_TOKEN"'))
    done = command_line("backup", "--json", server=library, **own, **hooks)
    assert done.status == 0, done.err
    made = json.loads(done.out)
    assert noted.events() == [("pre-backup", ""), ("post-backup", "succeeded")]
    before, after = noted.runs()
    assert told(before) == {
        "EVENT": "pre-backup", "VERB": "backup", "PLAN": "default", "ENDPOINT": storage_server.endpoint, "BUCKET": storage.bucket,
        "FOLDER": storage.folder, "HOST": library.parameters()["host"], "PORT": library.parameters()["port"], "DATABASE": library.database,
    }  # fmt: skip
    said = told(after)
    assert (said["BACKUP"], said["KEY"]) == (made["name"], made["key"])
    assert said["MESSAGE"].startswith(f"{made['name']}: 320 rows of 2 tables")
    assert json.loads(after["report"])["sha256"] == made["sha256"]
    assert not Path(said["REPORT"]).parent.exists()
    for run in (before, after):
        assert (run.pop("HOOK_TOKEN"), run["MY_OWN"]) == (own["HOOK_TOKEN"], "mine")
        assert {"PATH", "HOME"} <= run.keys()
        assert {name for name in run if name.startswith(("PREFECT", "S3_", "DATABASE_URL", *HOOKS))} == set()
        assert [name for name, value in run.items() if password in value or secret in value] == []
    # What a hook prints is in the log, without the password that somebody gave it.
    assert done.err.count("BACKUP_HOOK: token: for hooks ***") == 2
    assert password not in done.err


@either_way
def test_a_backup_that_may_not_begin(
    flow_run: FlowRun, library: Server, noted: Noted, storage: ObjectStore, recorded_by: str
) -> None:
    """If PRE_BACKUP_HOOK fails, nothing is written, what it paused can go on, and people are told like of any failure."""
    environ = {
        "PRE_BACKUP_HOOK": noted.hook(3), "POST_BACKUP_HOOK": noted.hook(), "ON_FAILURE_HOOK": noted.hook(),
    }  # fmt: skip
    with receiving() as receiver:
        ran = flow_run(backup, library, environ={**environ, "WEBHOOK_URL": receiver.url})
        (message,) = [got.json() for got in receiver.got]
    assert ran.error
    assert (ran.error.code, ran.error.context) == ("PGR-HOOK", "PRE_BACKUP_HOOK: noted 0.sh exited with code 3")
    assert "PRE_BACKUP_HOOK_REQUIRED=false" in ran.error.hint
    assert (message["kind"], message["subject"], message["code"]) == ("failed", "backup", "PGR-HOOK")
    assert noted.events() == [("pre-backup", ""), ("post-backup", "failed"), ("on-failure", "failed")]
    assert told(noted.runs()[-1])["CODE"] == "PGR-HOOK"
    assert [found for found in storage.list_objects() if "notices/" not in found.key] == []


@pytest.mark.parametrize(("command", "timeout_s", "why"), [
    ("/nowhere/pause.sh", 60, "pause.sh could not be started: No such file or directory"),
    ("no-such-program", 60, "no-such-program could not be started: No such file or directory"),
    ("/etc/passwd", 60, "passwd could not be started: Permission denied"),
    ("sh -c 'sleep 60; :'", 1, "sh did not end within 1 s"), ("sh -c 'kill -9 $$'", 60, "sh was ended by SIGKILL"),
])  # fmt: skip
def test_a_hook_that_does_not_work(
    command: str, timeout_s: int, why: str, flow_run: FlowRun, library: Server, storage: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """Before a backup it is an error, or a warning if the hook isn't required; after one it is a warning."""
    environ = {"HOOK_TIMEOUT": str(timeout_s), "PRE_BACKUP_HOOK": command}
    ran = flow_run(backup, library, environ=environ)
    assert ran.error
    assert (ran.error.sentence, backups(storage)) == (f"A hook failed [PRE_BACKUP_HOOK: {why}]", [])
    caplog.clear()
    everywhere = {**environ, "POST_BACKUP_HOOK": command, "PRE_BACKUP_HOOK_REQUIRED": "false"}
    ran = flow_run(backup, library, environ=everywhere)
    assert [ran.result.name] == backups(storage)
    warnings = [line.partition("\n")[0] for line in logged(caplog)]
    assert warnings == [f"A hook failed [{name}: {why}]" for name in ("PRE_BACKUP_HOOK", "POST_BACKUP_HOOK")]


@pytest.mark.usefixtures("at_once")
def test_a_backup_that_fails(flow_run: FlowRun, noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a step is tried again, each hook runs once; the failure is told in words, with its code."""
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    ran = flow_run(backup, environ=dict.fromkeys(HOOKS, noted.hook()))
    assert ran.error
    assert noted.events() == [("pre-backup", ""), ("post-backup", "failed"), ("on-failure", "failed")]
    for run in noted.runs()[1:]:
        said = told(run)
        assert (said["MESSAGE"], said["CODE"], said["HINT"]) == (
            ran.error.sentence,
            "PGR-DB-UNREACHABLE",
            ran.error.hint,
        )
        assert not {"BACKUP", "KEY", "REPORT", "VERDICT"} & said.keys()


def test_a_backup_that_cannot_even_begin(command_line: Callable[..., Ended], library: Server, noted: Noted) -> None:
    """A missing variable is a failed backup, too; one of hooks that is no command is reported like any other."""
    done = command_line("backup", server=library, S3_BUCKET="", **dict.fromkeys(HOOKS, noted.hook()))
    assert done.status == 2
    assert [told(run)["CODE"] for run in noted.runs()] == ["PGR-CONFIG"]
    done = command_line("backup", server=library, POST_BACKUP_HOOK="echo 'open")
    assert (done.status, "ERROR: Invalid POST_BACKUP_HOOK format (PGR-CONFIG)" in done.err) == (2, True)


# --- told to stop -----------------------------------------------------------------------------------------------------


@either_way
def test_a_backup_that_is_told_to_stop(
    started_command: StartedCommand, library: Server, noted: Noted, tmp_path: Path
) -> None:
    """PRE_BACKUP_HOOK ends with all it has started, and POST_BACKUP_HOOK runs; not even a stubborn one takes long."""
    pid = tmp_path / "pid"
    command = started_command(
        "backup", DATABASE_URL=library.url.get_secret_value(), PRE_BACKUP_HOOK=noted.hook(then=f"sleep 600 & echo $! > {pid}; wait"),
        POST_BACKUP_HOOK=noted.hook(then="trap '' TERM; while :; do sleep 0.1; done"), ON_FAILURE_HOOK=noted.hook(),
    )  # fmt: skip
    until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    command.send_signal(signal.SIGTERM)
    assert command.wait(PROMISED_S) != 0
    until(lambda: ended(int(pid.read_text())))
    assert noted.events() == [("pre-backup", ""), ("post-backup", "stopped")]


def test_the_environment_of_whatever_runs_it(
    children: Children, library: Server, noted: Noted, storage: ObjectStore
) -> None:
    """A run that a worker or a service starts has its hooks from there."""
    child = children.start(
        "backup", DATABASE_URL=library.url.get_secret_value(), POST_BACKUP_HOOK=noted.hook(then="echo heard")
    )
    assert child.wait(120) == 0, children.lines(child)
    assert noted.events() == [("post-backup", "succeeded")]
    assert [line.partition("Z ")[2] for line in children.lines(child) if "HOOK" in line] == [
        "INFO: Running POST_BACKUP_HOOK: noted 0.sh", "INFO: POST_BACKUP_HOOK: heard",
    ]  # fmt: skip


# --- drills, prunes and restores --------------------------------------------------------------------------------------


@either_way
def test_after_a_drill(
    flow_run: FlowRun, library: Server, noted: Noted, storage: ObjectStore, clients: dict[int, Client], recorded_by: str
) -> None:
    """POST_DRILL_HOOK gets verdict and report, of a good backup, which a test of its copy precedes, and of a bad one."""
    name = name_at(datetime.now(UTC) - timedelta(hours=1))
    take_backup(storage, library, clients[16], name)
    hooks = dict.fromkeys((*HOOKS, "POST_RESTORE_CHECK"), noted.hook())
    environ = {**hooks, "VERIFY_TARGET": "database"}
    ran = flow_run(restore_drill, library, environ=environ)
    assert ran.state == "PROVEN"
    key = storage.key(f"{name}.sql.gz")
    storage.put(key, storage.get(key)[:-40])
    assert flow_run(restore_drill, library, environ=environ).state == "FAILED"
    events = [("post-restore", ""), ("post-drill", "succeeded"), ("post-drill", "failed"), ("on-failure", "failed")]
    assert noted.events() == events
    _, proven, bad, failure = noted.runs()
    assert {name: told(proven)[name] for name in ("VERB", "VERDICT", "BACKUP", "KEY")} == {
        "VERB": "restore-drill", "VERDICT": "PROVEN", "BACKUP": name, "KEY": key,
    }  # fmt: skip
    assert json.loads(proven["report"]) == json.loads(ran.result.model_dump_json())
    assert told(bad)["VERDICT"] == told(failure)["VERDICT"] == "FAILED"
    assert (told(failure)["CODE"], bad["report"]) == ("PGR-BACKUP-DAMAGED", failure["report"])


def test_what_else_can_fail(flow_run: FlowRun, library: Server, noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill without a verdict, a prune and a restore are told as failures; a dry run concerns no hook."""
    hooks = dict.fromkeys(HOOKS, noted.hook())
    monkeypatch.setenv("VERIFY_TARGET", "database")
    assert flow_run(restore_drill, library, environ=hooks).error
    assert flow_run(restore, library, library, environ=hooks, backup="latest").error
    monkeypatch.setenv("S3_BUCKET", "no-such-bucket")
    assert flow_run(prune, environ=hooks).error
    assert flow_run(prune, environ=hooks, dry_run=True).error
    assert noted.events() == [("on-failure", "failed")] * 3
    assert [(told(run)["VERB"], told(run)["CODE"]) for run in noted.runs()] == [
        ("restore-drill", "PGR-NO-BACKUPS"), ("restore", "PGR-NO-BACKUPS"), ("prune", "PGR-S3-BUCKET-MISSING"),
    ]  # fmt: skip


# --- what is seen of them ---------------------------------------------------------------------------------------------


def test_no_command_and_no_secret_reaches_prefect(
    flow_run: FlowRun, library: Server, prefect_api: str, storage_server: Storage
) -> None:
    """The server knows that a hook ran, and what it printed with secrets masked, but neither its arguments nor its environment."""
    environ = {
        "HOOK_WORD": storage_server.secret, "POST_BACKUP_HOOK": """sh -c 'echo said "$HOOK_WORD"; exit 9' t0ken-in-an-argument""",
    }  # fmt: skip
    ran = flow_run(backup, library, environ=environ)
    assert ran.error is None

    async def known() -> str:
        async with get_client() as client:
            ours = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(ran.run_id)]))
            logs = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(ran.run_id)])))
            tasks = await client.read_task_runs(flow_run_filter=ours)
            found = [*logs, *tasks, *await client.read_flow_runs(flow_run_filter=ours)]
            return "\n".join(each.model_dump_json() for each in found)

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        until(lambda: "A hook failed" in asyncio.run(known()))
        text = asyncio.run(known())
    assert "run post_backup_hook" in text
    assert "POST_BACKUP_HOOK: said ***" in text
    assert "t0ken-in-an-argument" not in text
    assert storage_server.secret not in text


def test_check_looks_at_the_programs(command_line: Callable[..., Ended], library: Server, tmp_path: Path) -> None:
    """Each hook's program is found or not, and none is started."""
    (tmp_path / "plain.sh").write_text("#!/bin/sh\n")
    touched = tmp_path / "touched"
    done = command_line(
        "check", server=library, PRE_BACKUP_HOOK=f"touch {touched}", POST_BACKUP_HOOK="/nowhere/x.sh --token hidden-word",
        ON_FAILURE_HOOK="no-such-program", POST_DRILL_HOOK=str(tmp_path / "plain.sh"), POST_RESTORE_CHECK=str(tmp_path),
    )  # fmt: skip
    assert done.status == 1
    assert "ok  PRE_BACKUP_HOOK " in " ".join(done.out.split()).replace("ok ", "ok  ")
    for fault in (
        "/nowhere/x.sh is not there",
        "no-such-program is not in the PATH",
        "plain.sh is not executable",
        f"{tmp_path} is a folder",
    ):
        assert f"{fault}\n" in done.err
    assert "chmod +x" in done.err
    assert "hidden-word" not in done.out + done.err
    assert not touched.exists()
