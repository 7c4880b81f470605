"""SIGTERM and SIGKILL at every step of every flow: nothing is lost, and nothing is left behind.

The steps are recorded from a complete run of each flow, so none can be forgotten. A few of them always run; all of
them run in `make test-all`.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup as backup_flow
from flows.copy import copy as copy_flow
from flows.demo.services import Storage
from flows.prune import prune as prune_flow
from flows.restore import restore as restore_flow
from flows.restore_drill import restore_drill
from tasks.clock import utc_now
from tasks.engine.repository.names import name_at
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.retention import UNFINISHED
from tasks.engine.servers.programs import Client
from tests.conftest import FlowRun, NewDatabase, command_environment, databases_of
from tests.faults.aftermath import assert_restorable, await_that, pending
from tests.faults.conftest import Look
from tests.faults.signalled import children_file, took_file
from tests.integration.objects import asked, copied, new_role, role_of, take_backup, told
from tests.integration.two_places import names
from tests.processes import ended

ROOT = Path(__file__).parents[2]
BY = (signal.SIGTERM, signal.SIGKILL)
# About 25 MB that no compressor shrinks: an upload of several parts.
SCRIPT = """CREATE TABLE big AS SELECT n, md5('a' || n) || md5('b' || n) || md5('c' || n) || md5('d' || n) AS v
FROM generate_series(1, 180000) n"""
ROWS = 180_000


@dataclass
class Stage:
    """A database with a backup, and the means to run a flow in a process that gets a signal."""

    storage: ObjectStore
    source: Server
    superuser: Server
    flow_run: FlowRun
    look: Look
    home: Path
    folder: Path
    given: Mapping[str, str]
    kept: set[str]
    login: Server  # the role that restores
    second: ObjectStore  # another place, for flows with two
    numbers: Any = field(default_factory=itertools.count)
    took_s: float = 0.0  # from the first step of the last run that ended by itself to its end

    def run(self, arguments: tuple[str, ...], moment: str, by: signal.Signals) -> tuple[int, list[str]]:
        """Run a command with a signal at a moment; return its status and the moments it reached."""
        journal = self.folder / f"journal-{next(self.numbers)}"
        command = [sys.executable, "-m", "tests.faults.signalled", str(journal), by.name, moment, *arguments]
        done = subprocess.run(command, env=dict(self.given), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        reached = journal.read_text().splitlines() if journal.exists() else []
        if took_file(journal).exists():
            self.took_s = float(took_file(journal).read_text())
        assert not moment or moment in reached or moment[0].isdigit(), (
            f"{moment} was not reached: {reached} {done.stderr}"
        )
        self._assert_no_child(journal)
        return done.returncode, reached

    def _assert_no_child(self, journal: Path) -> None:
        if children_file(journal).exists():
            for pid in map(int, children_file(journal).read_text().split()):
                await_that(lambda pid=pid: ended(pid), f"child {pid} ends")  # type: ignore[misc]
        await_that(lambda: not asked(self.superuser, BUSY), "the server has ended our sessions")

    def clear(self) -> None:
        """Remove what the last run made, so that every step starts from the same state."""
        for store in (self.storage, self.second):
            for found in list(store.list_objects()):
                if found.key not in self.kept:
                    store.remove(found.key)
            for key, upload in pending(store):
                store.abort_upload(key, upload)


BUSY = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg-roundtrip' AND pid <> pg_backend_pid()"


@pytest.fixture(params=["plain", "recorded"])
def stage(  # noqa: PLR0917  (pytest gives each by its name)
    request: pytest.FixtureRequest, storage_server: Storage, storage: ObjectStore, prefect_api: str, tmp_path: Path, new_database: NewDatabase,
    server_of: Callable[[int], Server], clients: dict[int, Client], flow_run: FlowRun, look: Look, home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:  # fmt: skip
    # What a killed run left of an upload counts as left at once, not after an hour.
    monkeypatch.setattr("tasks.engine.repository.catch_up.IDLE", -timedelta(minutes=1))
    source = new_database(16)
    login = new_role(source, "CREATEDB")
    name = role_of(login)
    told(source, f'ALTER DATABASE "{source.database}" OWNER TO {name}', f"ALTER SCHEMA public OWNER TO {name}")
    told(login, SCRIPT)
    take_backup(storage, source, clients[16], name_at(utc_now() - timedelta(hours=1)))
    given = {
        **command_environment(storage_server, storage, prefect_api if request.param == "recorded" else "", tmp_path),
        "DATABASE_URL": source.url.get_secret_value(), "COMPRESSION_LEVEL": "1", "TMPDIR": str(home),
    }  # fmt: skip
    kept = {found.key for found in storage.list_objects()}
    second = storage_server.store(f"{storage.folder}-copy")
    return Stage(storage, source, server_of(16), flow_run, look, home, tmp_path, given, kept, login, second)


class Act:
    """One flow on the stage: its preconditions, what a signal may leave, and how to run it again."""

    arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = {}
    sample = ""  # the moment that every test run tries,
    sample_by = signal.SIGTERM  # with this signal

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        stage.given = {**stage.given, **self.environ}

    def prepare(self) -> None:
        """Set up what the flow needs."""

    def check(self) -> None:
        """Check what the flow works on, after a signal."""

    def again(self) -> None:
        """Run the flow without a signal: it succeeds, and cleans up after a killed run."""
        raise NotImplementedError

    def may_go(self) -> frozenset[str]:
        """The backups that the flow was meant to remove."""
        return frozenset()


class Backup(Act):
    arguments, sample = ("backup",), "before request complete_upload"
    sample_by = signal.SIGKILL

    def again(self) -> None:
        ran = self.stage.flow_run(backup_flow, self.stage.source, environ={"COMPRESSION_LEVEL": "1"})
        assert ran.result.rows == ROWS, ran.error
        assert_restorable(self.stage.storage, ran.result.name)


class BackupToTwoPlaces(Backup):
    """Back up to two places; afterwards `copy` brings to each what it lacks."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        stage.given = {**stage.given, **self.places}

    @property
    def places(self) -> dict[str, str]:
        keys = {f"COPY_{name}": self.stage.given[name] for name in self.stage.given if name.startswith("S3_")}
        return {**keys, "COPY_PREFIX": str(self.stage.second.folder)}

    def check(self) -> None:
        for backup in Repository(self.stage.second).backups():
            if backup.has_manifest:
                assert_restorable(self.stage.second, backup.name)

    def again(self) -> None:
        ran = self.stage.flow_run(backup_flow, self.stage.source, environ={"COMPRESSION_LEVEL": "1", **self.places})
        assert ran.result.destinations == ["primary", "copy"], ran.error
        self.complete()

    def complete(self) -> None:
        """Copy what is missing: both places have the same backups then, and each can be restored."""
        ran = self.stage.flow_run(copy_flow, environ=self.places)
        assert ran.error is None, ran.error
        there = [names(store) for store in (self.stage.storage, self.stage.second)]
        assert there[0] == there[1] != []
        for name in there[1]:
            assert_restorable(self.stage.second, name)


