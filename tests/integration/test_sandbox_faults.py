"""A throwaway server without space, or killed midway, says nothing about the backup and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tasks.engine.drill.rehearsal
import tasks.engine.drill.second_dump
from blocks.errors import DatabaseError
from blocks.s3.client import ObjectStore
from flows.restore_drill import restore_drill
from tasks.engine.drill.place import Place
from tasks.engine.restore.cluster_objects import ClusterObjects
from tasks.engine.servers import sandbox
from tasks.engine.servers.programs import Client
from tests.conftest import FlowRun, NewDatabase
from tests.integration.objects import LARGE_OBJECTS, LIBRARY, inserted, rewrite, take_backup, until
from tests.integration.sandboxes import assert_nothing_is_left, postmasters, processes, rehearsed, results
from tests.processes import ended

pytestmark = pytest.mark.usefixtures("unguarded")

Clients = dict[int, Client]
Disk = Callable[[str], Path]


@pytest.fixture(autouse=True)
def library(new_database: NewDatabase, storage: ObjectStore, clients: Clients) -> None:
    """A backup from PostgreSQL 15."""
    take_backup(storage, new_database(15, LIBRARY + LARGE_OBJECTS), clients[15])


# --- a full disk ------------------------------------------------------------------------------------------------------

# A table created in the same transaction isn't WAL-logged; a logical message is only WAL.
FILLING = {
    "data files": ("80m", "CREATE TABLE public.filler AS SELECT repeat(md5(n::text), 50) a FROM generate_series(1, 100000) n;"),
    "write-ahead log": ("120m", "SELECT pg_logical_emit_message(false, '', repeat('x', 800000)) FROM generate_series(1, 300);"),
    "a sort": ("80m", "SELECT count(*) FROM (SELECT md5(n::text) || n a FROM generate_series(1, 3000000) n ORDER BY a) s;"),
}  # fmt: skip


@pytest.mark.parametrize("what", FILLING)
def test_a_disk_that_fills_up_is_inconclusive(what: str, storage: ObjectStore, clients: Clients, disk: Disk) -> None:
    """Whether the server reports it or dies of it, the full disk is named as the cause, without retries."""
    size, statement = FILLING[what]
    rewrite(storage, inserted(statement), forge=True)
    folder = disk(f"size={size}")
    report = rehearsed(storage, Place("sandbox", client=clients[15]))
    assert report.verdict == "INCONCLUSIVE"
    assert report.cause.startswith("No space left on device [")
    assert report.cause.count("No space left on device") == 2, "the server's own message must follow ours"
    assert (report.place, results(report)["restored without error"]) == ("sandbox", "not possible")
    assert_nothing_is_left(folder)


@pytest.mark.parametrize(
    "options", ["nr_inodes=1", "nr_inodes=2", "nr_inodes=3", "nr_inodes=50", "size=8k", "size=10m", "size=35m"]
)
def test_no_space_for_a_server_is_inconclusive(
    options: str, storage: ObjectStore, clients: Clients, disk: Disk
) -> None:
    """The disk can fill up while creating the folder, lock, password or data directory, or at startup."""
    folder = disk(options)
    report = rehearsed(storage, Place("sandbox", client=clients[15]))
    assert report.verdict == "INCONCLUSIVE"
    assert report.cause.startswith("No space left on device [")
    assert_nothing_is_left(folder)


def test_no_space_for_the_programs_is_inconclusive(
    storage: ObjectStore, clients: Clients, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that the server's user can't read are copied, which needs space too."""
    monkeypatch.setattr(sandbox, "_open_to_all", lambda _: False)
    folder = disk("size=5m")
    report = rehearsed(storage, Place("sandbox", client=clients[17]))
    assert (report.verdict, report.cause[:25]) == ("INCONCLUSIVE", "No space left on device [")
    assert len(report.cause) < 400
    assert_nothing_is_left(folder)