class Copy(BackupToTwoPlaces):
    """Copy a backup to a new place; one that was interrupted starts over."""

    arguments, sample = ("copy",), "before request complete_upload"

    def again(self) -> None:
        self.complete()


class Prune(Act):
    arguments, sample = ("prune",), "before request remove"
    old = ("backup_20240207_143022", "backup_20240208_143022")

    def prepare(self) -> None:
        newest = Repository(self.stage.storage).backups()[-1].name
        for name in self.old:
            copied(self.stage.storage, name, newest)

    def again(self) -> None:
        ran = self.stage.flow_run(prune_flow)
        assert ran.result, ran.error
        assert not set(self.old) & {b.name for b in Repository(self.stage.storage).backups()}

    def may_go(self) -> frozenset[str]:
        return frozenset(self.old)


class DrillInSandbox(Act):
    arguments, sample = ("drill",), "before statement COPY public.big"
    sample_by = signal.SIGKILL
    environ: Mapping[str, str] = {"VERIFY_TARGET": "sandbox"}

    def again(self) -> None:
        ran = self.stage.flow_run(restore_drill, self.stage.source, environ=self.environ)
        assert ran.state == "PROVEN", ran.error


class DrillOnServer(DrillInSandbox):
    sample = "before SQL COMMENT ON"
    sample_by = signal.SIGTERM
    environ: Mapping[str, str] = {"VERIFY_TARGET": "database"}


class Restore(Act):
    """Restore into a database that has tables, which are replaced all at once or not at all."""

    arguments: tuple[str, ...] = ("restore", "latest", "--replace")
    sample = "before SQL ALTER DATABASE"
    sample_by = signal.SIGKILL
    options: Mapping[str, Any] = {"replace": True}
    before = "CREATE TABLE before AS SELECT 1 AS a"

    def __init__(self, stage: Stage) -> None:
        self.target = stage.login.on("wanted")
        super().__init__(stage)
        stage.given = {**stage.given, "RESTORE_DATABASE_URL": self.target.url.get_secret_value()}

    def prepare(self) -> None:
        told(self.stage.superuser, "DROP DATABASE IF EXISTS wanted WITH (FORCE)",
             f"CREATE DATABASE wanted OWNER {role_of(self.target)}")  # fmt: skip
        if self.before:
            told(self.target, self.before)

    def check(self) -> None:
        tables = {name for (name,) in asked(self.target, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        if tables == {"big"}:
            assert asked(self.target, "SELECT count(*) FROM big") == [(ROWS,)]
        else:
            assert tables == ({"before"} if self.before else set())

    def again(self) -> None:
        if not self.before:
            self.prepare()
        ran = self.stage.flow_run(restore_flow, to=self.target, backup="latest", **self.options)
        assert ran.result == ROWS, ran.error
        self.check()


class RestoreInPlace(Restore):
    """Restore with a role that can't create databases, in one transaction."""

    arguments, sample = ("restore", "latest"), "before statement COPY public.big"
    sample_by = signal.SIGTERM
    options: Mapping[str, Any] = {}
    before = ""

    def prepare(self) -> None:
        super().prepare()
        told(self.stage.superuser, f"ALTER ROLE {role_of(self.target)} NOCREATEDB")


ACTS = [Backup, BackupToTwoPlaces, Copy, Prune, DrillInSandbox, DrillOnServer, Restore, RestoreInPlace]


def strike(act: Act, moment: str, by: signal.Signals) -> None:
    """Run a flow that gets a signal at a moment, and check everything afterwards."""
    stage = act.stage
    stage.clear()
    act.prepare()
    after = stage.look(stage.superuser)
    status, _ = stage.run(act.arguments, moment, by)
    # A moment at the end of the work can come after it.
    assert status == (-by if by is signal.SIGKILL else 128 + by) or (status == 0 and moment[0].isdigit())
    act.check()
    if by is signal.SIGTERM:
        after.assert_nothing_lost(removed=act.may_go())
    for backup in Repository(stage.storage).backups():
        if backup.has_manifest:
            assert_restorable(stage.storage, backup.name)
    left = pending(stage.storage)
    for store in (stage.storage, stage.second):
        found = store.list_uploads(UNFINISHED, utc_now() + 2 * UNFINISHED)
        assert found == pending(store), "a later sweep must find them"
    act.again()
    after.assert_nothing_lost(removed=act.may_go(), uploads_may_stay=bool(left))


@pytest.fixture(autouse=True)
def _no_target_stays(server_of: Callable[[int], Server]) -> Any:
    yield
    if "wanted" in databases_of(server_of(16)):
        told(server_of(16), "DROP DATABASE wanted WITH (FORCE)")


@pytest.mark.parametrize("kind", ACTS)
def test_a_step_of_every_flow(kind: type[Act], stage: Stage) -> None:
    """Each flow survives SIGTERM or SIGKILL at one of its delicate steps."""
    strike(kind(stage), kind.sample, kind.sample_by)


def distinct(moments: list[str]) -> list[str]:
    """Return the moments without those directly followed by the next: nothing happens in between."""
    return [
        m for m, following in zip(moments, [*moments[1:], ""], strict=True) if m.startswith("before") or not following
    ]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("kind", ACTS)
def test_every_step_of_every_flow(kind: type[Act], by: signal.Signals, stage: Stage) -> None:
    """At whichever step the signal comes: no backup is lost, no listed backup is broken, no target is half restored."""
    act = kind(stage)
    act.prepare()
    status, moments = stage.run(act.arguments, "", by)
    assert (status, kind.sample in moments) == (0, True), moments
    failures = []
    for moment in distinct(moments):
        try:
            strike(act, moment, by)
        except AssertionError as failure:
            failures.append(f"{moment}: {str(failure)[:600]}")
    assert failures == []


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("kind", [Backup, Prune, DrillInSandbox, DrillOnServer, Restore])
def test_random_moments_of_every_flow(kind: type[Act], stage: Stage) -> None:
    """The same at moments that nobody chose, spread evenly over the work, by SIGKILL; KILLS says how many."""
    act = kind(stage)
    act.prepare()
    stage.run(act.arguments, "", signal.SIGKILL)
    took_s = stage.took_s
    chance = random.Random(os.environ.get("KILLS_SEED"))
    failures = []
    for _ in range(int(os.environ.get("KILLS", "300"))):
        moment = f"{chance.uniform(0, took_s):.3f}"
        try:
            strike(act, moment, signal.SIGKILL)
        except AssertionError as failure:
            failures.append(f"{moment} of {took_s:.3f} s: {str(failure)[:600]}")
    assert failures == []