def test_a_folder_that_is_not_there_is_inconclusive(
    storage: ObjectStore, clients: Clients, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system error such as a missing folder is reported in its own words."""
    monkeypatch.setattr(tempfile, "tempdir", str(home / "missing"))
    report = rehearsed(storage, Place("sandbox", client=clients[15]))
    assert report.verdict == "INCONCLUSIVE"
    assert report.cause.startswith("The throwaway server could not be created [")
    assert "No such file or directory" in report.cause


def test_a_folder_of_a_long_name_is_inconclusive(
    storage: ObjectStore, clients: Clients, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path has a length limit, and the server reports that it couldn't create one."""
    (home / ("x" * 100)).mkdir(mode=0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(home / ("x" * 100)))
    report = rehearsed(storage, Place("sandbox", client=clients[15]))
    assert report.verdict == "INCONCLUSIVE"
    assert report.cause.startswith("The throwaway server did not start [")
    assert "socket" in report.cause
    assert_nothing_is_left(home / ("x" * 100))


# --- killed -----------------------------------------------------------------------------------------------------------


def kill_postmaster(home: Path) -> None:
    (pid,) = postmasters(home)
    os.kill(pid, signal.SIGKILL)
    until(lambda: ended(pid))


def kill_backend(home: Path) -> None:
    process = next(processes(home, r"\[local\]"))
    process.kill()
    until(lambda: not process.is_running())


@pytest.fixture
def murder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """A function that makes something happen at a moment of the next drills; it returns the servers affected."""

    def plan(moment: tuple[Any, str], happening: Callable[[Path], None], times: int) -> list[int]:
        place, name = moment
        happened, usual = list[int](), getattr(place, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            servers = [pid for pid in postmasters(home) if pid not in happened]
            if servers and len(happened) < times:
                happened.extend(servers)
                happening(home)
            return usual(*arguments, **named)

        monkeypatch.setattr(place, name, wrapped)
        return happened

    return plan


MOMENTS = {
    "while restoring": (ClusterObjects, "prepare"),
    "before the copy is dumped": (tasks.engine.drill.second_dump, "running_dump"),
    "while the copy is looked at": (tasks.engine.drill.rehearsal, "run_sql_checks"),
}


WORDS: dict[Callable[[Path], None], str] = {
    kill_postmaster: "it was killed by SIGKILL",
    kill_backend: "was terminated by signal 9",
}


@pytest.mark.parametrize("happening", WORDS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_is_killed_is_a_transient_fault(
    moment: str,
    happening: Callable[[Path], None],
    murder: Callable[..., list[int]],
    storage: ObjectStore,
    clients: Clients,
    home: Path,
) -> None:
    """As after an OOM kill, the error names the throwaway server and doesn't suggest other servers' settings."""
    killed = murder(MOMENTS[moment], happening, 1)
    with pytest.raises(DatabaseError) as raised:
        rehearsed(storage, Place("sandbox", client=clients[15]))
    assert raised.value.transient
    assert raised.value.sentence.startswith("The throwaway server died [")
    assert WORDS[happening] in raised.value.sentence
    assert "DATABASE_URL" not in raised.value.hint
    assert_nothing_is_left(home, killed)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("times", "verdict"), [(1, "PROVEN"), (9, "INCONCLUSIVE")])
def test_a_drill_whose_server_is_killed_is_tried_again(
    times: int,
    verdict: str,
    murder: Callable[..., list[int]],
    flow_run: FlowRun,
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The drill starts over with a new server, and gives up after four attempts."""
    killed = murder(MOMENTS["while restoring"], kill_backend, times)
    ran = flow_run(restore_drill, environ={"VERIFY_TARGET": "sandbox"})
    assert (ran.state, len(killed)) == (verdict, min(times, 4))
    assert ran.result.cause.startswith("The throwaway server died [" if times > 1 else "")
    assert "DATABASE_URL" not in caplog.text
    assert "Failed to cleanup" not in caplog.text
    assert_nothing_is_left(home, killed)
